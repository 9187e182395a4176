"""Questions as BERT's word pieces (Devlin et al. 2019), after its published rule, from a `vocab.txt`."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgevqa.data.text import PAD, EncodedQuestion, Vocabulary
from edgevqa.errors import InputError

RULE = "word-pieces"
"""The entry `rule` of a question's preprocessing; openvqa's words are the other one."""
PADDING, UNKNOWN, BEGIN, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = (PADDING, UNKNOWN, BEGIN, END)
LONGEST_WORD = 100
"""Characters; longer words are unknown."""
IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)
"""Each of these is a word of its own."""


def _is_punctuation(character: str) -> bool:
    ascii_symbol = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return ascii_symbol or unicodedata.category(character).startswith("P")


def _clean(text: str) -> str:
    """The text with plain spaces, and without control characters."""
    kept = []
    for character in text:
        if character in "\t\n\r" or unicodedata.category(character) == "Zs":
            kept.append(" ")
        elif character not in "\0\ufffd" and not unicodedata.category(character).startswith("C"):
            alone = any(first <= ord(character) <= last for first, last in IDEOGRAPHS)
            kept.append(f" {character} " if alone else character)
    return "".join(kept)


def split_words(text: str, *, lower_case: bool) -> list[str]:
    """Split a text at spaces and around every punctuation mark; lower case also drops accents."""
    text = _clean(text)
    if lower_case:
        decomposed = unicodedata.normalize("NFD", text.lower())
        text = "".join(character for character in decomposed if unicodedata.category(character) != "Mn")
    return "".join(f" {character} " if _is_punctuation(character) else character for character in text).split()


@dataclass(frozen=True)
class WordPieces:
    """The word pieces that a model knows; a piece's number is its place in `words`, and `##` marks inner ones.

    Raises InputError when the list does not begin with [PAD], lacks another special piece, or holds one twice.

    Args:
        words: the lines of a vocab.txt.
        lower_case: whether the model is an uncased one.
    """

    words: tuple[str, ...]
    lower_case: bool
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.words[:1] != (PADDING,):
            raise InputError(f"a list of word pieces begins with {PADDING}, this one with {self.words[:1]}")
        numbers = {word: number for number, word in enumerate(self.words)}
        for word in SPECIAL:
            if word not in numbers:
                raise InputError(f"the list of word pieces lacks {word}")
        if len(numbers) != len(self.words):
            twice = next(word for number, word in enumerate(self.words) if numbers[word] != number)
            raise InputError(f"the list of word pieces holds {twice!r} twice")
        object.__setattr__(self, "_numbers", numbers)

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def build(cls, questions: Iterable[str]) -> WordPieces:
        """The pieces of some questions, lower case: the special ones, every character, then every word, sorted.

        With the characters a word that no question has is spelt out, and is unknown only for a character of its own.
        """
        words = {word for question in questions for word in split_words(question, lower_case=True)}
        characters = sorted({character for word in words for character in word})
        spelt = [*characters, *(f"##{character}" for character in characters)]
        return cls((*SPECIAL, *spelt, *sorted(word for word in words if len(word) > 1)), lower_case=True)

    @classmethod
    def of_lines(cls, words: tuple[str, ...]) -> WordPieces:
        """The lines of a vocab.txt; an uncased one has no capital letter outside the special pieces."""
        lower_case = all(word == word.lower() for word in words if not word.startswith("["))
        return cls(words, lower_case)

    def length_of(self, question: str) -> int:
        """How many numbers a question needs, [CLS] and [SEP] among them."""
        return 2 + sum(len(self.pieces(word)) for word in self.split(question))

    def split(self, question: str) -> list[str]:
        """The words of a question, before they are cut into pieces."""
        return split_words(question, lower_case=self.lower_case)

    def pieces(self, word: str) -> list[str]:
        """The longest known pieces of a word from its beginning on; [UNK] alone when a part is unknown."""
        found: list[str] = []
        start = 0
        while start < len(word) <= LONGEST_WORD:
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self._numbers), None)
            if end is None:
                return [UNKNOWN]
            found.append(prefix + word[start:end])
            start = end
        return found or [UNKNOWN]

    def encode(self, question: str, length: int) -> EncodedQuestion:
        """Turn a question into [CLS], its pieces, [SEP] and padding, `length` numbers in all."""
        words = self.split(question)
        by_word = [self.pieces(word) for word in words]
        pieces = [piece for found in by_word for piece in found]
        kept = [BEGIN, *pieces[: length - 2], END]
        tokens = np.full(length, PAD, np.int32)
        tokens[: len(kept)] = [self._numbers[piece] for piece in kept]
        unknown = tuple(word for word, found in zip(words, by_word, strict=True) if found == [UNKNOWN])
        return EncodedQuestion(tokens, unknown, len(pieces) > length - 2)


Words = Vocabulary | WordPieces


def words_of(words: Any, question: Mapping[str, Any], source: str = "the vocabulary") -> Words:
    """The vocabulary, from a JSON list, that a question's preprocessing asks for.

    Raises InputError that names `source` for a list that is none.
    """
    if question.get("rule") != RULE:
        return Vocabulary.from_json(words, source)
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{source} is not a JSON list of words")
    try:
        return WordPieces(tuple(words), bool(question["lower_case"]))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
