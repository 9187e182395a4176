"""Bad entries: an error at the first one, or all told and left out; files in parts, and CLEVR's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevqa.data.bad import SHOWN, BadEntries
from edgevqa.data.folder import DataFolder
from edgevqa.data.json_stream import CHUNK, stream_object
from edgevqa.data.own import Lists, own_dataset, reopen
from edgevqa.data.questions import CLEVR, GQA, read_parts, read_questions
from edgevqa.errors import InputError
from edgevqa.progress import Silent


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def gqa(first: int, count: int, **more: Any) -> dict[str, Any]:
    names = {0: "red", 1: "blue"}
    return {
        f"{number:03d}": {
            "question": "what colour is it?",
            "imageId": f"n{number}",
            "answer": names[number % 2],
            "semantic": [{"operation": "select", "argument": "é" * 9}],
            **more,
        }
        for number in range(first, first + count)
    }


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def features(folder: Path, number: int, values: Any = None) -> None:
    (folder / "features").mkdir(parents=True, exist_ok=True)
    found = np.ones((2, 3), np.float32) + number if values is None else values
    np.savez(folder / "features" / f"n{number}.npz", x=found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Training data with five bad entries of different kinds, and sound ones to score on."""
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path / "cache"))
    made = tmp_path / "data"
    train = gqa(0, 12)
    train["000"]["question"] = 5
    del train["001"]["answer"]
    train["002"]["question"] = "??"
    write(made / "train_questions.json", train)
    write(made / "val_questions.json", gqa(20, 4))
    write(made / "testdev_questions.json", gqa(30, 4))
    for number in (*range(12), *range(20, 24), *range(30, 34)):
        features(made, number)
    (made / "features" / "n3.npz").unlink()
    features(made, 4, np.full((2, 3), np.nan))
    return made


def test_the_first_bad_entry_is_an_error_that_says_how_to_go_on(folder: Path) -> None:
    said = (
        r"train_questions\.json: '000': question should be a text, not '5' \(--skip-bad goes on without such entries\)"
    )
    with pytest.raises(InputError, match=said):
        own_dataset(folder)


def test_bad_entries_are_told_and_left_out(folder: Path) -> None:
    notes = Notes()
    dataset = own_dataset(folder, skip_bad=True, progress=notes)
    assert dataset.source is not None and dataset.source["skip_bad"] is True
    split = dataset.split("train", notes)
    assert split.ids == ("005", "006", "007", "008", "009", "010", "011")
    assert np.isfinite(split.model_inputs(range(len(split)))["regions"]).all()
    for said in (
        "'000': question should be a text, not '5'",
        "the question '001' has no answer, which others have",
        "the question '002' has no word",
        "has no file of the picture 'n3' that a train question is about",
        "x in " + str(folder / "features" / "n4.npz") + " holds values that are not finite",
    ):
        assert sum(line.startswith("left out: ") and said in line for line in notes.lines) == 1, (said, notes.lines)
    assert notes.lines[-1] == "5 bad entries were left out"
    again = Notes()
    lists = Lists(dataset.vocabulary, dataset.answers, dataset.preprocessing)
    assert reopen(dataset.described, lists).split("train", again).ids == split.ids, "as the training did"
    assert again.lines == notes.lines, "also from the cache"
    with pytest.raises(InputError, match=r"picture 'n4|picture 'n3"):
        strict = {key: value for key, value in dataset.source.items() if key != "skip_bad"}
        write(folder / "train_questions.json", gqa(0, 12))
        own_dataset(folder).split("train")
        assert strict


def test_of_very_many_bad_entries_the_number_is_told() -> None:
    notes = Notes()
    bad = BadEntries(True, notes)
    for number in range(SHOWN + 3):
        bad.found(InputError(f"entry {number}"))
    bad.told()
    bad.told()
    assert len(notes.lines) == SHOWN + 1
    assert notes.lines[-1] == f"{SHOWN + 3} bad entries were left out, 3 of which are not named here"


def test_annotations_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    questions = [{"question_id": n, "image_id": n, "question": "is it?"} for n in range(4)]
    questions.append(questions[3])
    annotations = [{"question_id": n, "image_id": n, "answers": [{"answer": "yes"}]} for n in (0, 2, 3, 9)]
    annotations[1]["image_id"] = 7
    annotations[2]["answers"] = []
    files = (
        write(tmp_path / "q.json", {"questions": questions}),
        write(tmp_path / "a.json", {"annotations": annotations}),
    )
    bad = BadEntries(True)
    found = read_questions(*files, bad)
    assert [question.id for question in found.questions] == [0]
    for said in (
        "q.json holds the question_id 3 twice", "answers should be a list of 1 to",
        "has no annotation of the question 1",
        "names the picture 7 for the question 2", "annotates the question 9, which is not asked",
        "has no annotation of the question 3",
    ):  # fmt: skip
        assert sum(said in message for message in bad.messages) == 1, (said, bad.messages)
    assert len(bad.messages) == 6


def test_questions_that_are_too_long_are_said_once(folder: Path) -> None:
    write(folder / "train_questions.json", gqa(5, 7))
    write(folder / "val_questions.json", gqa(20, 4, question="is it " + "very " * 40 + "red?"))
    notes = Notes()
    dataset = own_dataset(folder, progress=notes)
    dataset.split("validation", notes)
    assert notes.lines == ["4 of 4 questions of data/validation have more than 4 tokens and lose their ends"]


def test_gqa_in_parts(folder: Path) -> None:
    (folder / "train_questions.json").unlink()
    parts = folder / "train_all_questions"
    for number in (10, 2):
        write(parts / f"train_all_questions_{number}.json", gqa(5 if number == 2 else 8, 3))
    found = DataFolder(folder)
    assert found.splits["train"].files == tuple(parts / f"train_all_questions_{number}.json" for number in (2, 10))
    assert [question.id for question in found.parts["train"].questions] == ["005", "006", "007", "008", "009", "010"]
    assert found.format == GQA and found.parts["train"].questions[0].answers == ("blue",)
    dataset = own_dataset(folder)
    assert len(dataset.split("train")) == 6 and len(dataset.source["files"]) == 4
    write(parts / "train_all_questions_3.json", gqa(5, 1))
    with pytest.raises(InputError, match=r"train_all_questions_3\.json holds the question id '005' twice"):
        DataFolder(folder).parts  # noqa: B018
    write(folder / "train_questions.json", gqa(5, 1))
    with pytest.raises(InputError, match="has two files for train: train_all_questions and train_questions"):
        DataFolder(folder).parts  # noqa: B018


def test_clevr(tmp_path: Path) -> None:
    program = [{"function": "scene"}, {"function": "count"}]
    entry = {"image_filename": "CLEVR_train_000007.png", "question": "How many?", "answer": "3", "question_index": 4,
             "question_family_index": 12, "program": program, "split": "train"}  # fmt: skip
    path = write(
        tmp_path / "CLEVR_train_questions.json", {"info": {}, "questions": [entry, {**entry, "question_index": 5}]}
    )
    found = read_questions(path)
    assert found.format == CLEVR and found.answered
    question = found.questions[0]
    assert (question.id, question.image, question.main) == (4, "CLEVR_train_000007", "3")
    assert question.groups == ("count", "family 12")
    with pytest.raises(InputError, match="is in CLEVR's format, which has its answers inside"):
        read_questions(path, path)
    for wrong, said in (
        ({**entry, "question_index": 5, "image_filename": 7}, "image_filename should be a text"),
        ({**entry, "question_index": 5, "image_filename": ""}, "image_filename should be the name of a picture"),
        (entry, "holds the question_index 4 twice"),
    ):
        write(path, {"questions": [entry, wrong]})
        with pytest.raises(InputError, match=said):
            read_questions(path)


def test_an_object_is_read_entry_by_entry(tmp_path: Path) -> None:
    content = {f"k{n}": {"n": n, "text": 'ü"}{' * (n % 5), "long": "x" * (CHUNK // 3)} for n in range(12)}
    path = write(tmp_path / "a.json", json.dumps(content, ensure_ascii=False, indent=1))
    assert dict(stream_object(path)) == content
    entries = stream_object(path)
    assert next(entries)[0] == "k0"
    for text in ("{}", ' {"a" : 1 , "b": [2, 3]} \n'):
        assert dict(stream_object(write(path, text))) == json.loads(text)
    for broken in ("", "[1]", '{"a": 1', '{"a" 1}', '{"a": 1} x', '{"a": 1,}', "{5: 1}", '{"a": }', '{"a": nul'):
        with pytest.raises(InputError, match=r"a\.json is not readable JSON"):
            list(stream_object(write(path, broken)))
    with pytest.raises(InputError, match="does not exist"):
        list(stream_object(tmp_path / "none.json"))
    with pytest.raises(InputError, match="twice in one object"):
        read_parts([write(path, '{"1": {"question": "a", "question": "b", "imageId": 1}}')])
