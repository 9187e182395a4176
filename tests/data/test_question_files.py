"""Question and annotation files: every broken one is a clear line, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgevqa.data.questions import (
    GQA,
    VQA,
    Question,
    parse_clevr,
    parse_gqa,
    parse_vqa_annotations,
    parse_vqa_questions,
    read_questions,
)
from edgevqa.errors import InputError

QUESTION = {"question_id": 7, "image_id": 3, "question": "is it red?"}
ANNOTATION = {"question_id": 7, "answers": [{"answer": "yes"}, {"answer": "no"}, {"answer": "yes"}]}


def parse_entries(content: Any, source: str) -> list[Question]:
    """GQA's format, whose file is read entry by entry."""
    return list(parse_gqa(content.items() if isinstance(content, dict) else [], source))


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_vqa_files_are_joined_and_may_lack_what_is_not_needed(tmp_path: Path) -> None:
    questions = write(tmp_path / "q.json", {"questions": [QUESTION]})
    found = read_questions(questions, write(tmp_path / "a.json", {"annotations": [ANNOTATION]}))
    assert found.format == VQA and found.answered
    (question,) = found.questions
    assert (question.id, question.image, question.text) == (7, "3", "is it red?")
    assert question.answers == ("yes", "no", "yes") and question.main == "yes"
    assert question.groups == ("none given", "none given")
    assert not read_questions(questions).answered


def test_gqa_has_questions_and_answers_in_one_file(tmp_path: Path) -> None:
    entry = {"question": "who?", "imageId": "n5", "answer": "man", "types": {"structural": "query", "semantic": "rel"}}
    found = read_questions(write(tmp_path / "g.json", {"0102": entry, "0103": {**entry, "types": None}}))
    assert found.format == GQA and found.answered
    assert [question.id for question in found.questions] == ["0102", "0103"]
    assert found.questions[0].groups == ("query", "rel") and found.questions[0].answers == ("man",)
    unanswered = {key: {"question": "who?", "imageId": 4} for key in ("1", "2")}
    assert not read_questions(write(tmp_path / "t.json", unanswered)).answered


@pytest.mark.parametrize(
    ("questions", "annotations", "said"),
    [
        ("{", None, "q.json is not readable JSON"),
        ("[" * 100_000, None, "q.json is not readable JSON"),
        ("[]", None, "q.json is no question file"),
        ('{"questions": 5}', None, "q.json is no question file"),
        ({"questions": [5]}, None, "questions[0] should be an object, not int"),
        ({"questions": [{**QUESTION, "question_id": None}]}, None, "question_id should be a number or a text"),
        ({"questions": [{**QUESTION, "question_id": True}]}, None, "question_id should be a number or a text"),
        ({"questions": [{**QUESTION, "question": ["x"]}]}, None, "questions[0]: question should be a text"),
        ({"questions": [{**QUESTION, "question": "\ud800"}]}, None, "half of a character"),
        ({"questions": [QUESTION, QUESTION]}, None, "holds the question_id 7 twice"),
        ({"questions": [QUESTION]}, {"annotations": []}, "has no annotation of the question 7"),
        ({"questions": []}, {"annotations": [ANNOTATION]}, "annotates the question 7, which is not asked"),
        ({"questions": [QUESTION]}, {"annotations": [ANNOTATION, ANNOTATION]}, "holds the question_id 7 twice"),
        ({"questions": [QUESTION]}, {"annotations": [{**ANNOTATION, "image_id": 4}]}, "names the picture 4"),
        ({"questions": [QUESTION]}, {"annotations": [{**ANNOTATION, "answers": []}]}, "a list of 1 to 1000 answers"),
        ({"questions": [QUESTION]}, {"annotations": [{**ANNOTATION, "answers": ["a"]}]}, "answer should be a text"),
        ({"questions": [QUESTION]}, {"annotation": []}, "should hold an object with a list 'annotations'"),
        ({"1": {"question": "x", "imageId": "2"}, "3": 4}, None, "'3' should be an object, not int"),
        ({"1": {"question": "x"}}, None, "imageId should be a number or a text"),
        (
            '{"1": {"question": "x", "imageId": 1}, "1": {"question": "y", "imageId": 1}}',
            None,
            "question id '1' twice",
        ),
        ({"1": {"question": "x", "imageId": "2"}}, {"annotations": []}, "which has its answers inside"),
    ],
)
def test_broken_files(tmp_path: Path, questions: Any, annotations: Any, said: str) -> None:
    first = write(tmp_path / "q.json", questions)
    second = None if annotations is None else write(tmp_path / "a.json", annotations)
    with pytest.raises(InputError) as raised:
        read_questions(first, second)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json does not exist"):
        read_questions(tmp_path / "nowhere.json")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)
keys = ("question_id", "image_id", "question", "answers", "answer_type", "imageId", "answer", "types", "structural")
entries = st.dictionaries(st.sampled_from(keys), anything | st.lists(st.fixed_dictionaries({"answer": anything})))
contents = st.one_of(
    anything,
    st.fixed_dictionaries({"questions": st.lists(entries | anything, max_size=4)}),
    st.fixed_dictionaries({"annotations": st.lists(entries | anything, max_size=4)}),
    st.dictionaries(st.text(max_size=3), entries | anything, max_size=4),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(contents)
def test_whatever_a_file_holds_is_read_or_refused(content: Any) -> None:
    for parse in (parse_vqa_questions, parse_vqa_annotations, parse_clevr, parse_entries):
        try:
            found = list(parse(content, "it"))
        except InputError as error:
            assert str(error).startswith("it") and "\n" not in str(error).replace("\\n", "")
        else:
            assert len(found) <= len(content) if isinstance(content, dict) else not found
