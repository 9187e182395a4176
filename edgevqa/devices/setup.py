"""Bring runtimes to a device: wheels for its architecture, Python and C library are found here and unpacked there.

Nothing is installed there: no pip, no network and no root are needed, and one folder holds all of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevqa.devices import Target, Transport, open_transport, unpack
from edgevqa.devices.base import RUNTIMES_FOLDER, TEMPORARY_PREFIX
from edgevqa.devices.emulated import emulated_root
from edgevqa.devices.jobs import packages_folder, probe
from edgevqa.devices.local import LocalTransport
from edgevqa.devices.shell import ShellTransport, last_line
from edgevqa.errors import DeviceError, EnvironmentFailure, UsageError
from edgevqa.progress import Progress, Silent
from edgevqa.runtimes import get_runtime
from edgevqa.storage import cache_folder, dump_json, folder_lock, new_folder, sha256_bytes, sha256_file

DOWNLOAD_TIMEOUT_S = 900.0
UNPACK_TIMEOUT_S = 900.0
OLDEST_GLIBC = 17  # minor version of the oldest one that wheels are built for


@dataclass(frozen=True)
class Pins:
    """What a runtime needs there: exact versions, and the glibc that its libraries really ask for.

    Their dependencies are left out but for numpy: the runner imports none of them.
    """

    packages: tuple[str, ...]
    glibc: tuple[int, int]
    newest_python: tuple[int, int] | None = None


# ai-edge-litert's wheel is tagged for glibc 2.27, but its library wants 2.34
PINS: Mapping[str, Pins] = {
    "onnxruntime": Pins(("onnxruntime==1.31.1", "numpy==2.4.6"), (2, 28)),
    "litert": Pins(("ai-edge-litert==2.3.0", "numpy==2.4.6"), (2, 34)),
    "tflite_runtime": Pins(("tflite-runtime==2.14.0", "numpy==1.26.4"), (2, 27), (3, 11)),
}


@dataclass(frozen=True)
class Brought:
    """A runtime on a device: its version, the wheels, and whether they had to be sent."""

    runtime: str
    version: str
    wheels: tuple[str, ...]
    sent: bool


def _version(text: str) -> tuple[int, int]:
    major, minor = [*text.split("."), "0"][:2]
    return int(major), int(minor)


def check_fits(target: Target, runtime: str, found: Mapping[str, Any]) -> None:
    """Raise DeviceError when the pinned wheels of a runtime cannot run on what a probe has found."""
    pins = PINS[runtime]
    what, libc = pins.packages[0], str(found["libc"])
    if found["bits"] != 64:
        raise DeviceError(
            f"{target.name} runs a {found['bits']}-bit Python, and there are no wheels for it; install a 64-bit system"
        )
    if not libc.startswith("glibc "):
        raise DeviceError(f"{target.name} has no glibc but {libc or 'another C library'}, and {what} needs it")
    if _version(libc[len("glibc ") :]) < pins.glibc:
        needed = ".".join(map(str, pins.glibc))
        raise DeviceError(f"{what} needs glibc {needed}, {target.name} has {libc[6:]}; update its system")
    if pins.newest_python is not None and _version(found["python"]) > pins.newest_python:
        newest = ".".join(map(str, pins.newest_python))
        raise DeviceError(
            f"{what} is there up to Python {newest}, {target.name} has {found['python']}; let `python` in the profile "
            "name an older interpreter, or use litert"
        )


def find_wheels(runtime: str, found: Mapping[str, Any]) -> list[Path]:
    """The pinned wheels of a runtime for a probed device, downloaded once by pip and kept in the cache.

    Raises:
        DeviceError: there are none for its Python and C library.
        EnvironmentFailure: pip is missing, or cannot reach an index.
    """
    python, glibc = _version(found["python"]), _version(str(found["libc"])[len("glibc ") :])
    wanted = {"packages": PINS[runtime].packages, "machine": found["machine"], "python": python, "glibc": glibc}
    cache = cache_folder() / "wheels"
    folder = cache / sha256_bytes(dump_json(wanted).encode())[:16]
    with folder_lock(cache, "wheels for devices"):
        if len(list(folder.glob("*.whl"))) != len(PINS[runtime].packages):
            with new_folder(folder) as fresh:
                _download(fresh, PINS[runtime].packages, str(found["machine"]), python, glibc)
    return sorted(folder.glob("*.whl"))


def _download(
    folder: Path, packages: Sequence[str], machine: str, python: tuple[int, int], glibc: tuple[int, int]
) -> None:
    tag = f"cp{python[0]}{python[1]}"
    # pip takes each platform as it stands, so that all older ones must be named, too
    names = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc[1], OLDEST_GLIBC - 1, -1)]
    platforms = [part for name in (*names, f"manylinux2014_{machine}") for part in ("--platform", name)]
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    argv += ["--no-deps", "--only-binary", ":all:", "--implementation", "cp"]
    argv += ["--python-version", f"{python[0]}.{python[1]}"]
    argv += ["--abi", tag, "--abi", "abi3", "--abi", "none", *platforms, "--dest", str(folder), *packages]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentFailure(f"pip did not download {', '.join(packages)} in {DOWNLOAD_TIMEOUT_S:g} s") from None
    if done.returncode == 0:
        return
    place = f"{machine}, Python {python[0]}.{python[1]}, glibc {glibc[0]}.{glibc[1]}"
    if "No matching distribution" in done.stderr and "from versions: none" not in done.stderr:
        raise DeviceError(f"there is no wheel of {', '.join(packages)} for {place}")
    raise EnvironmentFailure(f"pip cannot download {', '.join(packages)} for {place}: {last_line(done.stderr)}")


def _unpack(transport: Transport, target: Target, runtime: str, wheels: Sequence[Path]) -> Any:
    """Run `unpack.py` on the device; without wheels it says what is there."""
    script = Path(unpack.__file__)
    files = {script.name: script, **{wheel.name: wheel for wheel in wheels}}
    python = target.python or "python3"
    if target.kind == "emulated":  # its root lies here, and unpacking there would take ten times as long
        transport, python = LocalTransport(), sys.executable
    argv = [python, script.name, str(packages_folder(target, runtime))]
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as name:
        if wheels:
            path = Path(name) / "wheels.json"
            path.write_text(json.dumps([[wheel.name, sha256_file(wheel)] for wheel in wheels]), encoding="utf-8")
            files[path.name] = path
            argv.append(path.name)
        done = transport.run(argv, files, (), UNPACK_TIMEOUT_S)
    start = done.stdout.rfind(unpack.MARK)
    if done.exit_code != 0 or start < 0:
        said = last_line(done.stderr) or f"exit code {done.exit_code}"
        raise DeviceError(f"{target.name}: {said}")
    try:
        return json.JSONDecoder().raw_decode(done.stdout, start + len(unpack.MARK))[0]
    except ValueError:
        raise DeviceError(f"{target.name} did not say what it holds; its output was cut, try again") from None


def set_up(
    target: Target,
    runtimes: Sequence[str] | None = None,
    *,
    transport: Transport | None = None,
    progress: Progress | None = None,
) -> list[Brought]:
    """Bring runtimes to a device; what is there already is not sent again.

    Args:
        target: an ssh or emulated device.
        runtimes: which; the target's by default.
        transport: a way to the target that is open already.
        progress: told about every runtime.

    Returns:
        each runtime as the device imports it now.

    Raises:
        UsageError: the target needs no setup, or a runtime is unknown.
        DeviceError: the device cannot be reached, has no room, or there are no wheels for it.
        EnvironmentFailure: pip cannot download.
    """
    names = [get_runtime(name).name for name in runtimes or target.runtimes]
    if target.kind == "adb":
        raise UsageError(f"{target.name}: this version of edgevqa brings no runtimes to phones")
    if packages_folder(target, names[0]) is None:
        raise UsageError(f"{target.name} needs no setup: a target of kind {target.kind} runs what this machine has")
    progress, transport = progress or Silent(), transport or open_transport(target)
    found = probe(target, None, transport)
    brought = []
    progress.start(f"setting up {target.name}", len(names))
    try:
        for name in names:
            progress.step(name, 0)
            check_fits(target, name, found)
            wheels = find_wheels(name, found)
            wanted = [[wheel.name, sha256_file(wheel)] for wheel in wheels]
            sent = _unpack(transport, target, name, ()) != wanted
            if sent:
                _unpack(transport, target, name, wheels)
            version = str(probe(target, name, transport)["runtimes"][name])
            brought.append(Brought(name, version, tuple(wheel.name for wheel in wheels), sent))
            progress.step(name)
    finally:
        progress.finish()
    return brought


def clean(target: Target) -> None:
    """Remove from a device all that edgevqa brought there.

    Raises:
        UsageError: nothing is ever brought to such a target.
        DeviceError: the device cannot be reached, or refuses.
    """
    if target.kind == "emulated":
        from shutil import rmtree

        rmtree(emulated_root(target) / RUNTIMES_FOLDER, ignore_errors=True)
        return
    transport = open_transport(target)
    if not isinstance(transport, ShellTransport):
        raise UsageError(f"{target.name} holds nothing of edgevqa's: it is this machine")
    transport.clean()
