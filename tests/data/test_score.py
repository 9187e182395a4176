from __future__ import annotations

import numpy as np
import pytest

from edgevqa.data.dataset import Split
from edgevqa.data.floors import floors_between
from edgevqa.data.score import accuracy
from edgevqa.errors import InputError


def test_accuracy_with_its_error() -> None:
    score = accuracy(np.array([1, 2, 3, 3]), np.array([1, 2, 3, 0]))
    assert score.percent == 75 and score.count == 4
    assert score.standard_error == pytest.approx(100 * np.sqrt(0.75 * 0.25 / 4))
    assert accuracy([5], [5]).standard_error == 0


@pytest.mark.parametrize(("predicted", "answers"), [([1, 2], [1]), ([], []), ([[1]], [[1]])])
def test_what_cannot_be_scored(predicted: list[int], answers: list[int]) -> None:
    with pytest.raises(InputError):
        accuracy(predicted, answers)


def split(rows: list[tuple[str, str, int]]) -> Split:
    texts, types, answers = zip(*rows, strict=True)
    n = len(rows)
    zeros = np.zeros(n, np.int64)
    return Split("x/test", texts, np.zeros((n, 3), np.int32), np.array(answers), types, zeros, {})


def test_floors_by_hand() -> None:
    train = split([("a", "one", 0), ("a", "one", 0), ("a", "one", 1), ("b", "two", 1), ("b", "two", 2),
                   ("c", "two", 2), ("d", "one", 0)])  # fmt: skip
    test = split([("a", "one", 0), ("a", "one", 1), ("b", "two", 1), ("new", "two", 2), ("d", "one", 0)])
    found = floors_between(train, test)
    assert found.majority == 40  # answer 0, three times in train
    assert found.question_only == 80
    assert found.by_type == pytest.approx({"one": 200 / 3, "two": 100})
