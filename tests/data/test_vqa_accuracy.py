"""The published VQA accuracy: values worked out by hand from its definition, and its oddities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.data.score import VQA_ACCURACY, AnswerKey, by_group
from edgevqa.data.vqa_accuracy import CONTRACTIONS, normalised, official_accuracy, vqa_accuracy, worth_of_count
from edgevqa.errors import InputError


def ten(*pairs: tuple[str, int]) -> list[str]:
    answers = [text for text, count in pairs for _ in range(count)]
    assert len(answers) == 10
    return answers


@pytest.mark.parametrize(("count", "worth"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)])
def test_an_answer_is_worth_by_how_many_gave_it(count: int, worth: float) -> None:
    answers = ten(("red", count), ("blue", 10 - count))
    assert vqa_accuracy("red", answers) == pytest.approx(worth)
    assert worth_of_count(count) == pytest.approx(worth)
    left_out = [min(1.0, sum(other == "red" for other in answers[:i] + answers[i + 1 :]) / 3) for i in range(10)]
    assert vqa_accuracy("red", answers) == pytest.approx(sum(left_out) / 10)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("2,000", "2000"),
        ("t-shirt", "t shirt"),
        ("t- shirt", "t shirt"),
        ("St. Louis", "st louis"),
        ("3.5", "3.5"),
        ("1. 5", "1 5"),
        ("a red, blue", "red blue"),
        ("red,blue", "red blue"),
        ("1,5 (x)", "15 x"),  # digit,digit anywhere deletes every mark
        ("none", "0"),
        ("Ten", "10"),
        ("eleven", "eleven"),
        ("The cat and an apple", "cat and apple"),
        ("dont", "don't"),
        ("shouldntve", "shouldntve"),
        ("shouldnt've", "shouldn't've"),
        ("somebody'd", "somebodyd"),
        ("Im", "im"),  # the published table has it in capitals, which nothing equals any more
        ("o'clock: 5", "o'clock: 5"),  # apostrophe and colon are not in the list of marks
        ("\ttwo\n", "2"),
        ("." * 40, "." * 8),  # a flag in the place of a count: 32 full stops go
        ("!", ""),
    ],
)
def test_normalisation(raw: str, clean: str) -> None:
    assert normalised(raw) == clean


def test_unanimous_people_are_compared_literally() -> None:
    """Here the official program differs from the older copy in openvqa, which always normalises the prediction."""
    assert vqa_accuracy("2", ten(("two", 10))) == 0.0
    assert vqa_accuracy("two", ten(("two", 10))) == 1.0
    assert vqa_accuracy("2", ten(("two", 9), ("2", 1))) == 1.0
    assert vqa_accuracy("The Dog!", ten(("dog", 9), ("cat", 1))) == 1.0
    assert vqa_accuracy("The Dog!", ten(("dog", 10))) == 0.0
    assert vqa_accuracy(" dog\n", ten(("dog", 10))) == 1.0


def test_a_single_answer_counts_as_ten() -> None:
    assert vqa_accuracy("circle", ["circle"]) == 1.0 and vqa_accuracy("square", ["circle"]) == 0.0
    with pytest.raises(InputError, match="without answers"):
        vqa_accuracy("x", [])


def test_every_contraction_lacks_one_apostrophe() -> None:
    assert len(CONTRACTIONS) == 114
    assert all(abs(short.count("'") - whole.count("'")) == 1 for short, whole in CONTRACTIONS.items())


def test_by_question_type_and_answer_type_rounded_as_published() -> None:
    answers = {
        1: ten(("yes", 10)),
        2: ten(("yes", 2), ("no", 8)),
        3: ten(("two", 3), ("3", 7)),
        "four": ten(("red", 1), ("a red", 1), ("blue", 8)),
    }
    predicted = {1: "yes", 2: "yes", 3: "2", "four": "red", 99: "not asked"}
    question_types = {1: "is the", 2: "is the", 3: "how many", "four": "what"}
    answer_types = {1: "yes/no", 2: "yes/no", 3: "number", "four": "other"}
    found = official_accuracy(predicted, answers, question_types, answer_types)
    assert found.overall == 77.5  # (1 + 0.6 + 0.9 + 0.6) / 4
    assert found.by_question_type == {"how many": 90.0, "is the": 80.0, "what": 60.0}
    assert found.by_answer_type == {"number": 90.0, "other": 60.0, "yes/no": 80.0}
    with pytest.raises(InputError, match="question four is not answered"):
        official_accuracy({1: "yes", 2: "no", 3: "2"}, answers, question_types, answer_types)


@given(
    st.lists(st.dictionaries(st.integers(0, 6), st.floats(0.1, 1.0), max_size=4), min_size=1, max_size=30), st.data()
)
def test_a_key_marks_as_its_rows_say(rows: list[dict[int, float]], data: st.DataObject) -> None:
    key = AnswerKey.from_rows(VQA_ACCURACY, rows)
    predicted = data.draw(st.lists(st.integers(0, 6), min_size=len(rows), max_size=len(rows)))
    expected = [row.get(place, 0.0) for row, place in zip(rows, predicted, strict=True)]
    assert key.marks(predicted).tolist() == pytest.approx(expected)
    assert key.score(predicted).percent == pytest.approx(100 * np.mean(expected))
    chosen = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20)), np.int64)
    taken = key.take(chosen)
    assert taken.marks(np.array(predicted)[chosen]).tolist() == pytest.approx([expected[row] for row in chosen])
    again = AnswerKey.from_dense(VQA_ACCURACY, key.dense(7).astype(np.float64))
    assert again.marks(predicted).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_error_of_right_and_wrong_is_that_of_a_proportion() -> None:
    labels = np.array([0, 1, 2, 0, -1])
    score = AnswerKey.one_right(labels).score([0, 1, 0, 0, 3])
    assert (score.percent, score.kind) == (60.0, "accuracy")
    assert score.standard_error == pytest.approx(100 * (0.6 * 0.4 / 5) ** 0.5)
    with pytest.raises(InputError, match="cannot be scored"):
        AnswerKey.one_right(labels).marks([0])


def test_groups_have_their_own_means() -> None:
    marks = np.array([1.0, 0.0, 0.5, 1.0])
    assert by_group(marks, ["b", "a", "b", "b"]) == {"a": 0.0, "b": pytest.approx(100 * 2.5 / 3)}
