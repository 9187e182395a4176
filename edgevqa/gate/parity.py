"""Whether two sets of logits are the same answers: largest difference, and disagreements that are no ties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevqa.errors import InputError, UsageError

TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.1}
"""Largest logit difference over the logit range that each precision may have on a CPU."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Parity:
    """How far logits are from the reference logits.

    Attributes:
        largest_difference: between any two logits; None when one is no finite number.
        logit_range: largest minus smallest reference logit.
        relative: `largest_difference` over `logit_range`; None when a logit is no finite number.
        tolerance: what `relative` may be.
        disagreements: questions with another answer although the reference's two best logits differ by more
            than the tolerance.
        ties: questions with another answer where they differ by less.
        not_finite: questions with a logit that is no finite number.
        count: questions.
    """

    largest_difference: float | None
    logit_range: float
    relative: float | None
    tolerance: float
    disagreements: int
    ties: int
    not_finite: int
    count: int

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance and no answer differs but for ties."""
        return self.relative is not None and self.relative <= self.tolerance and not self.disagreements

    @property
    def reason(self) -> str:
        """Why it failed, in one line; empty when it passed."""
        if self.passed:
            return ""
        if self.relative is None:
            return f"{self.not_finite} of {self.count} questions give logits that are no finite numbers"
        reasons = []
        if self.relative > self.tolerance:
            allowed = f"{100 * self.tolerance:g} % is allowed"
            reasons.append(f"the logits differ by up to {100 * self.relative:.3g} % of their range; {allowed}")
        if self.disagreements:
            reasons.append(f"{self.disagreements} of {self.count} answers differ from the PyTorch submodel's")
        return "; ".join(reasons)


def tolerance_for(precision: str, own: Mapping[str, float] | None = None) -> float:
    """The tolerance of a precision, `own` (a target's) before the general one; raises UsageError if there is none."""
    tolerances = {**TOLERANCES, **(own or {})}
    if precision not in tolerances:
        raise UsageError(f"there is no tolerance for {precision!r}; known: {', '.join(tolerances)}")
    return tolerances[precision]


def margins(reference: Floats) -> NDArray[np.float64]:
    """By how much the best of logits (n, answers) leads the second best, over the range of all of them: (n,)."""
    count, answers = reference.shape
    if answers < 2:
        return np.full(count, np.inf)
    best = np.sort(reference.astype(np.float64), axis=1)
    lead = best[:, -1] - best[:, -2]
    return np.asarray(lead / (np.ptp(best) or 1.0))


def parity(reference: Floats, logits: Floats, tolerance: float) -> Parity:
    """Compare logits (n, answers) with the reference's (n, answers).

    Raises:
        InputError: the shapes differ, there are no questions, or a reference logit is no finite number.
    """
    if logits.shape != reference.shape or logits.ndim != 2 or not logits.size:
        raise InputError(f"logits of the shape {logits.shape} cannot be compared with {reference.shape}")
    if not np.isfinite(reference).all():
        raise InputError("a reference logit is no finite number")
    count = len(reference)
    logit_range = float(np.ptp(reference))
    not_finite = int((~np.isfinite(logits).all(axis=1)).sum())
    other = reference.argmax(axis=1) != logits.argmax(axis=1)
    clear = margins(reference) > tolerance
    difference = None if not_finite else float(np.abs(logits.astype(np.float64) - reference).max())
    relative = None if difference is None else difference / logit_range if logit_range else float(difference > 0)
    return Parity(
        largest_difference=difference,
        logit_range=logit_range,
        relative=relative,
        tolerance=tolerance,
        disagreements=int((other & clear).sum()),
        ties=int((other & ~clear).sum()),
        not_finite=not_finite,
        count=count,
    )
