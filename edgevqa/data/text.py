"""Questions as numbers: the openvqa tokenisation rule and a word list with three reserved entries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgevqa.errors import InputError
from edgevqa.models.config import MASKED
from edgevqa.storage import read_json, write_json

PAD, UNKNOWN, CLS = 0, 1, 2
RESERVED = ("PAD", "UNK", "CLS")

_DELETED = str.maketrans("", "", ".,'!?\"()*#:;")
_SPACED = str.maketrans("-/", "  ")


def tokenise(question: str) -> list[str]:
    """Split a question into words by openvqa's rule: lower case, no punctuation, `-` and `/` as spaces."""
    return question.lower().translate(_DELETED).translate(_SPACED).split()


@dataclass(frozen=True, eq=False)
class EncodedQuestion:
    """A question as the model reads it.

    Attributes:
        tokens: int32 (length,), PAD behind the last word.
        unknown: the words that the vocabulary lacks, in the order of the question.
        cut: whether words beyond `length` were dropped.
    """

    tokens: np.ndarray
    unknown: tuple[str, ...]
    cut: bool


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows; a word's number is its place in `words`.

    Raises InputError when the list does not begin with PAD, UNK (the original MCAN has no CLS) or holds a word twice.
    """

    words: tuple[str, ...]
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.words[:CLS] != RESERVED[:CLS]:
            begins = ", ".join(map(repr, self.words[:CLS])) or "nothing"
            raise InputError(f"a vocabulary begins with {', '.join(RESERVED[:CLS])}, this one with {begins}")
        numbers = {word: number for number, word in enumerate(self.words)}
        if len(numbers) != len(self.words):
            twice = next(word for number, word in enumerate(self.words) if numbers[word] != number)
            raise InputError(f"the vocabulary holds {twice!r} twice")
        object.__setattr__(self, "_numbers", numbers)

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def build(cls, questions: Iterable[str]) -> Vocabulary:
        """The vocabulary of some questions: the reserved entries, then every word, sorted."""
        words = {word for question in questions for word in tokenise(question)}
        return cls(RESERVED + tuple(sorted(words)))

    def split(self, question: str) -> list[str]:
        """The words of a question."""
        return tokenise(question)

    def encode(self, question: str, length: int) -> EncodedQuestion:
        """Turn a question into `length` token numbers; unknown words become UNKNOWN and are reported."""
        words = tokenise(question)
        tokens = np.full(length, PAD, np.int32)
        kept = words[:length]
        tokens[: len(kept)] = [self._numbers.get(word, UNKNOWN) for word in kept]
        unknown = tuple(word for word in words if word not in self._numbers)
        return EncodedQuestion(tokens, unknown, len(words) > length)

    def to_json(self) -> list[str]:
        """The words as a JSON list."""
        return list(self.words)

    @classmethod
    def from_json(cls, value: Any, source: str = "the vocabulary") -> Vocabulary:
        """The vocabulary in a JSON list of words; raises InputError that names `source` otherwise."""
        if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
            raise InputError(f"{source} is not a JSON list of words")
        try:
            return cls(tuple(value))
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    def save(self, path: Path) -> None:
        """Write the words as a JSON list."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a JSON list of words; raises InputError when it is missing or broken."""
        return cls.from_json(read_json(path), str(path))


def question_mask(tokens: np.ndarray) -> np.ndarray:
    """The additive mask of tokens (B, T): float32 (B, 1, 1, T), 0 at words and MASKED at PAD."""
    return np.where(tokens == PAD, np.float32(MASKED), np.float32(0.0))[:, None, None, :].astype(np.float32)


def region_mask(counts: np.ndarray, regions: int) -> np.ndarray:
    """The additive mask of region counts (B,): float32 (B, 1, 1, regions), 0 at real rows, else MASKED."""
    hidden = np.arange(regions)[None, :] >= np.asarray(counts)[:, None]
    return np.where(hidden, np.float32(MASKED), np.float32(0.0))[:, None, None, :].astype(np.float32)
