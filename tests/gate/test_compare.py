"""Scores beside fp32 PyTorch's: strict on a full split, by paired standard errors on a sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.data.score import VQA_ACCURACY, AnswerKey
from edgevqa.errors import InputError
from edgevqa.gate.compare import ScoreCheck, compare_answers, compare_score


def answers(count: int, *, lost: int = 0, won: int = 0, both_wrong: int = 0) -> tuple[np.ndarray, ...]:
    """Labels, fp32 answers and an artifact's answers with so many differences."""
    labels = np.zeros(count, np.int64)
    fp32, artifact = labels.copy(), labels.copy()
    artifact[:lost] = 1
    fp32[lost : lost + won] = 1
    fp32[count - both_wrong :] = artifact[count - both_wrong :] = 2
    return labels, fp32, artifact


def check(count: int, limit: float, *, full: bool, **differences: int) -> ScoreCheck:
    labels, fp32, artifact = answers(count, **differences)
    return compare_answers(artifact, fp32, labels, questions="toys/test", limit=limit, full=full)


def test_the_error_of_the_drop_comes_from_the_questions_that_differ() -> None:
    found = check(1000, 0.5, full=False, lost=30, won=10, both_wrong=200)
    assert found.drop == pytest.approx(2.0) and found.percent == pytest.approx(77.0)
    assert found.fp32_percent == pytest.approx(79.0)
    differences = np.repeat([1.0, -1.0, 0.0], [30, 10, 960])
    assert found.drop_error == pytest.approx(100 * differences.std() / np.sqrt(1000))
    assert found.standard_error > 2 * found.drop_error, "pairing makes the comparison sharper than the score"


def test_on_a_full_split_the_limit_is_strict() -> None:
    assert check(1000, 0.5, full=True, lost=5).passed
    assert not check(1000, 0.5, full=True, lost=6).passed
    assert check(1000, 0.0, full=True, lost=3, won=3).passed
    assert not check(1000, 0.0, full=True, lost=1).passed


def test_answers_lost_at_near_ties_may_be_lost() -> None:
    labels, fp32, artifact = answers(1000, lost=3, won=1)
    near = np.zeros(1000, bool)
    near[[0, 1, 500]] = True

    def strict(near_ties: np.ndarray | None) -> ScoreCheck:
        return compare_answers(artifact, fp32, labels, questions="q", limit=0.0, full=True, near_ties=near_ties)

    assert not strict(None).passed and not strict(near & False).passed
    found = strict(near)
    assert found.passed and found.near_ties == 2 and found.drop == pytest.approx(0.2)
    near[0] = False
    found = strict(near)
    assert not found.passed and "0 and 1 near-ties are allowed" in found.reason


def test_on_a_sample_a_loss_counts_only_when_it_is_no_accident() -> None:
    assert check(1000, 0.5, full=False, lost=9, won=1).passed, "0.8 points with an error of 0.3"
    gross = check(1000, 0.5, full=False, lost=25, won=5)
    assert not gross.passed
    assert gross.reason == (
        "it scores 97.50 % on toys/test, 2.00 points (standard error 0.54) below fp32 PyTorch; 0.5 are allowed"
    )
    assert not check(100, 0.0, full=False, lost=30).passed


def test_against_a_score_alone() -> None:
    labels, _, artifact = answers(1000, lost=6)
    strict = compare_score(artifact, labels, 100.0, questions="q", limit=0.5, full=True)
    assert strict.drop == pytest.approx(0.6) and not strict.passed and strict.drop_error is None
    rounded = compare_score(artifact, labels, 99.4004, questions="q", limit=0.0, full=True)
    assert rounded.passed, "a score that was rounded does not fail a file by a ten-thousandth of a point"
    assert not compare_score(artifact, labels, 99.5, questions="q", limit=0.0, full=True).passed
    sample = compare_score(artifact, labels, 99.8, questions="q", limit=0.0, full=False)
    assert sample.passed and sample.drop_error == sample.standard_error
    unknown = compare_score(artifact, labels, None, questions="q", limit=0.0, full=True)
    assert unknown.passed and unknown.drop is None


def test_what_does_not_fit_is_refused() -> None:
    labels, fp32, artifact = answers(10)
    for broken in ((artifact[:5], fp32, labels), (artifact, fp32[:5], labels), (labels[:0], labels[:0], labels[:0])):
        with pytest.raises(InputError):
            compare_answers(*broken, questions="q", limit=0.0, full=True)


triples = st.integers(1, 60).flatmap(
    lambda count: st.tuples(*(st.lists(st.integers(0, 2), min_size=count, max_size=count) for _ in range(3)))
)


@given(triples, st.floats(0, 5), st.integers(0, 2))
def test_a_sample_never_fails_what_the_full_rule_passes(triple: tuple[list[int], ...], limit: float, tied: int) -> None:
    artifact, fp32, labels = (np.array(values) for values in triple)
    full, sample = (
        compare_answers(artifact, fp32, labels, questions="q", limit=limit, full=whole, near_ties=labels == tied)
        for whole in (True, False)
    )
    assert sample.passed or not full.passed
    assert full.drop == pytest.approx(full.fp32_percent - full.percent)
    assert full.drop_error >= 0


def test_answers_that_are_worth_a_part_are_compared_by_their_worth() -> None:
    key = AnswerKey.from_rows(VQA_ACCURACY, [{0: 1.0, 1: 0.3}, {1: 0.6}, {}, {2: 0.9}])
    ours, fp32 = np.array([1, 1, 0, 2]), np.array([0, 1, 2, 2])
    found = compare_answers(ours, fp32, key, questions="four", limit=0.5, full=True)
    assert found.kind == VQA_ACCURACY and "VQA accuracy" in found.reason
    assert found.percent == pytest.approx(100 * (0.3 + 0.6 + 0.9) / 4)
    assert found.fp32_percent == pytest.approx(100 * (1.0 + 0.6 + 0.9) / 4)
    assert found.drop == pytest.approx(100 * 0.7 / 4)
    assert found.drop_error == pytest.approx(100 * ((0.49 - 0.49 / 4) / 16) ** 0.5)
    alone = compare_score(ours, key, 50.0, questions="four", limit=0.5, full=False)
    assert alone.kind == VQA_ACCURACY and alone.drop == pytest.approx(50 - found.percent)


def test_near_ties_count_for_what_their_answers_are_worth() -> None:
    key = AnswerKey.from_rows(VQA_ACCURACY, [{0: 1.0, 1: 0.3}, {0: 0.6}, {0: 0.9}])
    fp32, artifact = np.array([0, 0, 0]), np.array([1, 1, 0])
    for ties, allowed in (([True, True, False], 1.3), ([True, False, False], 0.7), ([False, False, True], 0.0)):
        found = compare_answers(artifact, fp32, key, questions="q", limit=0.0, full=True, near_ties=np.array(ties))
        assert found.near_ties == pytest.approx(allowed) and found.drop == pytest.approx(130 / 3)
        assert found.passed == (allowed == 1.3) and found.kind == VQA_ACCURACY
