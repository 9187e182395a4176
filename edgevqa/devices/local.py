"""The device that is this machine: a program in its own process group and its own folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgevqa.devices import waiting
from edgevqa.devices.base import TEMPORARY_PREFIX, Completed, FetchedFolder, check_files, remove_abandoned
from edgevqa.devices.targets import Target
from edgevqa.errors import DeviceError

OUTPUT_LIMIT = 1 << 20  # bytes kept of standard output and of standard error: their ends

# inherited settings that would change what is measured; the runner sets its own
CLEARED = (
    "OMP_",
    "KMP_",
    "GOMP_",
    "MKL_",
    "OPENBLAS_",
    "BLIS_",
    "ORT_",
    "TF_",
    "LD_PRELOAD",
    "PYTHONPROFILE",
)


def clean_environment() -> dict[str, str]:
    """This process's environment without what would steer the threads of a runtime, telemetry off."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CLEARED)}
    return {
        **kept,
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "EDGEVQA_PARENT": str(os.getpid()),
    }


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a program with everything it started, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(path: Path) -> str:
    """The end of what a program wrote."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - OUTPUT_LIMIT))
        return stream.read().decode(errors="replace")


class LocalTransport:
    """Runs programs on this machine; files are linked into the folder, not copied."""

    def __init__(self, target: Target | None = None) -> None:
        if target is not None:
            target.check_this_machine()
        remove_abandoned()

    def run(self, argv: Sequence[str], files: Mapping[str, Path], fetch: Sequence[str], timeout_s: float) -> Completed:
        """See `Transport.run`. The kernel kills the runner should this process be killed."""
        check_files(files, fetch)
        try:
            fetched = FetchedFolder()
            with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, ignore_cleanup_errors=True) as name:
                folder, output = Path(name) / "work", Path(name)
                folder.mkdir()
                for remote, path in files.items():
                    (folder / remote).symlink_to(path.absolute())
                exit_code = self._wait(argv, folder, output, timeout_s)
                found: dict[str, Path] = {}
                for wanted in fetch:
                    if (folder / wanted).is_file():
                        found[wanted] = Path(shutil.move(folder / wanted, fetched.path / wanted))
                return Completed(exit_code, tail(output / "stdout"), tail(output / "stderr"), found, fetched)
        except OSError as error:
            place = error.filename or tempfile.gettempdir()
            raise DeviceError(f"cannot use a temporary folder: {place}: {error.strerror or error}") from error

    def _wait(self, argv: Sequence[str], folder: Path, output: Path, timeout_s: float) -> int:
        # files instead of pipes: a process that is left over cannot keep us waiting for their end
        with (output / "stdout").open("wb") as stdout, (output / "stderr").open("wb") as stderr:
            try:
                process = subprocess.Popen(
                    list(argv),
                    cwd=folder,
                    env=clean_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
            except OSError as error:
                raise DeviceError(f"cannot start {argv[0]}: {error.strerror or error}") from error
            try:
                return waiting.wait(process, timeout_s)
            except subprocess.TimeoutExpired:
                program = " ".join([Path(argv[0]).name, *argv[1:]])
                raise DeviceError(f"{program} did not end within {timeout_s:g} s and was killed") from None
            finally:
                kill_group(process)
