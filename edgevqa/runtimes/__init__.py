"""The runtimes that artifacts run in, and which Python interpreter has each.

What a runtime does is in `runner.py`, the one file that is sent to a device with Python, and in `native/`, the same in
C for the others; here is what the host must know.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgevqa.errors import EnvironmentFailure, MissingExtra, UsageError
from edgevqa.storage import dump_json, sha256_bytes, sha256_file

ON_CPU = ("cpu", "xnnpack")
"""The delegates that compute on a CPU."""
RUNNER = Path(__file__).with_name("runner.py")
NATIVE_SOURCES = Path(__file__).with_name("native")
"""The same runner in C, for devices without Python, with the script that builds it."""


@dataclass(frozen=True)
class Runtime:
    """A runtime: the `format` of the files it opens, the module and package it is, the extra that brings it.

    `environment` is the folder of a virtual environment in a checkout, for one that does not go together with
    the others.
    """

    name: str
    format: str
    module: str
    package: str
    extra: str
    environment: str | None = None

    @property
    def python_variable(self) -> str:
        """The environment variable that names a Python interpreter with this runtime."""
        return f"EDGEVQA_{self.name.upper()}_PYTHON"


_ALL = (
    Runtime("onnxruntime", "onnx", "onnxruntime", "onnxruntime", "all"),
    Runtime("litert", "tflite", "ai_edge_litert", "ai-edge-litert", "litert"),
    Runtime(
        name="tflite_runtime",
        format="tflite",
        module="tflite_runtime",
        package="tflite-runtime",
        extra="tflite-runtime",
        environment=".venv-tflite-runtime",
    ),
)
RUNTIMES: Mapping[str, Runtime] = MappingProxyType({runtime.name: runtime for runtime in _ALL})


def get_runtime(name: str) -> Runtime:
    """The runtime of a name; raises UsageError with the nearest known name otherwise."""
    if name not in RUNTIMES:
        near = difflib.get_close_matches(name, RUNTIMES, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"unknown runtime {name!r} (known: {', '.join(RUNTIMES)}){hint}")
    return RUNTIMES[name]


def get_delegates(name: str) -> tuple[str, ...]:
    """What a runtime may compute with, whether a device has it or not; raises UsageError for an unknown runtime."""
    from edgevqa.runtimes.runner import ADAPTERS

    delegates: tuple[str, ...] = ADAPTERS[get_runtime(name).name].delegates
    return delegates


def runtimes_for(artifact_format: str) -> tuple[Runtime, ...]:
    """The runtimes that open files of a format (`onnx`, `tflite`), the preferred one first."""
    return tuple(runtime for runtime in RUNTIMES.values() if runtime.format == artifact_format)


def check_format(path: Path, runtime: Runtime) -> None:
    """Raise UsageError when a file is an artifact for another runtime."""
    if path.suffix == "." + runtime.format:
        return
    fitting = ", ".join(other.name for other in runtimes_for(path.suffix[1:]))
    advice = f"; use {fitting}" if fitting else ""
    raise UsageError(f"{path} is not for this runtime: {runtime.name} opens .{runtime.format} files{advice}")


def native_runner_sha256() -> str:
    """What stands for the runner in C: a hash of its sources, whatever compiler makes a program of them."""
    found = {path.name: sha256_file(path) for path in sorted(NATIVE_SOURCES.glob("*.[ch]"))}
    return sha256_bytes(dump_json(found).encode())


def importable(runtime: Runtime) -> bool:
    """Whether this very interpreter has the runtime (not imported, only looked for)."""
    return importlib.util.find_spec(runtime.module) is not None


def find_python(name: str) -> Path:
    """A Python interpreter on this machine that has a runtime.

    Looked for in this order: the variable EDGEVQA_<RUNTIME>_PYTHON, this interpreter, the runtime's own
    virtual environment in the working folder or the checkout.

    Raises:
        MissingExtra: no interpreter has it.
        EnvironmentFailure: the variable names something that cannot be run.
    """
    runtime = get_runtime(name)
    chosen = os.environ.get(runtime.python_variable)
    if chosen:
        if not os.access(chosen, os.X_OK) or Path(chosen).is_dir():
            raise EnvironmentFailure(f"{runtime.python_variable} names {chosen}, which is not a program")
        return Path(chosen).absolute()
    if importable(runtime):
        return Path(sys.executable)
    if runtime.environment:
        for root in (Path.cwd(), Path(__file__).parents[2]):
            python = root / runtime.environment / "bin" / "python"
            if python.exists():
                return python
    raise MissingExtra(runtime.package, runtime.extra)
