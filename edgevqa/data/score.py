"""How many answers were right, and how sure that figure is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgevqa.errors import InputError


@dataclass(frozen=True)
class Score:
    """An accuracy.

    Attributes:
        percent: right answers, 0..100.
        count: questions.
        standard_error: in percentage points, of a proportion over `count` independent questions.
    """

    percent: float
    count: int
    standard_error: float


def accuracy(predicted: np.ndarray | Sequence[int], answers: np.ndarray | Sequence[int]) -> Score:
    """The share of `predicted` (n,) that equals `answers` (n,), both places in the answer list.

    Raises InputError when the lengths differ or there are no questions.
    """
    ours, theirs = np.asarray(predicted), np.asarray(answers)
    if ours.shape != theirs.shape or ours.ndim != 1:
        raise InputError(f"{ours.shape} predictions cannot be scored against {theirs.shape} answers")
    if not len(ours):
        raise InputError("there are no questions to score")
    share = float(np.mean(ours == theirs))
    return Score(100.0 * share, len(ours), 100.0 * math.sqrt(share * (1.0 - share) / len(ours)))
