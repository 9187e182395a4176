"""Bring runtimes to a device: wheels for its architecture, Python and C library are found here and unpacked there.

A phone without Python gets the bundle instead. Nothing is installed there: no pip, no network and no root are needed,
and one folder holds all of it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevqa.devices import Target, Transport, open_transport, unpack
from edgevqa.devices.base import RUNTIMES_FOLDER, TEMPORARY_PREFIX
from edgevqa.devices.emulated import emulated_root
from edgevqa.devices.jobs import native_bundle, packages_folder, probe, without_python
from edgevqa.devices.local import LocalTransport
from edgevqa.devices.shell import ShellTransport, last_line
from edgevqa.devices.wheels import PINS, find_wheels, parse_version
from edgevqa.errors import DeviceError, UsageError
from edgevqa.progress import Progress, Silent
from edgevqa.runtimes import get_runtime
from edgevqa.storage import sha256_file

UNPACK_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Brought:
    """A runtime on a device: its version, the wheels, and whether they had to be sent."""

    runtime: str
    version: str
    wheels: tuple[str, ...]
    sent: bool


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
    if parse_version(libc[len("glibc ") :]) < pins.glibc:
        needed = ".".join(map(str, pins.glibc))
        raise DeviceError(f"{what} needs glibc {needed}, {target.name} has {libc[6:]}; update its system")
    if pins.newest_python is not None and parse_version(found["python"]) > pins.newest_python:
        newest = ".".join(map(str, pins.newest_python))
        raise DeviceError(
            f"{what} is there up to Python {newest}, {target.name} has {found['python']}; let `python` in the profile "
            "name an older interpreter, or use litert"
        )


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
        target: a device behind ssh or adb, or an emulated one.
        runtimes: which; the target's by default.
        transport: a way to the target that is open already.
        progress: told about every runtime.

    Returns:
        each runtime as the device imports it now.

    Raises:
        UsageError: the target needs no setup, or a runtime is unknown.
        DeviceError: the device cannot be reached, has no room, or there are no wheels for it.
        EnvironmentFailure: pip cannot download, or a compiler for the bundle is missing.
    """
    names = [get_runtime(name).name for name in runtimes or target.runtimes]
    native = without_python(target)
    if not native and packages_folder(target, names[0]) is None:
        raise UsageError(f"{target.name} needs no setup: a target of kind {target.kind} runs what this machine has")
    progress, transport = progress or Silent(), transport or open_transport(target)
    found = {} if native else probe(target, None, transport)
    brought = []
    progress.start(f"setting up {target.name}", len(names))
    try:
        for name in names:
            progress.step(name, 0)
            bring = _bring_bundle(target, name, transport) if native else _bring_wheels(target, name, transport, found)
            brought.append(bring)
            progress.step(name)
    finally:
        progress.finish()
    return brought


def _bring_wheels(target: Target, name: str, transport: Transport, found: Mapping[str, Any]) -> Brought:
    check_fits(target, name, found)
    wheels = find_wheels(name, found)
    wanted = [[wheel.name, sha256_file(wheel)] for wheel in wheels]
    sent = _unpack(transport, target, name, ()) != wanted
    if sent:
        _unpack(transport, target, name, wheels)
    version = str(probe(target, name, transport)["runtimes"][name])
    return Brought(name, version, tuple(wheel.name for wheel in wheels), sent)


def _bring_bundle(target: Target, name: str, transport: Transport) -> Brought:
    """Let the runner in C open a runtime there: what it lacks is sent with it, and stays."""
    wheel = native_bundle(target, transport).manifest["wheels"].get(name)
    before = sent_files(transport)
    version = str(probe(target, name, transport)["runtimes"][name])
    return Brought(name, version, (wheel,) if wheel else (), sent_files(transport) > before)


def sent_files(transport: Transport) -> int:
    """How many files a transport has sent, because the device did not have them."""
    return transport.sent if isinstance(transport, ShellTransport) else 0


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
