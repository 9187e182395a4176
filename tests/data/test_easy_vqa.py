from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from edgevqa.data.dataset import Split, load_dataset
from edgevqa.data.easy_vqa import family
from edgevqa.data.floors import floors, full_card
from edgevqa.data.preprocessing import encode_question, picture_inputs
from edgevqa.errors import MissingExtra

easy_vqa = pytest.importorskip("easy_vqa")


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> dict[str, Split]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEVQA_CACHE", str(tmp_path_factory.mktemp("cache")))
        dataset = load_dataset("easy-vqa")
        return {name: dataset.split(name) for name in ("train", "validation", "test")}


def test_sizes_and_split_by_picture(splits: dict[str, Split]) -> None:
    assert {name: len(split.images["image"]) for name, split in splits.items()} == {
        "train": 3600, "validation": 400, "test": 1000,
    }  # fmt: skip
    assert len(splits["train"]) + len(splits["validation"]) == 38_575
    assert len(splits["test"]) == 9_673
    pictures = [image.tobytes() for split in splits.values() for image in split.images["image"]]
    assert len(set(pictures)) == len(pictures)


def test_questions_belong_to_their_pictures(splits: dict[str, Split]) -> None:
    dataset = load_dataset("easy-vqa")
    texts, answers, ids = easy_vqa.get_test_questions()
    paths = easy_vqa.get_test_image_paths()
    split = splits["test"]
    for row in (0, 1234, 9_672):
        assert split.texts[row] == texts[row]
        assert dataset.answers[split.answers[row]] == answers[row]
        stored = split.images["image"][split.image_index[row]]
        pixels = np.asarray(Image.open(paths[ids[row]]).convert("RGB"))
        assert np.array_equal(stored.transpose(1, 2, 0), pixels)
        inputs = picture_inputs(paths[ids[row]], dataset.preprocessing)
        assert np.array_equal(inputs["image"], split.model_inputs([row])["image"])


def test_words_and_answers(splits: dict[str, Split]) -> None:
    dataset = load_dataset("easy-vqa")
    assert list(dataset.answers) == sorted(dataset.answers) and len(dataset.answers) == 13
    assert len(dataset.vocabulary) == 26 + 3
    for split in splits.values():
        for text in set(split.texts):
            encoded = encode_question(text, dataset.vocabulary, dataset.preprocessing)
            assert encoded.unknown == () and not encoded.cut
    for synonym in dataset.preprocessing["question"]["synonyms"].values():
        assert synonym in dataset.vocabulary.words


def test_families() -> None:
    assert family("what color is the circle?") == "what-colour"
    assert family("what is the blue shape?") == "what-shape"
    assert family("is no red shape present?") == "yes-no-negated"
    assert family("does the image contain a circle?") == "yes-no"


def test_floors_are_the_published_ones(splits: dict[str, Split], tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path))
    dataset = load_dataset("easy-vqa")
    found = floors(dataset, splits["test"])
    assert found.majority == pytest.approx(37.33, abs=0.01)
    assert found.question_only == pytest.approx(67.0, abs=0.5)
    card = full_card(dataset)
    assert card["floors"]["question_only"] == found.question_only
    assert card["splits"]["test"]["questions"] == 9_673
    assert card["splits"]["test"]["families"] == dict(Counter(splits["test"].types))


def test_normalised_pixels_are_near_zero_mean_and_unit_deviation(splits: dict[str, Split]) -> None:
    image = splits["validation"].model_inputs(np.arange(300))["image"]
    assert abs(float(image.mean())) < 0.2 and 0.7 < float(image.std()) < 1.3


def test_a_missing_package_names_its_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "easy_vqa", None)
    with pytest.raises(MissingExtra, match=r"edgevqa\[train\]"):
        load_dataset("easy-vqa")
