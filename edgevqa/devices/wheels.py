"""Wheels of the runtimes for other machines: pinned versions, downloaded by pip and kept in the cache."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevqa.devices.shell import last_line
from edgevqa.errors import DeviceError, EnvironmentFailure
from edgevqa.storage import cache_folder, dump_json, new_folder, sha256_bytes, waiting_lock

DOWNLOAD_TIMEOUT_S = 900.0
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


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor number of a version."""
    major, minor = [*text.split("."), "0"][:2]
    return int(major), int(minor)


def find_wheels(runtime: str, found: Mapping[str, Any]) -> list[Path]:
    """The pinned wheels of a runtime for a probed device, downloaded once by pip and kept in the cache.

    Raises:
        DeviceError: there are none for its Python and C library.
        EnvironmentFailure: pip is missing, or cannot reach an index.
    """
    python, glibc = parse_version(found["python"]), parse_version(str(found["libc"])[len("glibc ") :])
    return download_wheels(PINS[runtime].packages, str(found["machine"]), python, glibc)


def download_wheels(
    packages: Sequence[str], machine: str, python: tuple[int, int], glibc: tuple[int, int]
) -> list[Path]:
    """The wheels of packages with exact versions; raises as `find_wheels`."""
    wanted = {"packages": packages, "machine": machine, "python": python, "glibc": glibc}
    cache = cache_folder() / "wheels"
    folder = cache / sha256_bytes(dump_json(wanted).encode())[:16]
    with waiting_lock(cache):
        if len(list(folder.glob("*.whl"))) != len(packages):
            with new_folder(folder) as fresh:
                _download(fresh, packages, machine, python, glibc)
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
