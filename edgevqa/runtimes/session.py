"""A runtime in this very process, for answering a question or scoring a file; never for timing.

It loads the adapters of `runner.py`, so that a file behaves here as it does on a device.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.errors import DeviceError, EnvironmentFailure, InputError, MissingExtra, UsageError
from edgevqa.runtimes import RUNTIMES, Runtime, check_format, get_runtime, importable, runner, runtimes_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Floats = NDArray[np.float32]


def translate(error: runner.RunnerError, runtime: Runtime) -> EnvironmentFailure | InputError:
    """The edgevqa error that stands for a failure of the runner in a runtime on this machine."""
    if error.kind == "missing_runtime":
        return MissingExtra(runtime.package, runtime.extra)
    if error.kind in ("model", "inputs"):
        return InputError(str(error))
    return DeviceError(str(error))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep a runtime's own notes, which it writes past Python, off the terminal; its errors are exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class Session:
    """An open model file. `inputs` holds the shape (batch 1) and type of every input by name."""

    def __init__(self, path: Path, runtime: Runtime, threads: int) -> None:
        self.path, self.runtime, self.threads = path, runtime, threads
        try:
            module = runner.import_runtime(runtime.name)
            with _quiet():
                self._model, _ = runner.open_model(runtime.name, module, str(path), threads)
        except runner.RunnerError as error:
            raise translate(error, runtime) from error
        self.inputs: runner.Specs = self._model.inputs

    def run(self, inputs: Mapping[str, Array]) -> Floats:
        """Logits of one question.

        Args:
            inputs: the artifact's inputs by name, batch 1; pictures as NCHW whatever the file's layout; names
                that the file does not have are ignored.

        Returns:
            (1, answers) float32.

        Raises:
            InputError: an input is missing, or has another shape or type.
        """
        import numpy as np

        try:
            wanted = runner.select(self.inputs, inputs)
            for name, array in wanted.items():
                if array.shape[0] != 1:
                    text = f"input {name!r} holds {array.shape[0]} questions instead of 1"
                    raise runner.RunnerError("inputs", text)
        except runner.RunnerError as error:
            raise translate(error, self.runtime) from error
        try:
            logits = self._model.run(wanted)
        except Exception as error:  # every runtime has its own exceptions
            text = runner.one_line(error)
            raise InputError(f"{self.runtime.name} cannot run {self.path} on this: {text}") from error
        return np.asarray(logits, np.float32)


def default_runtime(path: Path) -> Runtime:
    """The first installed runtime that opens this kind of file.

    Raises:
        UsageError: no runtime opens it.
        MissingExtra: none of those that do is installed.
    """
    fitting = runtimes_for(path.suffix[1:])
    if not fitting:
        known = " or ".join(sorted({"." + runtime.format for runtime in RUNTIMES.values()}))
        raise UsageError(f"{path} is no artifact file; those end in {known}")
    for runtime in fitting:
        if importable(runtime):
            return runtime
    raise MissingExtra(fitting[0].package, fitting[0].extra)


def open_session(path: Path, runtime: str | None = None, threads: int = 1) -> Session:
    """Open an artifact's file in this process.

    Args:
        path: the `.onnx` or `.tflite` file.
        runtime: one of `RUNTIMES`; by default the first installed one that opens the file.
        threads: how many threads the runtime computes with.

    Raises:
        UsageError: the file is for another runtime, or `threads` is not positive.
        MissingExtra: the runtime is not installed for this interpreter.
        InputError: the file is missing or broken.
    """
    path = Path(path)
    if threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    chosen = default_runtime(path) if runtime is None else get_runtime(runtime)
    check_format(path, chosen)
    return Session(path, chosen, threads)
