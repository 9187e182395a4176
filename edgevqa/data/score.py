"""What an answer is worth, how good some answers were, and how sure that figure is."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevqa.errors import InputError

ACCURACY, VQA_ACCURACY = "accuracy", "VQA accuracy"
"""The kinds of scores: the share of right answers, and the official one of VQA-v2 over ten people's answers."""

SCORE_WORDS: Mapping[str, str] = {
    ACCURACY: "Right answers",
    VQA_ACCURACY: "VQA accuracy (0.3, 0.6, 0.9 or 1 for an answer that one, two, three or more of ten people gave)",
}
"""The kinds in words."""


@dataclass(frozen=True)
class Score:
    """A score.

    Attributes:
        percent: what the answers are worth on average, 0..100.
        count: questions.
        standard_error: in percentage points, of a mean over `count` independent questions.
        kind: `ACCURACY` or `VQA_ACCURACY`.
    """

    percent: float
    count: int
    standard_error: float
    kind: str = ACCURACY


@dataclass(frozen=True, eq=False)
class AnswerKey:
    """What each answer is worth to each question: between 0 and 1, and 0 for nearly all.

    Attributes:
        kind: of the score that it gives.
        starts: int64 (n + 1,), where the entries of each question begin.
        places: int64 (m,), the answers that are worth something, as places in the list of answers.
        worth: float64 (m,), above 0.
    """

    kind: str
    starts: np.ndarray
    places: np.ndarray
    worth: np.ndarray

    @classmethod
    def one_right(cls, answers: np.ndarray | Sequence[int]) -> AnswerKey:
        """One right answer (n,) for each question; a negative one is not among the answers, so that none is right."""
        labels = np.asarray(answers, np.int64)
        known = labels >= 0
        return cls(ACCURACY, _starts(known), labels[known], np.ones(int(known.sum())))

    @classmethod
    def from_rows(cls, kind: str, rows: Iterable[Mapping[int, float]]) -> AnswerKey:
        """From {answer: worth} of each question."""
        starts: list[int] = [0]
        places: list[int] = []
        worth: list[float] = []
        for row in rows:
            places.extend(row.keys())
            worth.extend(row.values())
            starts.append(len(places))
        return cls(kind, np.array(starts, np.int64), np.array(places, np.int64), np.array(worth, np.float64))

    @classmethod
    def from_dense(cls, kind: str, worth: np.ndarray) -> AnswerKey:
        """From what each of the A answers is worth (n, A)."""
        rows, places = np.nonzero(worth)
        counts = np.bincount(rows, minlength=len(worth))
        return cls(kind, _starts(counts), places.astype(np.int64), worth[rows, places].astype(np.float64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def _rows(self) -> np.ndarray:
        """The question of each entry (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def take(self, indices: np.ndarray) -> AnswerKey:
        """The key of the questions at `indices`."""
        counts = np.diff(self.starts)[indices]
        starts = _starts(counts)
        entries = np.repeat(self.starts[indices] - starts[:-1], counts) + np.arange(starts[-1])
        return AnswerKey(self.kind, starts, self.places[entries], self.worth[entries])

    def dense(self, answers: int) -> np.ndarray:
        """What each of the A answers is worth, float32 (n, A)."""
        worth = np.zeros((len(self), answers), np.float32)
        worth[self._rows, self.places] = self.worth
        return worth

    def marks(self, predicted: np.ndarray | Sequence[int]) -> np.ndarray:
        """What the answers (n,), one to each question, are worth: float64 (n,); raises InputError for another n."""
        given = np.asarray(predicted)
        if given.shape != (len(self),):
            raise InputError(f"{given.shape} predictions cannot be scored against {(len(self),)} answers")
        rows = self._rows
        hits = self.places == given[rows]
        return np.bincount(rows[hits], weights=self.worth[hits], minlength=len(self)).astype(np.float64)

    def score(self, predicted: np.ndarray | Sequence[int]) -> Score:
        """The score of the answers (n,); raises InputError for another n, or without questions."""
        marks = self.marks(predicted)
        if not len(marks):
            raise InputError("there are no questions to score")
        return score_of(marks, self.kind)

    def digest(self) -> str:
        """sha256 of the key."""
        digest = hashlib.sha256(self.kind.encode())
        for array in (self.starts, self.places, self.worth):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def score_of(marks: np.ndarray, kind: str) -> Score:
    """The score of answers that are worth `marks` (n,), each 0..1."""
    mean = float(np.mean(marks))
    variance = max(float(np.mean(marks * marks)) - mean * mean, 0.0)
    return Score(100.0 * mean, len(marks), 100.0 * math.sqrt(variance / len(marks)), kind)


def by_group(marks: np.ndarray, groups: Sequence[str]) -> dict[str, float]:
    """The mean of marks (n,) in percent for each group, sorted by name."""
    names, places = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(places, weights=marks, minlength=len(names))
    return {
        str(name): 100.0 * float(total) / int(count)
        for name, total, count in zip(names, sums, np.bincount(places, minlength=len(names)), strict=True)
    }


def accuracy(predicted: np.ndarray | Sequence[int], answers: np.ndarray | Sequence[int]) -> Score:
    """The share of `predicted` (n,) that equals `answers` (n,), both places in the answer list.

    Raises InputError when the lengths differ or there are no questions.
    """
    labels: Any = np.asarray(answers)
    if labels.ndim != 1:
        raise InputError(f"{np.shape(predicted)} predictions cannot be scored against {labels.shape} answers")
    return AnswerKey.one_right(labels).score(predicted)
