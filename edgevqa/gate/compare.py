"""Whether an artifact answers as many questions as the fp32 PyTorch submodel does.

A near-tie is a question on which fp32 PyTorch's own two best logits differ by no more than fp32 files may differ from
it (the parity tolerance of fp32): which of the two it answers is rounding, and another answer there is no loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevqa.data.score import ACCURACY, AnswerKey
from edgevqa.errors import InputError

LIMITS: Mapping[str, float] = {"fp32": 0.0, "fp16": 0.2, "int8": 0.5}
"""Points of the score that each precision may lose against fp32 PyTorch, on a full test split."""
ERRORS = 2.0
"""Standard errors by which a sample must show a loss beyond the limit before it counts."""

Integers = NDArray[np.integer]


@dataclass(frozen=True)
class ScoreCheck:
    """A score beside that of the fp32 PyTorch submodel on the same questions.

    Attributes:
        questions: what was asked: "reference questions", "scenes/test", "1000 of scenes/test".
        percent, count, standard_error: the score in percent, of how many questions, and its error in points.
        fp32_percent: of the fp32 PyTorch submodel; None when it is not known.
        drop: points lost against it; negative when the artifact is better.
        drop_error: standard error of `drop` as a figure about more questions than these: from the questions on
            which the two differ in being right. None where only the two scores are known.
        limit: points that may be lost.
        full: whether the questions are a full test split, where the limit holds strictly. On a sample a loss counts
            only when it exceeds the limit by two standard errors of the drop.
        near_ties: how many of the answers that only PyTorch gets right were lost at near-ties; they may be. Where an
            answer may be worth less than 1, what those were worth above the artifact's.
        kind: of the score, see `edgevqa.data.score`.
    """

    questions: str
    percent: float
    count: int
    standard_error: float
    fp32_percent: float | None
    drop: float | None
    drop_error: float | None
    limit: float
    full: bool
    near_ties: float = 0.0
    kind: str = ACCURACY

    @property
    def passed(self) -> bool:
        """Whether no more than the limit was lost, see `full`; True when there is nothing to compare with."""
        if self.drop is None:
            return True
        if self.drop_error is not None:
            allowance = 100.0 * self.near_ties / self.count + (0.0 if self.full else ERRORS * self.drop_error)
        else:
            allowance = 50.0 / self.count  # half a question: the other score may have been rounded
        return self.drop <= self.limit + allowance + 1e-9

    @property
    def reason(self) -> str:
        """Why it failed, in one line; empty when it passed."""
        if self.passed:
            return ""
        kind = "" if self.kind == ACCURACY else f" {self.kind}"
        error = "" if self.drop_error is None else f" (standard error {self.drop_error:.2f})"
        ties = f" and {self.near_ties:g} near-ties" if self.near_ties else ""
        return (
            f"it scores {self.percent:.2f} %{kind} on {self.questions}, {self.drop:.2f} points{error} below "
            f"fp32 PyTorch; {self.limit:g}{ties} are allowed"
        )


def compare_answers(
    answers: Integers,
    fp32: Integers,
    labels: Integers | AnswerKey,
    *,
    questions: str,
    limit: float,
    full: bool,
    near_ties: NDArray[np.bool_] | None = None,
) -> ScoreCheck:
    """Compare the answers (n,) of an artifact with those of fp32 PyTorch, question by question.

    The drop is the mean of what PyTorch's answer to a question is worth above the artifact's, and its variance over
    questions drawn like these is that of a mean: with b questions that only PyTorch gets right and c that only the
    artifact does, (b - c) / n and (b + c - (b - c)^2 / n) / n^2.

    Args:
        answers: of the artifact.
        fp32: of fp32 PyTorch.
        labels: the right ones, or what each answer is worth.
        questions: what was asked, in words.
        limit: points that may be lost.
        full: whether this is a full test split.
        near_ties: (n,), which questions are near-ties of fp32 PyTorch; none by default.

    Raises:
        InputError: the lengths differ, or there are no questions.
    """
    key = _key(labels)
    count = len(key)
    if fp32.shape != (count,):
        raise InputError(f"{fp32.shape} answers of fp32 PyTorch do not fit {(count,)} questions")
    score, full_score = key.score(answers), key.score(fp32)
    lost = key.marks(fp32) - key.marks(answers)
    total = float(lost.sum())
    tied = 0.0 if near_ties is None else round(float(lost[near_ties & (lost > 0)].sum()), 6)
    variance = max(float((lost * lost).sum()) - total**2 / count, 0.0) / count**2
    return ScoreCheck(
        questions=questions,
        percent=score.percent,
        count=count,
        standard_error=score.standard_error,
        fp32_percent=full_score.percent,
        drop=100.0 * total / count,
        drop_error=100.0 * math.sqrt(variance),
        limit=limit,
        full=full,
        near_ties=tied,
        kind=key.kind,
    )


def _key(labels: Integers | AnswerKey) -> AnswerKey:
    return labels if isinstance(labels, AnswerKey) else AnswerKey.one_right(labels)


def compare_score(
    answers: Integers,
    labels: Integers | AnswerKey,
    fp32_percent: float | None,
    *,
    questions: str,
    limit: float,
    full: bool,
) -> ScoreCheck:
    """Compare the answers (n,) of an artifact with the score of fp32 PyTorch alone.

    On a sample the score of the full split says nothing strict: the drop's error is then the score's own.
    """
    score = _key(labels).score(answers)
    drop = None if fp32_percent is None else fp32_percent - score.percent
    return ScoreCheck(
        questions=questions,
        percent=score.percent,
        count=score.count,
        standard_error=score.standard_error,
        fp32_percent=fp32_percent,
        drop=drop,
        drop_error=None if drop is None or full else score.standard_error,
        limit=limit,
        full=full,
        kind=score.kind,
    )
