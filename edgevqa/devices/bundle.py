"""What a phone without Python needs to run a model: one folder with the runner in C, the runtimes, and a C library.

Nothing of the phone's own system is used but its kernel, so that the wheels for Linux run there. On Android itself that
means the CPU: a process with another C library than the phone's cannot open the drivers of its GPU. LiteRT's GPU
accelerator goes along where a profile asks for it, and says itself that it finds no GPU.
"""

from __future__ import annotations

import fnmatch
import platform
import shutil
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevqa.devices.shell import last_line
from edgevqa.devices.wheels import PINS, download_wheels
from edgevqa.errors import DeviceError, EnvironmentFailure, InputError, UsageError
from edgevqa.runtimes import NATIVE_SOURCES, get_runtime, native_runner_sha256
from edgevqa.storage import (
    cache_folder,
    dump_json,
    new_folder,
    read_json,
    sha256_bytes,
    sha256_file,
    waiting_lock,
    write_json,
)

RUNNER_NAME, VERSIONS_NAME, MANIFEST_NAME = "edgevqa-runner", "versions.json", "bundle.json"
COMPILE_TIMEOUT_S = 300.0
WHEEL_PYTHON, WHEEL_GLIBC = (3, 11), (2, 34)  # any would do: the libraries inside are the same

# machine -> its loader, and the Debian packages with a compiler and libraries for it
LOADERS: Mapping[str, str] = {"aarch64": "ld-linux-aarch64.so.1", "x86_64": "ld-linux-x86-64.so.2"}
PACKAGES: Mapping[str, str] = {
    "aarch64": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross libstdc++6-arm64-cross",
    "x86_64": "gcc-x86-64-linux-gnu libc6-dev-amd64-cross libstdc++6-amd64-cross",
}
OWN_PACKAGES = "gcc libc6-dev libstdc++6"
SYSTEM_LIBRARIES = (
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libgcc_s.so.1",
    "libstdc++.so.6",
)
# runtime -> its library there, and where its wheel has it
LIBRARIES: Mapping[str, tuple[str, str]] = {
    "onnxruntime": ("libonnxruntime.so", "onnxruntime/capi/libonnxruntime.so.*"),
    "litert": ("libLiteRt.so", "ai_edge_litert/libLiteRt.so"),
}
# the same for a delegate that is a library of its own
ACCELERATORS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("litert", "gpu"): ("libLiteRtWebGpuAccelerator.so", "ai_edge_litert/libLiteRtWebGpuAccelerator.so"),
}


@dataclass(frozen=True)
class Bundle:
    """A built bundle: `manifest` says for which machine, which runtimes it holds, and the sha256 of every file."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def command(self) -> list[str]:
        """The program with its arguments but for the job, started in a folder that holds the files."""
        return [f"./{LOADERS[self.manifest['machine']]}", "--library-path", ".", f"./{RUNNER_NAME}"]

    def files(self, runtime: str | None, delegate: str = "cpu") -> dict[str, Path]:
        """What a job in a runtime needs there: name there -> path here; without a runtime, what a probe needs."""
        others = {library for name, (library, _member) in LIBRARIES.items() if name != runtime}
        others |= {library for pair, (library, _member) in ACCELERATORS.items() if pair != (runtime, delegate)}
        return {name: self.folder / name for name in self.manifest["files"] if name not in others}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable description."""
        return {"folder": str(self.folder), **self.manifest}


def build_bundle(machine: str, runtimes: Sequence[str] | None = None) -> Bundle:
    """Build a bundle, or take the one in the cache that was made of the very same parts.

    Args:
        machine: `aarch64` or `x86_64`.
        runtimes: of `LIBRARIES`; all by default.

    Raises:
        UsageError: there are no bundles for this machine or runtime.
        EnvironmentFailure: a compiler or its libraries are missing, or pip cannot download.
    """
    if machine not in LOADERS:
        raise UsageError(f"there is no bundle for {machine!r}, only for {', '.join(LOADERS)}")
    names = list(dict.fromkeys(get_runtime(name).name for name in (runtimes or LIBRARIES)))
    for name in names:
        if name not in LIBRARIES:
            raise UsageError(f"{name} runs only where there is Python; without it, litert opens the same files")
    compiler = find_compiler(machine)
    system = {name: _find_library(compiler, machine, name) for name in (LOADERS[machine], *SYSTEM_LIBRARIES)}
    for name in names:
        _check_glibc(name, compiler, system["libc.so.6"])
    packages = {name: PINS[name].packages[0] for name in names}
    parts = {
        "machine": machine,
        "packages": packages,
        "accelerators": [library for (name, _delegate), (library, _member) in ACCELERATORS.items() if name in names],
        "runner": native_runner_sha256(),
        "compiler": _ask(compiler, machine, "--version").splitlines()[0],
        "system": {name: sha256_file(path) for name, path in system.items()},
    }
    cache = cache_folder() / "bundles"
    folder = cache / f"{machine}-{sha256_bytes(dump_json(parts).encode())[:16]}"
    with waiting_lock(cache):  # phones of a fleet need it at the same time
        found = _read(folder)
        if found is None:
            wheels = {name: download_wheels([packages[name]], machine, WHEEL_PYTHON, WHEEL_GLIBC)[0] for name in names}
            _build(folder, parts, compiler, system, wheels)
            found = _read(folder)
    if found is None:
        raise EnvironmentFailure(f"the bundle in {folder} was changed while it was built; try again")
    return found


def find_compiler(machine: str) -> str:
    """The C compiler that makes programs for a machine; raises EnvironmentFailure when there is none."""
    name = "gcc" if machine == platform.machine() else f"{machine}-linux-gnu-gcc"
    found = shutil.which(name)
    if found is None:
        raise _lacks(f"there is no {name} here", machine)
    return found


def _lacks(what: str, machine: str) -> EnvironmentFailure:
    packages = OWN_PACKAGES if machine == platform.machine() else PACKAGES[machine]
    return EnvironmentFailure(f"{what}, and the runner for {machine} needs it (Debian: apt install {packages})")


def _ask(compiler: str, machine: str, *question: str) -> str:
    """What a compiler answers."""
    try:
        done = subprocess.run(
            [compiler, *question],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMPILE_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _lacks(f"{compiler} does not work", machine) from error
    return done.stdout.strip()


def _find_library(compiler: str, machine: str, name: str) -> Path:
    """A library of the system that a compiler makes programs for."""
    path = Path(_ask(compiler, machine, f"-print-file-name={name}"))
    if not path.is_absolute() or not path.is_file():
        raise _lacks(f"{compiler} has no {name}", machine)
    return path.resolve()


def _check_glibc(runtime: str, compiler: str, libc: Path) -> None:
    """Raise EnvironmentFailure when a runtime needs a newer C library than there is to bring along."""
    needed = ".".join(map(str, PINS[runtime].glibc))
    if f"GLIBC_{needed}\0".encode() not in libc.read_bytes():
        raise EnvironmentFailure(
            f"{PINS[runtime].packages[0]} needs glibc {needed}, and {libc} of {compiler} is older; update it"
        )


def _read(folder: Path) -> Bundle | None:
    """A bundle that was built earlier, or None if it is not there as it should be."""
    try:
        manifest = read_json(folder / MANIFEST_NAME)
    except InputError:
        return None
    whole = all(
        (folder / name).is_file() and sha256_file(folder / name) == sum_ for name, sum_ in manifest["files"].items()
    )
    return Bundle(folder, manifest) if whole else None


def _build(
    folder: Path, parts: Mapping[str, Any], compiler: str, system: Mapping[str, Path], wheels: Mapping[str, Path]
) -> None:
    with new_folder(folder) as fresh:
        _compile(compiler, fresh / RUNNER_NAME)
        for name, path in system.items():
            shutil.copyfile(path, fresh / name)
        for runtime, wheel in wheels.items():
            _take_library(wheel, *LIBRARIES[runtime], fresh)
            for (name, _delegate), library in ACCELERATORS.items():
                if name == runtime:
                    _take_library(wheel, *library, fresh)
        versions = {name: package.partition("==")[2] for name, package in parts["packages"].items()}
        write_json(fresh / VERSIONS_NAME, versions)
        files = {path.name: sha256_file(path) for path in sorted(fresh.iterdir())}
        size = sum((fresh / name).stat().st_size for name in files)
        more = {"versions": versions, "wheels": {name: wheel.name for name, wheel in wheels.items()}, "bytes": size}
        write_json(fresh / MANIFEST_NAME, {**parts, **more, "files": files})


def _compile(compiler: str, output: Path) -> None:
    command = ["sh", str(NATIVE_SOURCES / "build.sh"), str(output)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMPILE_TIMEOUT_S,
            env={"CC": compiler, "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentFailure(f"{compiler} did not compile the runner within {COMPILE_TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        reason = next((line for line in lines if "error" in line), last_line(done.stderr))
        raise EnvironmentFailure(f"{compiler} cannot compile the runner: {reason.strip()}")


def _take_library(wheel: Path, name: str, member: str, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = fnmatch.filter(archive.namelist(), member)
        if len(found) != 1:
            raise DeviceError(f"{wheel.name} holds {len(found)} files {member}, and one is needed")
        with archive.open(found[0]) as source, (folder / name).open("wb") as target:
            shutil.copyfileobj(source, target)
