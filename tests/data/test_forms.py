"""Data in the form that a family takes: word pieces, boxes of seven numbers, grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgevqa.data.features import RegionFeatures, as_boxes, padded
from edgevqa.data.forms import FORMS, in_form, taken
from edgevqa.data.scenes import SEED, generate_split, scenes_dataset
from edgevqa.data.word_pieces import WordPieces
from edgevqa.errors import InputError, UsageError


def test_scenes_as_uniter_takes_them(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path))
    scenes = replace(
        scenes_dataset("scenes"),
        make_split=lambda split, progress: generate_split(split, 6, SEED, "scenes", progress),
    )
    made = in_form(scenes, FORMS["uniter"])
    plain, split = scenes.split("test"), made.split("test")
    boxes, seven = plain.model_inputs([0, 5])["boxes"], split.model_inputs([0, 5])["boxes"]
    assert seven.shape == (2, 9, 7) and made.preprocessing["picture"]["boxes"] == 7
    assert (seven[..., :4] == boxes[..., :4]).all() and (seven[..., 6] == boxes[..., 4]).all()
    assert np.allclose(seven[..., 4] * seven[..., 5], seven[..., 6], atol=1e-6)
    assert split.tokens.shape[1] == made.question_length == made.preprocessing["question"]["length"]
    words = made.vocabulary.words
    shown = [words[number] for number in split.tokens[0] if number]
    assert shown[0] == "[CLS]" and shown[-1] == "[SEP]"
    assert "".join(piece.removeprefix("##") for piece in shown[1:-1]) == plain.texts[0].replace(" ", "").lower()
    assert made.preprocessing["question"]["synonyms"] == scenes.preprocessing["question"]["synonyms"]
    again = taken(scenes.split("test"), scenes.vocabulary, made.vocabulary, made.preprocessing)
    assert (again.tokens == split.tokens).all(), "what a checkpoint is scored on is what it was trained on"
    assert taken(plain, scenes.vocabulary, scenes.vocabulary, scenes.preprocessing) is plain
    assert in_form(scenes, FORMS["mcan"]) is scenes
    assert scenes.split("test") is plain, "the cache holds the dataset itself"


def test_pictures_that_a_family_does_not_take() -> None:
    regions = {"kind": "features", "regions": 6, "features": 4, "boxes": 5}
    assert FORMS["uniter"].picture(regions, "x")["boxes"] == 7
    assert FORMS["mcan"].picture(regions, "x") == regions
    grid = FORMS["clip-vil"].picture(regions, "x", (2, 3))
    assert (grid["boxes"], grid["grid"]) == (0, [2, 3])
    for name, picture, said in (
        ("uniter", {**regions, "boxes": 0}, "uniter needs the boxes of regions, and x has none"),
        ("clip-vil", regions, "x has 6 features a picture, which are no 2 x 2"),
        ("clip-vil", {**regions, "kind": "plain-regions"}, "clip-vil takes pixels or grid or features, and x gives"),
    ):
        with pytest.raises(UsageError, match=said):
            FORMS[name].picture(picture, "x")


def test_a_grid_is_whole_also_where_it_ends_in_zeros() -> None:
    described = {"regions": 4, "features": 2, "boxes": 0, "grid": [2, 2]}
    found = RegionFeatures(np.ones((3, 2), np.float32), None, 4)
    made = padded(found, described, "a.npz")
    assert made["region_count"] == 4 and made["regions"].shape == (4, 2) and not made["regions"][3].any()
    with pytest.raises(InputError, match=r"a\.npz holds 3 features; this model takes 2 x 2, row by row"):
        padded(replace(found, rows=3), described, "a.npz")


def test_boxes_of_other_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="boxes of 5 numbers are not turned into boxes of 6"):
        as_boxes(np.zeros((2, 5), np.float32), 6)


def test_word_pieces_of_questions() -> None:
    made = WordPieces.build(["Is it red?", "is it RED or a zoo?"])
    assert made == WordPieces.build(["is it RED or a zoo?", "Is it red?"])
    assert made.words[:4] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]") and made.lower_case
    assert made.pieces("red") == ["red"] and made.pieces("rods") == ["r", "##o", "##d", "##s"]
    assert made.pieces("xylem") == ["[UNK]"] and made.length_of("red rods?") == 2 + 1 + 4 + 1
    assert not WordPieces.of_lines((*made.words, "Red")).lower_case and WordPieces.of_lines(made.words).lower_case
