from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from edgevqa.data import scene_questions, scenes
from edgevqa.data.dataset import Dataset, Split, load_dataset, read_split, write_split
from edgevqa.data.floors import floors_between
from edgevqa.data.regions import find_regions
from edgevqa.data.scene_pictures import PAINTS
from edgevqa.data.text import MASKED, PAD
from edgevqa.errors import UsageError


@pytest.fixture(scope="module")
def test_split() -> Split:
    return scenes.generate_split("test", 120)


def small_dataset(split: Split, name: str = "scenes") -> Dataset:
    whole = scenes.scenes_dataset(name)
    return Dataset(
        name, whole.version, whole.seed, whole.vocabulary, whole.answers, whole.preprocessing,
        whole.card, whole.question_length, make_split=lambda name, progress: split,
    )  # fmt: skip


def test_equal_seeds_give_equal_bytes(tmp_path, test_split: Split) -> None:
    again = scenes.generate_split("test", 120)
    write_split(tmp_path / "a.npz", test_split, 1)
    write_split(tmp_path / "b.npz", again, 1)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert scenes.generate_split("test", 120, seed=5).texts != test_split.texts


def test_a_split_begins_the_same_however_long_it_is() -> None:
    """Blocks are independent: the pixel dataset's fewer scenes are the first ones of the region dataset."""
    short, long = scenes.generate_split("train", 500), scenes.generate_split("train", 510)
    assert long.texts[: len(short)] == short.texts
    assert np.array_equal(long.images["regions"][:500], short.images["regions"])


def test_the_questions_of_this_version_stay_what_they_are(test_split: Split) -> None:
    """Published figures belong to exactly these questions: a change here needs a new scenes.VERSION."""
    rows = zip(test_split.image_index.tolist(), test_split.texts, test_split.answers.tolist(), strict=True)
    digest = hashlib.sha256("\n".join(f"{scene} {text} {answer}" for scene, text, answer in rows).encode())
    assert (scenes.VERSION, digest.hexdigest()[:16]) == (1, "38f29cc5f816460c")


def test_splits_share_no_scene() -> None:
    seen: dict[bytes, str] = {}
    for name, blocks in (("train", 8), ("validation", 1), ("test", 1)):
        for block in range(blocks):
            table = scenes.sample_scenes(scenes.BLOCK, scenes.block_random(scenes.SEED, name, block)).table
            for scene in range(len(table)):
                fields = (table.x, table.y, table.size, table.colour, table.shape)
                key = b"".join(field[scene].tobytes() for field in fields)
                assert key not in seen, (name, block, scene, seen.get(key))
                seen[key] = f"{name} {block} {scene}"


def _gap(centre: np.ndarray, half: np.ndarray, one: int, other: int) -> float:
    """Pixels between two boxes, along the axis on which they are farther apart."""
    return float((np.abs(centre[one] - centre[other]) - half[one] - half[other]).max())


def test_things_lie_apart_and_inside() -> None:
    drawn = scenes.sample_scenes(200, np.random.default_rng(3))
    table = drawn.table
    assert set(np.unique(table.valid.sum(axis=1))) == set(range(3, 9))
    extents = np.array([scenes.EXTENTS[name] for name in scene_questions.SHAPES])
    for scene in range(200):
        places = np.flatnonzero(table.valid[scene])
        half = extents[table.shape[scene, places]] * drawn.radius[scene, places, None]
        centre = np.stack([table.x[scene, places], table.y[scene, places]], axis=1)
        assert (centre - half >= 2).all() and (centre + half <= 126).all()
        for one in range(len(places)):
            for other in range(one):
                assert _gap(centre, half, one, other) >= scenes.MARGIN


def test_regions_tell_every_thing_apart() -> None:
    """Plain thresholds on the features recover place, size, colour and shape of every thing."""
    drawn = scenes.sample_scenes(150, np.random.default_rng(11))
    paints = np.array(list(PAINTS.values())) / 127.5 - 1
    for scene in range(len(drawn)):
        found = find_regions(drawn.picture(scene))
        places = np.flatnonzero(drawn.table.valid[scene])
        assert found.count == len(places) + 1 and found.found == len(places)
        for place in places:
            x, y = drawn.table.x[scene, place] / 64 - 1, drawn.table.y[scene, place] / 64 - 1
            distance = np.hypot(found.regions[:, 2] - x, found.regions[:, 3] - y)
            distance[0] = np.inf
            row = found.regions[distance.argmin()]
            assert distance.min() < 0.03
            assert (row[7] > 0) == (drawn.table.size[scene, place] == 1)
            assert np.abs(paints - row[4:7]).sum(axis=1).argmin() == drawn.table.colour[scene, place]
            shape = "square" if row[8] > 0.7 else "circle" if row[8] > -0.4 else "triangle"
            assert shape == scene_questions.SHAPES[drawn.table.shape[scene, place]]


def test_the_stored_answers_are_those_of_the_pictures(test_split: Split) -> None:
    """Counts of all things, read off the regions, against the answers."""
    checked = 0
    for row, text in enumerate(test_split.texts):
        if text == "how many things are there?":
            count = test_split.images["region_count"][test_split.image_index[row]] - 1
            assert scene_questions.ANSWERS[test_split.answers[row]] == str(count)
            checked += 1
    assert checked > 0


def test_model_inputs_of_regions(test_split: Split) -> None:
    inputs = test_split.model_inputs([3, 0, 50])
    shapes = {name: (array.shape, str(array.dtype)) for name, array in inputs.items()}
    assert shapes == {
        "question": ((3, 14), "int32"),
        "question_mask": ((3, 1, 1, 14), "float32"),
        "regions": ((3, 9, 28), "float32"),
        "region_mask": ((3, 1, 1, 9), "float32"),
        "boxes": ((3, 9, 5), "float32"),
    }
    assert np.array_equal(inputs["question"][1], test_split.tokens[0])
    assert ((inputs["question"] == PAD) == (inputs["question_mask"][:, 0, 0] == MASKED)).all()
    hidden = inputs["region_mask"][:, 0, 0] == MASKED
    assert (inputs["regions"][hidden] == 0).all() and (inputs["boxes"][hidden] == 0).all()
    assert (inputs["regions"][~hidden] != 0).any(axis=1).all()
    assert np.isfinite(inputs["regions"]).all() and np.abs(inputs["regions"]).max() <= 3
    assert (inputs["boxes"] >= 0).all() and (inputs["boxes"] <= 1).all()


def test_pixels_have_the_same_questions() -> None:
    regions = scenes.generate_split("test", 20)
    pixels = scenes.generate_split("test", 20, kind="scenes-pixels")
    assert regions.texts == pixels.texts and np.array_equal(regions.answers, pixels.answers)
    assert pixels.images["image"].shape == (20, 3, 64, 64) and pixels.images["image"].dtype == np.uint8
    image = pixels.model_inputs(np.arange(64))["image"]
    assert image.dtype == np.float32 and image.shape == (64, 3, 64, 64)
    assert abs(float(image.mean())) < 0.5 and 0.5 < float(image.std()) < 2


def test_words_alone_answer_little(test_split: Split) -> None:
    floors = floors_between(scenes.generate_split("train", 1000), test_split)
    assert floors.majority < 30 and floors.question_only < 45
    for family in ("exist", "compare-number", "compare-attribute", "one-hop-exist"):
        assert floors.by_type[family] == pytest.approx(50)
    for family in ("count", "query", "one-hop-count", "one-hop-query"):
        assert floors.by_type[family] < 40


def test_a_split_is_made_once_and_then_read(tmp_path, monkeypatch, test_split: Split) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path))
    made = small_dataset(test_split).split("test")
    path = tmp_path / "data" / "scenes-v1" / "test.npz"
    assert path.exists()
    read = small_dataset(made).split("test")
    for name in ("texts", "types", "name"):
        assert getattr(read, name) == getattr(made, name)
    for name in ("tokens", "answers", "image_index"):
        assert np.array_equal(getattr(read, name), getattr(made, name))
        assert getattr(read, name).dtype == getattr(made, name).dtype
    assert all(np.array_equal(read.images[key], made.images[key]) for key in made.images)
    assert read is not made


@pytest.mark.parametrize("damage", [lambda all_: all_[:-400], lambda all_: b"", lambda all_: b"x" + all_[1:]])
def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch, test_split: Split, damage) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path))
    dataset = small_dataset(test_split)
    path = tmp_path / "data" / "scenes-v1" / "test.npz"
    write_split(path, test_split, dataset.seed)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert dataset.split("test").texts == test_split.texts
    assert path.read_bytes() == whole


def test_a_cache_of_another_seed_is_not_used(tmp_path, test_split: Split) -> None:
    dataset = small_dataset(test_split)
    write_split(tmp_path / "test.npz", test_split, dataset.seed + 1)
    assert read_split(tmp_path / "test.npz", dataset, "test") is None


def test_a_cache_from_before_the_grounding_is_made_again(tmp_path, monkeypatch, test_split: Split) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path))
    dataset = replace(load_dataset("scenes"), make_split=lambda name, progress: test_split)
    path = tmp_path / "data" / "scenes-v1" / "test.npz"
    write_split(path, replace(test_split, grounding=None), dataset.seed)
    assert dataset.split("test").grounding is not None
    found = read_split(path, dataset, "test")
    assert found is not None and np.array_equal(found.grounding, test_split.grounding)
    assert not load_dataset("scenes-pixels").grounded


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="scenes-pixels"):
        load_dataset("vqa9")
    with pytest.raises(UsageError, match="validation"):
        load_dataset("scenes").split("dev")


def test_the_dataset_describes_itself() -> None:
    dataset = load_dataset("scenes")
    assert len(dataset.answers) == len(set(dataset.answers)) == 22
    assert dataset.card["seed"] == dataset.seed and dataset.card["generator_version"] == dataset.version
    assert dataset.preprocessing["question"]["length"] == dataset.question_length == 14
    for synonym in dataset.preprocessing["question"]["synonyms"].values():
        assert synonym in dataset.vocabulary.words


def test_the_grounding_tells_which_regions_a_question_is_about(test_split: Split) -> None:
    """Answers that follow from the descriptions alone follow from the grounding, too."""
    assert test_split.grounding is not None
    answers = scenes.scene_questions.ANSWERS
    real = np.arange(9) < test_split.images["region_count"][test_split.image_index][:, None]
    assert not test_split.grounding[~real].any()
    assert not test_split.grounding[:, 0].any()
    fits = [test_split.grounding >> bit & 1 for bit in (0, 1, 2)]
    first, second = fits[0].sum(axis=1), fits[1].sum(axis=1)
    selected = (fits[0] & fits[2] & ~fits[1]).sum(axis=1)
    seen = set()
    for row, family in enumerate(test_split.types):
        answer = answers[test_split.answers[row]]
        if family == "exist":
            assert answer == ("yes" if first[row] else "no")
        elif family == "count":
            assert answer == str(first[row])
        elif family == "query":
            assert first[row] == 1
        elif family == "compare-attribute":
            assert (first[row], second[row]) == (1, 1)
            assert answer == ("yes" if selected[row] else "no")
        elif family.startswith("one-hop"):
            assert second[row] == 1
            if family == "one-hop-exist":
                assert answer == ("yes" if selected[row] else "no")
            else:
                assert selected[row] == (1 if family == "one-hop-query" else int(answer))
        elif " more " in test_split.texts[row]:
            assert answer == ("yes" if first[row] > second[row] else "no")
        seen.add(family)
    assert seen == set(scenes.scene_questions.FAMILIES)
