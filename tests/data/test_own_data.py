"""A folder of one's own: its splits, its lists, what an answer is worth, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevqa.data.dataset import Dataset
from edgevqa.data.floors import floors, full_card
from edgevqa.data.folder import DataFolder
from edgevqa.data.lists import build_answers, read_answer_list
from edgevqa.data.own import Lists, name_of, own_dataset, reopen
from edgevqa.data.pictures import picture_ids
from edgevqa.data.preprocessing import picture_inputs
from edgevqa.data.questions import GQA, VQA, Question
from edgevqa.data.score import ACCURACY, VQA_ACCURACY
from edgevqa.data.vqa_accuracy import vqa_accuracy
from edgevqa.errors import EdgeVQAError, InputError, UsageError
from tests.data.own_folder import PICTURES, make_gqa, make_vqa, write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_vqa(tmp_path_factory.mktemp("data") / "my vqa")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    shutil.copytree(made, tmp_path / "mine")
    return tmp_path / "mine"


def lists_of(dataset: Dataset) -> Lists:
    return Lists(dataset.vocabulary, dataset.answers, dataset.preprocessing)


def test_a_vqa_folder_becomes_three_splits(made: Path) -> None:
    dataset = own_dataset(made)
    assert dataset.name == "my-vqa" and dataset.score == VQA_ACCURACY
    for name, published in (("train", "train"), ("validation", "val"), ("test", "test")):
        split = dataset.split(name)
        assert split.name == f"my-vqa/{name}" and split.picture_count == PICTURES[published]
        inputs = split.model_inputs([0, len(split) - 1])
        assert inputs["image"].shape == (2, 3, 64, 64) and inputs["question"].shape == (2, dataset.question_length)
        assert len(set(split.ids)) == len(split) and set(split.groups) == {"question type", "answer type"}
    card = full_card(dataset)
    assert card["splits"]["test"]["pictures"] == 4


def test_pictures_are_what_ask_makes_of_them_and_are_not_read_into_memory(made: Path) -> None:
    dataset = own_dataset(made)
    split = dataset.split("test")
    path = made / "images" / "test2014" / f"COCO_test2014_{split.ids[0] // 1000:012d}.png"
    assert np.array_equal(split.model_inputs([0])["image"], picture_inputs(path, dataset.preprocessing)["image"])
    assert isinstance(split.images["image"], np.memmap)


def test_scores_and_targets_follow_the_people(made: Path) -> None:
    dataset = own_dataset(made)
    split = dataset.split("test")
    annotations = json.loads((made / "v2_mscoco_test2014_annotations.json").read_text())["annotations"]
    people = {entry["question_id"]: [one["answer"] for one in entry["answers"]] for entry in annotations}
    random = np.random.default_rng(0)
    predicted = random.integers(0, len(dataset.answers), len(split))
    predicted[:10] = split.answers[:10]
    expected = [
        vqa_accuracy(dataset.answers[place], people[number])
        for place, number in zip(predicted.tolist(), split.ids, strict=True)
    ]
    score = split.key.score(predicted)
    assert score.percent == pytest.approx(100 * np.mean(expected)) and score.kind == VQA_ACCURACY
    rows = np.arange(len(split))
    targets = split.targets(rows, len(dataset.answers))
    assert targets.dtype == np.float32 and targets.shape == (len(split), len(dataset.answers))
    assert set(np.unique(targets.round(3)).tolist()) <= {0.0, np.float32(0.3), np.float32(0.6), np.float32(0.9), 1.0}
    assert targets[rows, split.answers].min() > 0.8
    lowest = floors(dataset, split)
    assert 0 <= lowest.majority <= 100 and set(lowest.by_type) == set(split.types)


def test_gqa_is_scored_by_exact_match_and_its_unanswered_test_is_left_alone(tmp_path: Path) -> None:
    dataset = own_dataset(make_gqa(tmp_path / "gqa"))
    test = dataset.split("test")
    assert dataset.score == ACCURACY and test.key.kind == ACCURACY and test.soft is None
    assert all(isinstance(number, str) and not number.startswith("9") for number in test.ids)
    assert set(test.groups) == {"structural", "semantic"}
    assert test.targets(np.array([0, 1]), 9).tolist() == test.answers[:2].tolist()


def test_missing_splits_are_made_of_pictures_of_their_own(folder: Path) -> None:
    for path in folder.glob("*val2014*"):
        path.unlink()
    for path in folder.glob("*test2014_annotations*"):
        path.unlink()
    parts = DataFolder(folder).parts
    pictures = {name: {question.image for question in part.questions} for name, part in parts.items()}
    assert sum(map(len, pictures.values())) == PICTURES["train"] == len(set.union(*pictures.values()))
    assert all(pictures.values())
    again = DataFolder(folder).parts
    assert all(again[name].questions == parts[name].questions for name in parts)


def test_val_is_scored_where_test_has_no_answers(folder: Path) -> None:
    (folder / "v2_mscoco_test2014_annotations.json").unlink()
    parts = DataFolder(folder).parts
    assert len({question.image for question in parts["test"].questions}) == PICTURES["val"]
    assert parts["validation"].split == "train"


def test_a_model_keeps_its_own_lists_and_its_data_may_move(folder: Path, tmp_path: Path) -> None:
    dataset = own_dataset(folder)
    described = json.loads(json.dumps(dataset.described))
    lists = Lists(dataset.vocabulary, tuple(reversed(dataset.answers)), dataset.preprocessing)
    before, after = dataset.split("test"), reopen(described, lists).split("test")
    assert after.answers.tolist() == [len(dataset.answers) - 1 - place for place in before.answers.tolist()]
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is gone; where it was moved to is said with --data"):
        reopen(described, lists)
    moved = reopen(described, lists_of(dataset), tmp_path / "elsewhere").split("test")
    assert moved.name == before.name and moved.key.digest() == before.key.digest()
    with pytest.raises(InputError, match="does not say where its data is"):
        reopen({"name": "x"}, lists)


def test_changed_questions_are_not_those_of_the_training(folder: Path) -> None:
    dataset = own_dataset(folder)
    path = folder / "v2_OpenEnded_mscoco_test2014_questions.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(InputError, match="was changed or added since the training"):
        reopen(dataset.described, lists_of(dataset)).split("test")


def break_it(folder: Path, how: str) -> None:
    images, train = folder / "images", "v2_OpenEnded_mscoco_train2014_questions.json"
    first = images / "train2014" / "COCO_train2014_000000000003.png"
    if how == "no pictures":
        shutil.rmtree(images)
    elif how == "no picture":
        first.unlink()
    elif how == "two pictures":
        shutil.copy(first, images / "train2014" / "3.png")
    elif how == "broken picture":
        first.write_bytes(first.read_bytes()[:100])
    elif how == "a link out":
        first.unlink()
        first.symlink_to("/etc/passwd")
    elif how == "a folder link out":
        (images / "more").symlink_to("/etc")
    elif how == "a path for an id":
        path = folder / "v2_OpenEnded_mscoco_train2014_questions.json"
        content = json.loads(path.read_text())
        content["questions"][0]["image_id"] = "../../../etc/passwd"
        write(path, content)
        (folder / "v2_mscoco_train2014_annotations.json").write_text(
            (folder / "v2_mscoco_train2014_annotations.json").read_text().replace('"image_id"', '"picture"')
        )
    elif how == "no questions":
        for path in folder.glob("*questions*"):
            path.unlink()
    elif how == "no training":
        (folder / train).unlink()
        (folder / "v2_mscoco_train2014_annotations.json").unlink()
    elif how == "lonely annotations":
        (folder / train).unlink()
    elif how == "two files":
        shutil.copy(folder / train, folder / "train2014_questions.json")
    elif how == "questions outside":
        (folder / train).rename(folder.parent / "q.json")
        (folder / train).symlink_to(folder.parent / "q.json")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no pictures", "has neither images/ nor features/"),
        ("no picture", "has no file of the picture '3' that a train question is about"),
        ("two pictures", "has several files of the picture '3'"),
        ("broken picture", "cannot read the picture"),
        ("a link out", "COCO_train2014_000000000003.png leads out of the folder"),
        ("a folder link out", "the link more leads out of the folder"),
        ("a path for an id", "has no file of the picture '../../../etc/passwd'"),
        ("no questions", "has no question file"),
        ("no training", "has no training questions with answers"),
        ("lonely annotations", "has no question file beside it"),
        ("two files", "has two files for train2014"),
        ("questions outside", "leads out of the folder"),
    ],
)
def test_broken_folders(folder: Path, how: str, said: str) -> None:
    break_it(folder, how)
    with pytest.raises(EdgeVQAError) as raised:
        own_dataset(folder).split("train")
    assert said in str(raised.value) and "\n" not in str(raised.value) and raised.value.exit_code == 2


def test_names_of_folders_and_pictures() -> None:
    assert name_of(Path("/data/My VQA (2)")) == "My-VQA-2"
    assert name_of(Path("/data/scenes")) == "scenes-folder"
    assert picture_ids("COCO_train2014_000000458752.jpg.npz") == {"COCO_train2014_000000458752", "458752"}
    assert picture_ids("n578564.npz") == {"n578564"}
    assert picture_ids("007.png") == {"007", "7"}
    with pytest.raises(UsageError, match="is not a folder"):
        own_dataset(Path(os.devnull))


def test_answer_lists_are_built_by_frequency_and_read_in_each_projects_order(tmp_path: Path) -> None:
    questions = [
        Question(n, "1", "?", main=text) for n, text in enumerate(["Two", "2", "a dog", "The dog.", "dog", "x"])
    ]
    assert build_answers(questions, VQA, 1) == ("dog", "2", "x")
    assert build_answers(questions, VQA, 2) == ("dog", "2")
    assert build_answers(questions[:2], GQA, 1) == ("2", "Two")
    with pytest.raises(InputError, match="no answer occurs 9 times"):
        build_answers(questions, VQA, 9)
    order = ["", "yes", "no"]
    numbers = {answer: number for number, answer in enumerate(order)}
    back = {str(number): answer for number, answer in enumerate(order)}
    for number, content in enumerate([order, numbers, [numbers, back], [numbers, back, {"PAD": 0}, 29]]):
        write(tmp_path / f"{number}.json", content)
        assert read_answer_list(tmp_path / f"{number}.json") == tuple(order)
    write(tmp_path / "bad.json", [numbers, {"0": "yes"}])
    with pytest.raises(InputError, match="contradict each other"):
        read_answer_list(tmp_path / "bad.json")


def test_a_list_of_answers_may_be_brought(made: Path, tmp_path: Path) -> None:
    write(tmp_path / "ans2label.json", {"no": 1, "yes": 0})
    dataset = own_dataset(made, answers=tmp_path / "ans2label.json")
    assert dataset.answers == ("yes", "no")
    assert set(dataset.split("train").answers.tolist()) == {0, 1}, "questions without a known answer are not trained on"
    assert -1 in dataset.split("test").answers.tolist(), "and are scored all the same"


def test_equal_pictures_are_not_read_again(made: Path) -> None:
    first = own_dataset(made).split("test")
    kept = sorted((path, path.stat().st_mtime_ns) for path in Path(os.environ["EDGEVQA_CACHE"]).rglob("pixels.npy"))
    second = own_dataset(made).split("test")
    assert sorted((p, p.stat().st_mtime_ns) for p in Path(os.environ["EDGEVQA_CACHE"]).rglob("pixels.npy")) == kept
    assert first.digest() == second.digest() and kept


@pytest.mark.parametrize(
    ("name", "word", "split"),
    [
        ("v2_OpenEnded_mscoco_test-dev2015_questions.json", "test-dev2015", "test"),
        ("testdev_balanced_questions.json", "testdev", "test"),
        ("validation_questions.json", "validation", "val"),
        ("my_latest_questions.json", "all", "train"),
        ("questions.json", "all", "train"),
    ],
)
def test_the_split_of_a_file_is_in_its_name(tmp_path: Path, name: str, word: str, split: str) -> None:
    write(tmp_path / name, {"questions": []})
    (files,) = DataFolder(tmp_path).splits.values()
    assert (files.word, files.split) == (word, split)
    assert DataFolder(tmp_path).published(split) == DataFolder(tmp_path).published(word) == files
    with pytest.raises(UsageError, match="has no one split 'moon'"):
        DataFolder(tmp_path).published("moon")


def test_equal_names_in_other_splits_are_other_pictures(folder: Path) -> None:
    """Names, sizes and times may all be equal."""
    for split, colour in (("train", 250), ("val", 10), ("test", 120)):
        for path in folder.glob(f"*{split}2014*.json"):
            path.write_text(
                path.read_text().replace('"image_id": 100', '"image_id": ').replace('"image_id": 200', '"image_id": ')
            )
        shutil.rmtree(folder / "images" / f"{split}2014")
        (folder / "images" / split).mkdir()
        for number in range(PICTURES[split]):
            path = folder / "images" / split / f"{number}.bmp"
            Image.new("RGB", (8, 8), (colour,) * 3).save(path)
            os.utime(path, ns=(0, 0))
    dataset = own_dataset(folder)
    seen = {name: dataset.split(name).images["image"] for name in ("train", "validation", "test")}
    assert [int(pixels.min()) for pixels in seen.values()] == [250, 10, 120]
    assert [int(pixels.max()) for pixels in seen.values()] == [250, 10, 120]
