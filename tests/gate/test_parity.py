"""Parity: the arithmetic of differences, ties and disagreements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgevqa.errors import InputError, UsageError
from edgevqa.gate.parity import TOLERANCES, parity, tolerance_for

REFERENCE = np.array([[0.0, 10.0, 4.0], [5.0, 4.9, 0.0]], np.float32)


def test_equal_logits_pass_every_tolerance() -> None:
    found = parity(REFERENCE, REFERENCE.copy(), 1e-9)
    assert found.passed and found.relative == 0 and found.reason == "" and found.count == 2


def test_the_difference_is_relative_to_the_range() -> None:
    logits = REFERENCE.copy()
    logits[0, 0] = 0.5
    found = parity(REFERENCE, logits, 0.1)
    assert found.passed and found.logit_range == 10 and found.relative == pytest.approx(0.05)
    strict = parity(REFERENCE, logits, 0.01)
    assert not strict.passed and strict.disagreements == 0
    assert strict.reason == "the logits differ by up to 5 % of their range; 1 % is allowed"


def test_another_answer_counts_unless_it_is_a_tie() -> None:
    logits = REFERENCE.copy()
    logits[1] = [4.85, 4.95, 0.0]
    tied = parity(REFERENCE, logits, 0.1)
    assert tied.passed and (tied.ties, tied.disagreements) == (1, 0)
    clear = parity(REFERENCE, logits, 0.005)
    assert (clear.ties, clear.disagreements) == (0, 1) and not clear.passed
    assert "1 of 2 answers differ from the PyTorch submodel's" in clear.reason


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_fails(value: float) -> None:
    logits = REFERENCE.copy()
    logits[1, 2] = value
    found = parity(REFERENCE, logits, 1e6)
    assert not found.passed and found.relative is None
    assert found.reason == "1 of 2 questions give logits that are no finite numbers"


def test_constant_logits_fail_where_the_reference_answers() -> None:
    assert not parity(REFERENCE, np.zeros_like(REFERENCE), 0.1).passed


def test_a_constant_reference_is_met_exactly_or_not_at_all() -> None:
    reference = np.zeros((2, 3), np.float32)
    assert parity(reference, reference, 1e-4).passed
    assert not parity(reference, reference + 1e-3, 1e-4).passed


@pytest.mark.parametrize("logits", [np.zeros((2, 2)), np.zeros((3, 3)), np.zeros(3), np.zeros((2, 3, 1))])
def test_other_shapes_are_refused(logits: np.ndarray) -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        parity(REFERENCE, logits, 0.1)


def test_a_broken_reference_is_refused() -> None:
    with pytest.raises(InputError, match="reference logit is no finite number"):
        parity(np.full((1, 2), np.nan), np.zeros((1, 2)), 0.1)


def test_tolerances_of_a_target_come_first() -> None:
    assert tolerance_for("int8") == TOLERANCES["int8"] == 0.1
    assert tolerance_for("fp16", {"fp16": 0.05}) == 0.05
    with pytest.raises(UsageError, match="no tolerance for 'int4'"):
        tolerance_for("int4")


logit_pairs = st.tuples(st.integers(1, 5), st.integers(2, 6)).flatmap(
    lambda shape: st.tuples(
        *(arrays.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)) for _ in range(2))
    )
)


@given(logit_pairs, st.sampled_from(sorted(TOLERANCES.values())))
def test_whatever_passes_answers_alike_outside_of_ties(pair: tuple[np.ndarray, np.ndarray], tolerance: float) -> None:
    reference, logits = pair
    found = parity(reference, logits, tolerance)
    best = np.sort(reference.astype(float), axis=1)
    clear = best[:, -1] - best[:, -2] > tolerance * np.ptp(reference)
    if found.passed:
        assert (reference.argmax(1) == logits.argmax(1))[clear].all()
        assert np.abs(reference - logits).max() <= tolerance * np.ptp(reference) * 1.0001
    assert found.disagreements + found.ties == (reference.argmax(1) != logits.argmax(1)).sum()
