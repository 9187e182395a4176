"""Word and answer lists as the projects keep them; the order of a checkpoint is only known from its own list.

What is read, as JSON:

    {"PAD": 0, "UNK": 1, ...}                                       openvqa's words, or a table of answers
    [{answer: number}, {number: answer}]                            openvqa's answer_dict.json
    [{answer: number}, {number: answer}, {word: number}, length]    openvqa's dicts.json of GQA
    ["PAD", "UNK", ...]                                             a plain list, as edgevqa keeps them

and, for word pieces, BERT's vocab.txt: one a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgevqa.data.text import RESERVED
from edgevqa.data.word_pieces import RULE, SPECIAL, Words, words_of
from edgevqa.errors import InputError
from edgevqa.storage import read_json


def read_vocabulary(path: Path, size: int, question: Mapping[str, Any] | None = None) -> Words:
    """The words of a file; raises InputError when it is no word list or has another number than the model.

    Args:
        path: the file.
        size: words of the model.
        question: how questions are read; openvqa's rule by default.
    """
    question = question or {}
    if question.get("rule") == RULE:
        words = _lines(path)
    else:
        content = read_json(path)
        words = _listed(content[2] if _is_gqa(content) else content, path)
    _check_size(path, "words", len(words), size)
    try:
        return words_of(words, question)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _lines(path: Path) -> tuple[str, ...]:
    """The lines of a vocab.txt, or the texts of a JSON list."""
    if path.suffix == ".json":
        return _listed(read_json(path), path)
    try:
        return tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} is not a readable list of word pieces, one a line: {error}") from None


def read_answers(path: Path, size: int) -> tuple[str, ...]:
    """The answers of a file; raises InputError when it is no answer list or has another number than the model."""
    content = read_json(path)
    if _is_gqa(content) or (isinstance(content, list) and len(content) == 2 and isinstance(content[0], dict)):
        content, back = content[0], content[1]
        answers = _listed(content, path)
        if not isinstance(back, dict) or {str(number): answer for number, answer in enumerate(answers)} != back:
            raise InputError(f"{path}: its two tables contradict each other; is it an answer_dict.json?")
    else:
        answers = _listed(content, path)
    _check_size(path, "answers", len(answers), size)
    return answers


def placeholder_vocabulary(size: int, question: Mapping[str, Any] | None = None) -> Words:
    """Words that stand for unknown ones."""
    question = question or {}
    first = SPECIAL if question.get("rule") == RULE else RESERVED
    words = (*first, *(f"word {number}" for number in range(len(first), size)))
    return words_of(words[:size], question)


def placeholder_answers(size: int) -> tuple[str, ...]:
    """Answers that stand for unknown ones."""
    return tuple(f"answer {number}" for number in range(size))


def _is_gqa(content: Any) -> bool:
    return isinstance(content, list) and len(content) == 4 and isinstance(content[2], dict)


def _listed(content: Any, path: Path) -> tuple[str, ...]:
    """The texts of a list, or of a table text -> number, in the order of their numbers."""
    if isinstance(content, list) and all(isinstance(text, str) for text in content):
        text, times = next(iter(Counter(content).most_common(1)), ("", 0))
        if times > 1:
            raise InputError(f"{path} holds {text!r} {times} times")
        return tuple(content)
    if not isinstance(content, dict) or not all(type(number) is int for number in content.values()):
        raise InputError(f"{path} is neither a list of texts nor a table of texts and their numbers")
    by_number = {number: text for text, number in content.items()}
    for number in range(len(content)):
        if number not in by_number:
            raise InputError(f"{path}: the number {number} is missing among {len(content)} entries")
    return tuple(by_number[number] for number in range(len(content)))


def _check_size(path: Path, what: str, found: int, expected: int) -> None:
    if found != expected:
        raise InputError(f"{path} has {found} {what}; the checkpoint has {expected}")
