"""Word and answer lists as the projects keep them; the order of a checkpoint is only known from its own list.

What is read, as JSON:

    {"PAD": 0, "UNK": 1, ...}                                       openvqa's words, or a table of answers
    [{answer: number}, {number: answer}]                            openvqa's answer_dict.json
    [{answer: number}, {number: answer}, {word: number}, length]    openvqa's dicts.json of GQA
    ["PAD", "UNK", ...]                                             a plain list, as edgevqa keeps them
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgevqa.data.text import RESERVED, Vocabulary
from edgevqa.errors import InputError
from edgevqa.storage import read_json


def read_vocabulary(path: Path, size: int) -> Vocabulary:
    """The words of a file; raises InputError when it is no word list or has another number than the model."""
    content = read_json(path)
    if _is_gqa(content):
        content = content[2]
    words = _listed(content, path)
    _check_size(path, "words", len(words), size)
    try:
        return Vocabulary(words)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


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


def placeholder_vocabulary(size: int) -> Vocabulary:
    """Words that stand for unknown ones."""
    words = (*RESERVED, *(f"word {number}" for number in range(len(RESERVED), size)))
    return Vocabulary(words[:size])


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
