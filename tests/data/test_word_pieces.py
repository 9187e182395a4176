"""Word pieces: BERT's rule, checked against the library that the models' authors' tokenizers are kept in today."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevqa.data.preprocessing import encode_question, question_inputs
from edgevqa.data.text import Vocabulary
from edgevqa.data.word_pieces import WordPieces, split_words, words_of
from edgevqa.errors import InputError

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZéñ0123456789?!.,'-$^_~中"
WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]"),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS[:52]),
    *("what", "colour", "is", "the", "play", "##ing", "##er", "The", "Is", "un", "##aff", "##able", "isn", "it"),
)
LONG_KNOWN = st.characters(exclude_categories=["Cs", "Cn", "Co"]).filter(
    lambda one: unicodedata.category(one) == unicodedata.ucd_3_2_0.category(one)
)
"""Characters that every table of Unicode knows alike: the library's is older than Python's."""
RULE = {"rule": "word-pieces", "length": 8, "lower_case": True}


def texts_of(words: WordPieces, question: str, length: int = 8) -> list[str]:
    return [words.words[number] for number in words.encode(question, length).tokens]


def test_longest_known_pieces_between_the_special_ones() -> None:
    words = WordPieces(WORDS, lower_case=True)
    assert texts_of(words, "Is it PLAYING?") == ["[CLS]", "is", "it", "play", "##ing", "?", "[SEP]", "[PAD]"]
    assert texts_of(words, "unaffable") == ["[CLS]", "un", "##aff", "##able", "[SEP]", *["[PAD]"] * 3]
    assert texts_of(WordPieces(WORDS, lower_case=False), "Is The")[1:3] == ["Is", "The"]
    assert words.encode("is it", 8).tokens.dtype == "int32"


def test_what_is_cut_and_what_is_unknown_is_said() -> None:
    words = WordPieces(WORDS, lower_case=True)
    encoded = words.encode("what colour is the player", 6)
    assert encoded.cut and [words.words[number] for number in encoded.tokens][-2:] == ["the", "[SEP]"]
    encoded = words.encode("is ☃ it", 8)
    assert encoded.unknown == ("☃",) and not encoded.cut
    assert words.encode("a" * 101, 8).unknown == ("a" * 101,)


def test_the_vocabulary_follows_the_preprocessing() -> None:
    pieces = words_of(WORDS, RULE)
    assert isinstance(pieces, WordPieces) and pieces.lower_case
    assert isinstance(words_of(("PAD", "UNK", "CLS"), {"rule": "openvqa"}), Vocabulary)
    assert list(encode_question("Is it?", pieces, {"question": RULE}).tokens[:2]) == [2, WORDS.index("is")]
    inputs = question_inputs("Is it?", pieces, {"question": RULE})
    assert inputs["question_mask"][0, 0, 0].tolist() == [0, 0, 0, 0, 0, -1e4, -1e4, -1e4]
    with pytest.raises(InputError, match="the question is empty"):
        encode_question(" \n", pieces, {"question": RULE})


def test_lists_that_are_no_word_pieces() -> None:
    for wrong, message in ((WORDS[1:], "begins with"), (WORDS[:3], "lacks"), ((*WORDS, "is"), "'is' twice")):
        with pytest.raises(InputError, match=message):
            WordPieces(wrong, lower_case=True)


@settings(deadline=None)  # the library takes a second to be imported
@given(st.text(LONG_KNOWN, max_size=40) | st.text(LETTERS + " ", max_size=40))
def test_the_same_as_the_kept_library(text: str) -> None:
    """`tokenizers` comes with the extra `export`; on boards our own few lines do the same without it."""
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    for lower_case in (True, False):
        words = WordPieces(WORDS, lower_case=lower_case)
        kept = tokenizers.Tokenizer(
            tokenizers.models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]")
        )
        kept.normalizer, kept.pre_tokenizer = BertNormalizer(lowercase=lower_case), BertPreTokenizer()
        ours = [piece for word in split_words(text, lower_case=lower_case) for piece in words.pieces(word)]
        assert ours == kept.encode(text, add_special_tokens=False).tokens
