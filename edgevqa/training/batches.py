"""Batches of a split in an order that depends on the seed and the step alone, so that a run resumes exactly."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from edgevqa.errors import UsageError


class Questions(Protocol):
    """What training needs of a split, see `edgevqa.data.dataset.Split`."""

    @property
    def tokens(self) -> np.ndarray:
        """The words, int32 (n, T), zero padded."""

    @property
    def answers(self) -> np.ndarray:
        """The right answers, int64 (n,)."""

    def model_inputs(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Batched model inputs by name."""

    def __len__(self) -> int: ...


SORTED_BATCHES = 4
"""So many batches at a time are sorted by the length of their questions, which saves computing padding."""


class Batches:
    """Shuffled batches; every epoch has its own order, and a remainder shorter than a batch is left out.

    Args:
        split: the questions.
        batch: questions a step; at most all of them.
        seed: of the order.
    """

    def __init__(self, split: Questions, batch: int, seed: int) -> None:
        self.split = split
        self.batch = min(batch, len(split))
        self.seed = seed
        self.per_epoch = len(split) // self.batch
        self._lengths = (split.tokens != 0).sum(1)
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    def indices(self, step: int) -> np.ndarray:
        """The questions of a step, 0-based."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._order = self._ordered(np.random.default_rng((self.seed, epoch)))
            self._epoch = epoch
        return self._order[place * self.batch : (place + 1) * self.batch]

    def pieces(self, step: int, accumulation: int, processes: int) -> list[np.ndarray]:
        """The questions of a step in at least `accumulation` pieces, as many for each of the processes.

        Raises UsageError when a batch has fewer questions than processes.
        """
        if processes > self.batch:
            raise UsageError(f"{processes} processes have nothing to share in batches of {self.batch} questions")
        rounds = -(-min(accumulation, self.batch) // processes)
        count = min(rounds * processes, self.batch // processes * processes)
        return np.array_split(self.indices(step), count)

    def _ordered(self, random: np.random.Generator) -> np.ndarray:
        """All questions of an epoch in the order in which they are trained."""
        order = random.permutation(len(self.split))
        stretch = SORTED_BATCHES * self.batch
        for start in range(0, len(order), stretch):
            part = order[start : start + stretch]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            whole = len(part) // self.batch * self.batch
            chunks = part[:whole].reshape(-1, self.batch)
            order[start : start + whole] = random.permutation(chunks).ravel()
            order[start + whole : start + len(part)] = part[whole:]
        return order


def trim(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Model inputs without the columns of words and of regions in which every question has padding.

    Masked positions change nothing, but to a picture that was given as 100 regions and has 20 they cost most.
    """
    longest = max(1, int((inputs["question"] != 0).sum(1).max()))
    made = {
        **inputs,
        "question": inputs["question"][:, :longest],
        "question_mask": inputs["question_mask"][..., :longest],
    }
    if "region_mask" in inputs:
        shown = np.flatnonzero((inputs["region_mask"] == 0).any(axis=(0, 1, 2)))
        most = int(shown[-1]) + 1 if len(shown) else 1
        made["region_mask"] = inputs["region_mask"][..., :most]
        made |= {name: inputs[name][:, :most] for name in ("regions", "boxes") if name in inputs}
    return made


def targets(split: Questions, indices: np.ndarray, answers: int) -> Tensor:
    """What the questions at `indices` are trained towards: right answers (b,), or the worth of all answers (b, A)."""
    worth = getattr(split, "targets", None)
    found = split.answers[indices] if worth is None else worth(indices, answers)
    return torch.from_numpy(np.ascontiguousarray(found))


def to_tensors(inputs: dict[str, np.ndarray], device: torch.device) -> tuple[Tensor, ...]:
    """Model inputs as tensors in the order of the model's forward."""
    return tuple(torch.from_numpy(np.ascontiguousarray(value)).to(device) for value in inputs.values())
