"""Word and answer lists of published checkpoints; the order of a checkpoint is only known from its own list."""

from __future__ import annotations

from pathlib import Path

from edgevqa.data.lists import read_answer_list, read_word_list
from edgevqa.data.text import RESERVED, Vocabulary
from edgevqa.errors import InputError


def read_vocabulary(path: Path, size: int) -> Vocabulary:
    """The words of a file; raises InputError when it is no word list or has another number than the model."""
    vocabulary = read_word_list(path)
    _check_size(path, "words", len(vocabulary), size)
    return vocabulary


def read_answers(path: Path, size: int) -> tuple[str, ...]:
    """The answers of a file; raises InputError when it is no answer list or has another number than the model."""
    answers = read_answer_list(path)
    _check_size(path, "answers", len(answers), size)
    return answers


def placeholder_vocabulary(size: int) -> Vocabulary:
    """Words that stand for unknown ones."""
    words = (*RESERVED, *(f"word {number}" for number in range(len(RESERVED), size)))
    return Vocabulary(words[:size])


def placeholder_answers(size: int) -> tuple[str, ...]:
    """Answers that stand for unknown ones."""
    return tuple(f"answer {number}" for number in range(size))


def _check_size(path: Path, what: str, found: int, expected: int) -> None:
    if found != expected:
        raise InputError(f"{path} has {found} {what}; the checkpoint has {expected}")
