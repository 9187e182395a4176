"""The runner in C as tests build it on this machine, with the runtimes of this environment beside it."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from edgevqa.runtimes import NATIVE_SOURCES

PARSERS = Path(__file__).with_name("native_parsers.c")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
LIBRARIES = {
    "libonnxruntime.so": ("onnxruntime", "capi/libonnxruntime.so.*"),
    "libLiteRt.so": ("ai_edge_litert", "*.so"),
}


def compiler(name: str = "gcc") -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here")
    return found


def compile_runner(output: Path, *flags: str, cc: str = "gcc") -> Path:
    script = NATIVE_SOURCES / "build.sh"
    environment = {**os.environ, "CC": compiler(cc)}
    done = subprocess.run(
        ["sh", str(script), str(output), *flags], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return output


def link_runtimes(folder: Path) -> None:
    """Put the runtimes' libraries of this environment into a folder under the names that the runner looks for."""
    for name, (package, pattern) in LIBRARIES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.submodule_search_locations is None:
            pytest.skip(f"{package} is not installed")
        home = Path(next(iter(spec.submodule_search_locations)))
        (found,) = [path for path in home.glob(pattern) if path.name.startswith(name)]
        (folder / name).symlink_to(found)
    (folder / "versions.json").write_text('{"litert": "2.3.0"}')


@functools.cache
def runner() -> Path:
    """The program with its runtimes, built once for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="edgevqa-native-"))
    link_runtimes(folder)
    return compile_runner(folder / "edgevqa-runner")


@functools.cache
def parsers() -> Path:
    """A program that only reads: JSON or questions, with every access to memory checked."""
    folder = Path(tempfile.mkdtemp(prefix="edgevqa-native-"))
    names = ("json_read", "json_write", "fail", "files", "npz", "npy", "tensor")
    sources = [str(NATIVE_SOURCES / f"{name}.c") for name in names]
    command = [
        compiler(),
        "-std=gnu11",
        "-D_GNU_SOURCE",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        *SANITIZERS,
        f"-I{NATIVE_SOURCES}",
    ]
    done = subprocess.run(
        [*command, "-o", str(folder / "parsers"), str(PARSERS), *sources, "-lm"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "cannot find" in done.stderr:
        pytest.skip("this gcc has no sanitizers")
    assert done.returncode == 0, done.stderr
    return folder / "parsers"
