"""Word and answer lists of published checkpoints; the order of a checkpoint is only known from its own list.

What is read is what `edgevqa.data.lists` says and, for word pieces, BERT's vocab.txt: one a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgevqa.data.lists import listed, read_answer_list, read_word_list
from edgevqa.data.text import RESERVED
from edgevqa.data.word_pieces import RULE, SPECIAL, WordPieces, Words, words_of
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
    if question.get("rule") != RULE:
        vocabulary = read_word_list(path)
        _check_size(path, "words", len(vocabulary), size)
        return vocabulary
    words = _lines(path)
    _check_size(path, "words", len(words), size)
    try:
        return words_of(words, question)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_word_pieces(path: Path) -> WordPieces:
    """The word pieces of a vocab.txt, cased or uncased as they are; raises InputError when it is no list of them."""
    try:
        return WordPieces.of_lines(_lines(path))
    except InputError as error:
        raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None


def _lines(path: Path) -> tuple[str, ...]:
    """The lines of a vocab.txt, or the texts of a JSON list."""
    if path.suffix == ".json":
        return listed(read_json(path), path)
    try:
        return tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} is not a readable list of word pieces, one a line: {error}") from None


def read_answers(path: Path, size: int) -> tuple[str, ...]:
    """The answers of a file; raises InputError when it is no answer list or has another number than the model."""
    answers = read_answer_list(path)
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


def _check_size(path: Path, what: str, found: int, expected: int) -> None:
    if found != expected:
        raise InputError(f"{path} has {found} {what}; the checkpoint has {expected}")
