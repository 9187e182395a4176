from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.data.text import (
    CLS,
    MASKED,
    PAD,
    UNKNOWN,
    Vocabulary,
    question_mask,
    region_mask,
    tokenise,
)
from edgevqa.errors import InputError


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Is there a RED circle?", ["is", "there", "a", "red", "circle"]),
        ("what's this, (a dog)?", ["whats", "this", "a", "dog"]),
        ("black-and-white / grey", ["black", "and", "white", "grey"]),
        ('say: "#1*"; ok!', ["say", "1", "ok"]),
        ("  \t\n", []),
        ("?!.", []),
    ],
)
def test_tokenise_follows_openvqa(question: str, words: list[str]) -> None:
    assert tokenise(question) == words


@given(st.text())
def test_tokenise_leaves_no_punctuation_and_is_stable(question: str) -> None:
    words = tokenise(question)
    assert not set("".join(words)) & set(".,'!?\"()*#:;-/ \t\n")
    assert tokenise(" ".join(words)) == [part for word in words for part in tokenise(word)]


@given(st.lists(st.text(string.ascii_letters + " ?-'", max_size=40), max_size=8), st.integers(1, 20))
def test_a_vocabulary_knows_all_words_it_was_built_from(questions: list[str], length: int) -> None:
    vocabulary = Vocabulary.build(questions)
    assert list(vocabulary.words[3:]) == sorted(set(vocabulary.words[3:]))
    for question in questions:
        words = tokenise(question)
        encoded = vocabulary.encode(question, length)
        assert encoded.unknown == ()
        assert encoded.cut == (len(words) > length)
        assert encoded.tokens.dtype == np.int32 and encoded.tokens.shape == (length,)
        read = [vocabulary.words[token] for token in encoded.tokens if token != PAD]
        assert read == words[:length]
        assert not np.isin(encoded.tokens, [UNKNOWN, CLS]).any()


def test_unknown_words_are_named_and_reserved_names_are_no_words() -> None:
    vocabulary = Vocabulary.build(["is there a circle"])
    encoded = vocabulary.encode("Is there a zebra, PAD or UNK?", 5)
    assert encoded.unknown == ("zebra", "pad", "or", "unk")
    known = [vocabulary.words.index(word) for word in ("is", "there", "a")]
    assert encoded.tokens.tolist() == [*known, UNKNOWN, UNKNOWN]
    assert encoded.cut


def test_a_vocabulary_survives_its_file(tmp_path) -> None:
    vocabulary = Vocabulary.build(["what colour is it", "naïve café"])
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == vocabulary


@pytest.mark.parametrize(
    "content",
    ['["a", "b"]', '["PAD", "UNK", "CLS", "x", "x"]', '{"a": 1}', '["PAD", "UNK", "CLS", 3]', "[", ""],
)
def test_a_broken_vocabulary_file_is_an_input_error(tmp_path, content: str) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"vocabulary\.json"):
        Vocabulary.load(path)


def test_masks_hide_padding_only() -> None:
    mask = question_mask(np.array([[5, 6, PAD], [UNKNOWN, PAD, PAD]], np.int32))
    assert mask.shape == (2, 1, 1, 3) and mask.dtype == np.float32
    assert mask[:, 0, 0].tolist() == [[0, 0, MASKED], [0, MASKED, MASKED]]
    mask = region_mask(np.array([1, 3]), 3)
    assert mask.shape == (2, 1, 1, 3) and mask.dtype == np.float32
    assert mask[:, 0, 0].tolist() == [[0, MASKED, MASKED], [0, 0, 0]]
