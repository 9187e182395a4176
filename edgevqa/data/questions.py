"""Question and annotation files as VQA-v2 and GQA publish them, read into one shape.

VQA-v2 (and data in its format): `{"questions": [{question_id, image_id, question}]}` and, in a second file,
`{"annotations": [{question_id, answers: [{answer}]}]}`, with image_id, question_type, answer_type and
multiple_choice_answer where they are known.
GQA: `{question id: {question, imageId, answer?, types?: {structural, semantic}}}`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgevqa.errors import InputError

QuestionId = int | str
VQA, GQA = "vqa", "gqa"
"""The formats of question files."""
GROUPS: Mapping[str, tuple[str, str]] = {VQA: ("question type", "answer type"), GQA: ("structural", "semantic")}
"""By format: what the two groups of a question are."""
UNGROUPED = "none given"
MOST_ANSWERS = 1000


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a picture.

    Attributes:
        id: as the file has it.
        image: the picture's id, as text.
        text: the question.
        answers: what people answered: ten texts in VQA-v2, one in GQA, none in a test file.
        main: the answer that the file gives for the one right answer; empty where there is none.
        groups: see `GROUPS`.
    """

    id: QuestionId
    image: str
    text: str
    answers: tuple[str, ...] = ()
    main: str = ""
    groups: tuple[str, str] = (UNGROUPED, UNGROUPED)


@dataclass(frozen=True)
class QuestionFile:
    """The questions of one file, with the answers of its annotation file where there is one."""

    format: str
    questions: tuple[Question, ...]

    @property
    def answered(self) -> bool:
        """Whether the questions have answers."""
        return bool(self.questions) and all(question.answers for question in self.questions)


def read_questions(path: Path, annotations: Path | None = None) -> QuestionFile:
    """Read a question file of either format, with its annotation file for VQA-v2's.

    Raises:
        InputError: a file is missing, no JSON or of another shape; an id occurs twice; an annotation is of no
            question, a question has no annotation, or the two name different pictures.
    """
    content = _read(path)
    if isinstance(content, dict) and isinstance(content.get("questions"), list):
        questions = list(parse_vqa_questions(content, str(path)))
        if annotations is not None:
            found = parse_vqa_annotations(_read(annotations), str(annotations))
            questions = _joined(questions, found, str(annotations))
        return QuestionFile(VQA, tuple(questions))
    if isinstance(content, dict) and content and "question" in _first(content):
        if annotations is not None:
            raise InputError(f"{path} is in GQA's format, which has its answers inside; remove {annotations}")
        return QuestionFile(GQA, tuple(parse_gqa(content, str(path))))
    raise InputError(
        f'{path} is no question file: it should hold {{"questions": [...]}} as in VQA-v2, or '
        '{id: {"question": ..., "imageId": ...}} as in GQA'
    )


def _read(path: Path) -> Any:
    """The JSON in a file; raises InputError when it is missing or broken, or an object holds a key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            twice, _times = Counter(key for key, _value in pairs).most_common(1)[0]
            raise InputError(f"{path} holds the key {twice[:80]!r} twice in one object")
        return made

    try:
        return json.loads(path.read_bytes(), object_pairs_hook=unique)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from None


def _first(content: Mapping[str, Any]) -> Mapping[str, Any]:
    value = next(iter(content.values()))
    return value if isinstance(value, dict) else {}


def parse_vqa_questions(content: Any, source: str) -> Iterator[Question]:
    """The questions in VQA-v2's format; raises InputError that names `source` and what is wrong."""
    seen: set[QuestionId] = set()
    for number, entry in enumerate(_entries(content, "questions", source)):
        where = f"{source}: questions[{number}]"
        identity = _identity(entry, "question_id", where)
        if identity in seen:
            raise InputError(f"{source} holds the question_id {identity!r} twice")
        seen.add(identity)
        image = str(_identity(entry, "image_id", where))
        yield Question(identity, sys.intern(image), _text(entry, "question", where))


def parse_vqa_annotations(content: Any, source: str) -> dict[QuestionId, Question]:
    """The annotations in VQA-v2's format by question id, as questions without text.

    Only question_id and answers are needed. Raises InputError that names `source` and what is wrong.
    """
    found: dict[QuestionId, Question] = {}
    for number, entry in enumerate(_entries(content, "annotations", source)):
        where = f"{source}: annotations[{number}]"
        identity = _identity(entry, "question_id", where)
        if identity in found:
            raise InputError(f"{source} holds the question_id {identity!r} twice")
        given = entry.get("answers")
        if not isinstance(given, list) or not 0 < len(given) <= MOST_ANSWERS:
            raise InputError(f"{where}: answers should be a list of 1 to {MOST_ANSWERS} answers")
        answers = tuple(_text(answer, "answer", f"{where}.answers") for answer in given)
        image = "" if entry.get("image_id") is None else str(_identity(entry, "image_id", where))
        found[identity] = Question(
            id=identity,
            image=image,
            text="",
            answers=answers,
            main=_optional_text(entry, "multiple_choice_answer", where) or Counter(answers).most_common(1)[0][0],
            groups=(
                _optional_text(entry, "question_type", where) or UNGROUPED,
                _optional_text(entry, "answer_type", where) or UNGROUPED,
            ),
        )
    return found


def _joined(questions: Sequence[Question], annotations: dict[QuestionId, Question], source: str) -> list[Question]:
    """The questions with their annotations, see `read_questions`."""
    joined = []
    for question in questions:
        if question.id not in annotations:
            raise InputError(f"{source} has no annotation of the question {question.id!r}")
        found = annotations.pop(question.id)
        if found.image and found.image != question.image:
            raise InputError(
                f"{source} names the picture {found.image} for the question {question.id!r}, which is about "
                f"{question.image}"
            )
        joined.append(replace(found, image=question.image, text=question.text))
    if annotations:
        raise InputError(f"{source} annotates the question {next(iter(annotations))!r}, which is not asked")
    return joined


def parse_gqa(content: Any, source: str) -> Iterator[Question]:
    """The questions in GQA's format; raises InputError that names `source` and what is wrong."""
    if not isinstance(content, dict):
        raise InputError(f"{source} is no question file in GQA's format")
    for identity, entry in content.items():
        where = f"{source}: {str(identity)[:80]!r}"
        if not isinstance(entry, dict):
            raise InputError(f"{where} should be an object, not {type(entry).__name__}")
        answer = _optional_text(entry, "answer", where)
        types = entry.get("types") or {}
        if not isinstance(types, dict):
            raise InputError(f"{where}: types should be an object")
        yield Question(
            id=identity,
            image=sys.intern(str(_identity(entry, "imageId", where))),
            text=_text(entry, "question", where),
            answers=(answer,) if answer else (),
            main=answer,
            groups=(
                _optional_text(types, "structural", where) or UNGROUPED,
                _optional_text(types, "semantic", where) or UNGROUPED,
            ),
        )


def _entries(content: Any, key: str, source: str) -> Iterator[dict[str, Any]]:
    """The objects of a list in an object."""
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise InputError(f"{source} should hold an object with a list {key!r}")
    for number, entry in enumerate(content[key]):
        if not isinstance(entry, dict):
            raise InputError(f"{source}: {key}[{number}] should be an object, not {type(entry).__name__}")
        yield entry


def _identity(entry: Mapping[str, Any], key: str, where: str) -> QuestionId:
    """A whole number or a text that is not empty."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise InputError(f"{where}: {key} should be a number or a text, not {str(value)[:80]!r}")
    return value if isinstance(value, int) else _encodable(value, key, where)


def _text(entry: Any, key: str, where: str) -> str:
    """A text, shared with its equals, since answers repeat."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str):
        raise InputError(f"{where}: {key} should be a text, not {str(value)[:80]!r}")
    return sys.intern(_encodable(value, key, where))


def _optional_text(entry: Mapping[str, Any], key: str, where: str) -> str:
    return "" if entry.get(key) is None else _text(entry, key, where)


def _encodable(value: str, key: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: {key} holds half of a character (a lone surrogate)") from None
    return value
