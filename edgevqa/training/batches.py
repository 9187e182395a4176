"""Batches of a split in an order that depends on the seed and the step alone, so that a run resumes exactly."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Questions(Protocol):
    """What training needs of a split, see `edgevqa.data.dataset.Split`."""

    @property
    def answers(self) -> np.ndarray:
        """The right answers, int64 (n,)."""

    def model_inputs(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Batched model inputs by name."""

    def __len__(self) -> int: ...


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
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    def indices(self, step: int) -> np.ndarray:
        """The questions of a step, 0-based."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.seed, epoch)).permutation(len(self.split))
            self._epoch = epoch
        return self._order[place * self.batch : (place + 1) * self.batch]


def to_tensors(inputs: dict[str, np.ndarray], device: torch.device) -> tuple[Tensor, ...]:
    """Model inputs as tensors in the order of the model's forward."""
    return tuple(torch.from_numpy(np.ascontiguousarray(value)).to(device) for value in inputs.values())
