"""Finished processes of measurements that still lack some: what a killed bench goes on from."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgevqa.storage import write_bytes, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES_NAME = "samples"


@dataclass(frozen=True)
class Part:
    """One process: what the runner reported, and (n,) int64 ns in the order of its run."""

    values: Mapping[str, Any]
    samples: NDArray[np.int64]


def write_samples(path: Path, samples: NDArray[np.int64]) -> None:
    """Write samples as .npy, whole or not at all."""
    stream = io.BytesIO()
    np.save(stream, samples, allow_pickle=False)
    write_bytes(path, stream.getvalue())


class Parts:
    """The parts of one experiment, in a folder of all experiments."""

    def __init__(self, folder: Path, experiment: str, processes: int) -> None:
        self.folder, self.experiment = folder, experiment
        self.found: dict[int, Part] = {}
        for number in range(processes):
            part = self._load(number)
            if part is not None:
                self.found[number] = part

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{self.experiment}-{number}{suffix}"

    def _load(self, number: int) -> Part | None:
        try:
            values = json.loads(self._path(number, ".json").read_text(encoding="utf-8"))
            return Part(values, np.load(self._path(number, ".npy"), allow_pickle=False))
        except (OSError, ValueError, EOFError):
            return None

    def save(self, number: int, part: Part) -> None:
        """Keep a part; its JSON file is written last and makes it complete."""
        write_samples(self._path(number, ".npy"), part.samples)
        write_json(self._path(number, ".json"), dict(part.values))
        self.found[number] = part

    def remove(self) -> None:
        """Forget all parts, once their record is written."""
        for number in self.found:
            for suffix in (".json", ".npy"):
                self._path(number, suffix).unlink(missing_ok=True)

    def in_order(self) -> list[Part]:
        """The parts by number."""
        return [self.found[number] for number in sorted(self.found)]
