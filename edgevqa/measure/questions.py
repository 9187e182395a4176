"""The questions that a model is timed with: the reference questions, or as many of them as fit into little memory.

The process that is timed holds them all, so that those of a model with large inputs would stand in its memory.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from types import TracebackType

import numpy as np

from edgevqa.devices.base import TEMPORARY_PREFIX

LARGEST_BYTES = 8_000_000
FEWEST = 4
UNTIMED = ("labels", "texts", "worth")


class TimedQuestions:
    """Makes the smaller files, and removes them when the block ends."""

    def __init__(self, largest_bytes: int = LARGEST_BYTES) -> None:
        self.largest_bytes = largest_bytes
        self._made: dict[Path, Path] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> TimedQuestions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()
        self._folder, self._made = None, {}

    def of(self, path: Path) -> Path:
        """The file itself where its inputs are small, else one with fewer of its questions, spread over all.

        A file that cannot be read is given back as it is: the process that is timed says what is wrong with it.
        """
        if path not in self._made:
            try:
                self._made[path] = self._shortened(path)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):
                return path
        return self._made[path]

    def _shortened(self, path: Path) -> Path:
        with zipfile.ZipFile(path) as archive:
            members = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
        total = sum(size for name, size in members.items() if name not in UNTIMED)
        if total <= self.largest_bytes:
            return path
        kept: dict[str, np.ndarray] = {}
        with np.load(path, allow_pickle=False) as stored:
            for name in members.keys() - set(UNTIMED):
                array = stored[name]
                count = min(max(len(array) * self.largest_bytes // total, FEWEST), len(array))
                kept[name] = array[np.linspace(0, len(array) - 1, count).astype(np.int64)]
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, ignore_cleanup_errors=True)
        smaller = Path(self._folder.name) / f"questions-{len(self._made)}.npz"
        np.savez(smaller, **kept)  # type: ignore[arg-type]
        return smaller
