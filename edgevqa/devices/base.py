"""What every way to a device has in common: one primitive, "run this there and give me these files back"."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgevqa.errors import InputError

TEMPORARY_PREFIX = "edgevqa-tmp-"
ABANDONED_AFTER_S = 86_400
RUNTIMES_FOLDER = "runtimes"  # in the one folder on a device: what `edgevqa device setup` brought


def remove_abandoned() -> None:
    """Remove temporary folders of runs on this machine that were killed more than a day ago."""
    for folder in Path(tempfile.gettempdir()).glob(TEMPORARY_PREFIX + "*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)


class FetchedFolder:
    """A temporary folder on this machine for fetched files, removed once nothing refers to it any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder now."""
        self._finalizer()


@dataclass(frozen=True)
class Completed:
    """A program that ended on a device.

    `files` are the fetched files by name, as paths on this machine that exist as long as this value does; a
    file that the program did not write is absent. `exit_code` is -signal or 128 + signal after a signal.
    """

    exit_code: int
    stdout: str
    stderr: str
    files: Mapping[str, Path] = field(default_factory=dict)
    folder: FetchedFolder | None = field(default=None, repr=False)


class Transport(Protocol):
    """A way to a device; a new one is a class with this method and an entry in `targets.TRANSPORTS`."""

    def run(self, argv: Sequence[str], files: Mapping[str, Path], fetch: Sequence[str], timeout_s: float) -> Completed:
        """Run a program in a fresh folder on the device, which is removed afterwards.

        Args:
            argv: the program and its arguments; no shell sees them. Relative names are files in the folder.
            files: what to put into the folder before: plain file name there -> path here.
            fetch: plain names of files to bring back.
            timeout_s: seconds after which the program and all it started are killed.

        Raises:
            DeviceError: the device cannot be reached, the program cannot be started or did not end in time.
            InputError: one of `files` does not exist here.

        Whatever is raised, Ctrl-C too, nothing is left running on the device.
        """


def check_files(files: Mapping[str, Path], fetch: Iterable[str]) -> None:
    """Check the arguments of `Transport.run`.

    Raises:
        ValueError: a name is not a plain file name.
        InputError: a file to send does not exist.
    """
    for name in (*files, *fetch):
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"{name!r} is not a plain file name")
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path} does not exist, so it cannot be sent to the device")
