"""Question and annotation files as VQA-v2 and GQA publish them, read into one shape.

VQA-v2 (and data in its format): `{"questions": [{question_id, image_id, question}]}` and, in a second file,
`{"annotations": [{question_id, answers: [{answer}]}]}`, with image_id, question_type, answer_type and
multiple_choice_answer where they are known.
GQA: `{question id: {question, imageId, answer?, types?: {structural, semantic}}}`, in one file or in several.
CLEVR: `{"questions": [{question, image_filename, answer?, question_index?, question_family_index?, program?}]}`.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgevqa.data.bad import STRICT, BadEntries
from edgevqa.data.json_stream import stream_object
from edgevqa.errors import InputError

QuestionId = int | str
VQA, GQA, CLEVR = "vqa", "gqa", "clevr"
"""The formats of question files."""
GROUPS: Mapping[str, tuple[str, str]] = {
    VQA: ("question type", "answer type"),
    GQA: ("structural", "semantic"),
    CLEVR: ("asks to", "question family"),
}
"""By format: what the two groups of a question are."""
UNGROUPED = "none given"
MOST_ANSWERS = 1000
LOOKED_AT = 1 << 16
"""Characters of a file that are looked at for its format."""
_OBJECT_OF_OBJECTS = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{')


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


def read_questions(path: Path, annotations: Path | None = None, bad: BadEntries = STRICT) -> QuestionFile:
    """Read a question file of any format, with its annotation file for VQA-v2's.

    Args:
        path: the file.
        annotations: VQA-v2's annotation file.
        bad: what is done about entries that are wrong.

    Raises:
        InputError: a file is missing, no JSON or of another shape; an id occurs twice; an annotation is of no
            question, a question has no annotation, or the two name different pictures; some questions alone have
            answers.
    """
    if _is_gqa(path):
        if annotations is not None:
            raise InputError(f"{path} is in GQA's format, which has its answers inside; remove {annotations}")
        return read_parts([path], bad)
    content = _read(path)
    if not isinstance(content, dict) or not isinstance(content.get("questions"), list):
        raise InputError(
            f'{path} is no question file: it should hold {{"questions": [...]}} as in VQA-v2 and CLEVR, or '
            '{id: {"question": ..., "imageId": ...}} as in GQA'
        )
    if _is_clevr(content["questions"]):
        if annotations is not None:
            raise InputError(f"{path} is in CLEVR's format, which has its answers inside; remove {annotations}")
        return QuestionFile(CLEVR, _all_answered(parse_clevr(content, str(path), bad), str(path), bad))
    questions = list(parse_vqa_questions(content, str(path), bad))
    if annotations is not None:
        found = parse_vqa_annotations(_read(annotations), str(annotations), bad)
        questions = _joined(questions, found, str(annotations), bad)
    return QuestionFile(VQA, tuple(questions))


def read_parts(paths: Sequence[Path], bad: BadEntries = STRICT) -> QuestionFile:
    """Read the questions in GQA's format that lie in one file or in several, entry by entry.

    Raises InputError as `read_questions` does, also for an id that two files have.
    """
    seen: set[QuestionId] = set()
    found: list[Question] = []
    for path in paths:
        found += parse_gqa(stream_object(path, _unique(path)), str(path), bad, seen)
    return QuestionFile(GQA, _all_answered(found, str(paths[0]), bad))


def _all_answered(questions: Iterable[Question], source: str, bad: BadEntries) -> tuple[Question, ...]:
    """The questions, all of which have answers or none; those without are bad where others have some."""
    found = tuple(questions)
    if not any(question.answers for question in found) or all(question.answers for question in found):
        return found
    for question in found:
        if not question.answers:
            bad.found(InputError(f"{source}: the question {question.id!r} has no answer, which others have"))
    return tuple(question for question in found if question.answers)


def _unique(path: Path) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """Makes the objects in a file; raises InputError when one holds a key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            twice, _times = Counter(key for key, _value in pairs).most_common(1)[0]
            raise InputError(f"{path} holds the key {twice[:80]!r} twice in one object")
        return made

    return unique


def _read(path: Path) -> Any:
    """The JSON in a file; raises InputError when it is missing or broken, or an object holds a key twice."""
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_unique(path))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from None


def _is_gqa(path: Path) -> bool:
    """Whether a file seems to be in GQA's format: an object whose first entry is a question."""
    try:
        with path.open(encoding="utf-8") as stream:
            if not _OBJECT_OF_OBJECTS.match(stream.read(LOOKED_AT)):
                return False
        _key, value = next(stream_object(path))
    except (InputError, OSError, ValueError):
        return False  # what is wrong is told by whoever reads it whole
    return isinstance(value, dict) and "question" in value


def _is_clevr(entries: Sequence[Any]) -> bool:
    first = entries[0] if entries else None
    return isinstance(first, dict) and "image_filename" in first and "question_id" not in first


def parse_vqa_questions(content: Any, source: str, bad: BadEntries = STRICT) -> Iterator[Question]:
    """The questions in VQA-v2's format; raises InputError that names `source` and what is wrong."""
    seen: set[QuestionId] = set()
    for number, entry in enumerate(_listed(content, "questions", source)):
        where = f"{source}: questions[{number}]"
        try:
            identity = _once(_identity(_object(entry, where), "question_id", where), "question_id", seen, source)
            image = str(_identity(entry, "image_id", where))
            question = Question(identity, sys.intern(image), _text(entry, "question", where))
        except InputError as error:
            bad.found(error)
            continue
        yield question


def parse_vqa_annotations(content: Any, source: str, bad: BadEntries = STRICT) -> dict[QuestionId, Question]:
    """The annotations in VQA-v2's format by question id, as questions without text.

    Only question_id and answers are needed. Raises InputError that names `source` and what is wrong.
    """
    found: dict[QuestionId, Question] = {}
    seen: set[QuestionId] = set()
    for number, entry in enumerate(_listed(content, "annotations", source)):
        where = f"{source}: annotations[{number}]"
        try:
            identity = _once(_identity(_object(entry, where), "question_id", where), "question_id", seen, source)
            found[identity] = _annotation(identity, entry, where)
        except InputError as error:
            bad.found(error)
    return found


def _annotation(identity: QuestionId, entry: Mapping[str, Any], where: str) -> Question:
    given = entry.get("answers")
    if not isinstance(given, list) or not 0 < len(given) <= MOST_ANSWERS:
        raise InputError(f"{where}: answers should be a list of 1 to {MOST_ANSWERS} answers")
    answers = tuple(_text(answer, "answer", f"{where}.answers") for answer in given)
    return Question(
        id=identity,
        image="" if entry.get("image_id") is None else str(_identity(entry, "image_id", where)),
        text="",
        answers=answers,
        main=_optional_text(entry, "multiple_choice_answer", where) or Counter(answers).most_common(1)[0][0],
        groups=(
            _optional_text(entry, "question_type", where) or UNGROUPED,
            _optional_text(entry, "answer_type", where) or UNGROUPED,
        ),
    )


def _joined(
    questions: Sequence[Question], annotations: dict[QuestionId, Question], source: str, bad: BadEntries
) -> list[Question]:
    """The questions with their annotations, see `read_questions`."""
    joined = []
    for question in questions:
        found = annotations.pop(question.id, None)
        if found is None:
            bad.found(InputError(f"{source} has no annotation of the question {question.id!r}"))
        elif found.image and found.image != question.image:
            bad.found(
                InputError(
                    f"{source} names the picture {found.image} for the question {question.id!r}, which is about "
                    f"{question.image}"
                )
            )
        else:
            joined.append(replace(found, image=question.image, text=question.text))
    for identity in annotations:
        bad.found(InputError(f"{source} annotates the question {identity!r}, which is not asked"))
    return joined


def parse_gqa(
    entries: Iterable[tuple[str, Any]],
    source: str,
    bad: BadEntries = STRICT,
    seen: set[QuestionId] | None = None,
) -> Iterator[Question]:
    """The questions in GQA's format; raises InputError that names `source` and what is wrong.

    Args:
        entries: the ids and what stands under them.
        source: what messages call the file.
        bad: what is done about entries that are wrong.
        seen: the ids of other files.
    """
    seen = set() if seen is None else seen
    for identity, entry in entries:
        where = f"{source}: {str(identity)[:80]!r}"
        try:
            _once(identity, "question id", seen, source)
            types = _object(entry, where).get("types") or {}
            if not isinstance(types, dict):
                raise InputError(f"{where}: types should be an object")
            answer = _optional_text(entry, "answer", where)
            question = Question(
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
        except InputError as error:
            bad.found(error)
            continue
        yield question


def parse_clevr(content: Any, source: str, bad: BadEntries = STRICT) -> Iterator[Question]:
    """The questions in CLEVR's format; raises InputError that names `source` and what is wrong.

    A question is known by its question_index, or by its place; its picture by the name of its file without the ending.
    Its groups are what the last step of its program does, and its family.
    """
    seen: set[QuestionId] = set()
    for number, entry in enumerate(_listed(content, "questions", source)):
        where = f"{source}: questions[{number}]"
        try:
            known = _object(entry, where).get("question_index") is not None
            identity = _once(
                _identity(entry, "question_index", where) if known else number, "question_index", seen, source
            )
            answer = _optional_text(entry, "answer", where)
            family = entry.get("question_family_index")
            question = Question(
                id=identity,
                image=sys.intern(_text(entry, "image_filename", where).rpartition(".")[0]),
                text=_text(entry, "question", where),
                answers=(answer,) if answer else (),
                main=answer,
                groups=(_last_step(entry.get("program")), UNGROUPED if family is None else f"family {family}"),
            )
            if not question.image:
                raise InputError(f"{where}: image_filename should be the name of a picture, such as CLEVR_1.png")
        except InputError as error:
            bad.found(error)
            continue
        yield question


def _last_step(program: Any) -> str:
    """What the last step of a program of CLEVR does: `count`, `exist`, `query_color`."""
    last = program[-1] if isinstance(program, list) and program else {}
    name = last.get("function") or last.get("type") if isinstance(last, dict) else None
    return name if isinstance(name, str) else UNGROUPED


def _listed(content: Any, key: str, source: str) -> list[Any]:
    """A list in an object."""
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise InputError(f"{source} should hold an object with a list {key!r}")
    found: list[Any] = content[key]
    return found


def _object(entry: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise InputError(f"{where} should be an object, not {type(entry).__name__}")
    return entry


def _once(identity: QuestionId, key: str, seen: set[QuestionId], source: str) -> QuestionId:
    """An id that was not there yet."""
    if identity in seen:
        shown = identity[:80] if isinstance(identity, str) else identity
        raise InputError(f"{source} holds the {key} {shown!r} twice")
    seen.add(identity)
    return identity


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
