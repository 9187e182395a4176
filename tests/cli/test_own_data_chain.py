"""Data of one's own through the whole chain, from the command line alone: train, export, evaluate, ask."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from edgevqa.checkpoints import load_checkpoint
from edgevqa.data.folder import DataFolder
from edgevqa.data.vqa_accuracy import official_accuracy
from tests.cli.conftest import Program, call, says
from tests.data.own_folder import make_gqa, make_vqa

SMALL = ("--hidden", 16, "--heads", 4, "--layers", 2, "--teacher-steps", 2, "--student-steps", 1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path / "cache"))
    return {"EDGEVQA_CACHE": str(tmp_path / "cache")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "kind", "loss", "formats"),
    [(make_vqa, "VQA accuracy", "sigmoid", "onnx,tflite"), (make_gqa, "accuracy", "softmax", "onnx")],
)
def test_from_a_folder_to_an_answer(tmp_path: Path, program: Program, cache: dict[str, str], make, kind, loss, formats):
    data = make(tmp_path / "data")
    trained = program.json("train", "--data", "data", *SMALL, "--out", "mine", cwd=tmp_path, **cache)
    assert trained["score"] == kind and len(trained["scores"]) == 8
    made = load_checkpoint(tmp_path / "mine")
    assert (made.name, made.score_kind, made.training["student"]["loss"]) == ("mine", kind, loss)
    assert made.training["command"].startswith("edgevqa train --data data --hidden 16")
    card = (tmp_path / "mine" / "card.md").read_text()
    assert f"{kind} %" in card and ("| yes/no |" in card) == (kind == "VQA accuracy")

    smallest = ("--width", "1/4", "--depth", 1, "--precision", "fp32,int8", "--format", formats)
    exported = program.json("export", "--model", "mine", *smallest, cwd=tmp_path, **cache)
    assert {entry["status"] for entry in exported} == {"passed"}
    assert {entry["score"]["kind"] for entry in exported} == {kind}

    data.rename(tmp_path / "moved")
    refused = program("evaluate", cwd=tmp_path, **cache)
    says(refused, 2, "is gone; where it was moved to is said with --data")
    scored = program.json("evaluate", "--data", "moved", cwd=tmp_path, **cache)["verdicts"]
    assert len(scored) == len(exported)
    for entry in scored:
        score = entry["score"]
        assert entry["status"] in ("passed", "failed") and score["kind"] == kind and score["full"]
        assert 0 <= score["percent"] <= 100 and math.isfinite(score["standard_error"])
        if "fp32" in entry["artifact"]:
            assert score["percent"] == pytest.approx(score["fp32_percent"])
            assert score["percent"] == pytest.approx(made.scores["w0.25-d1"], abs=1e-3)
            assert entry["status"] == "passed"

    in_torch = ("--runtime", "torch", "--model", "mine", "--width", "1/4", "--depth", 1, "--scheduler", "none")
    found = program.json("evaluate", *in_torch, "--data", "moved", cwd=tmp_path, **cache)["submodels"]
    assert found[0]["score"]["kind"] == kind
    assert found[0]["score"]["percent"] == pytest.approx(made.scores["w0.25-d1"], abs=1e-3)

    picture = next((tmp_path / "moved" / "images").rglob("*.png"))
    artifact = Path(exported[0]["folder"])
    asked = program.json(
        "ask", artifact, picture, "how many red circles are there?", "--top", 99, cwd=tmp_path, **cache
    )
    assert asked["answers"][0]["answer"] in made.answers
    together = sum(entry["probability"] for entry in asked["answers"])
    assert (made.preprocessing.get("probabilities") == "sigmoid") == (kind == "VQA accuracy")
    assert together == pytest.approx(1) if kind == "accuracy" else 0 < together < len(made.answers)

    split = "test2014" if kind == "VQA accuracy" else "testdev"
    predicted = program.json("predict", artifact, "--data", "moved", "--split", split, cwd=tmp_path, **cache)
    results = json.loads((tmp_path / "results.json").read_text())
    questions = DataFolder(tmp_path / "moved").parts["test"].questions
    names = ("question_id", "answer") if kind == "VQA accuracy" else ("questionId", "prediction")
    assert [entry[names[0]] for entry in results] == [question.id for question in questions]
    given = {entry[names[0]]: entry[names[1]] for entry in results}
    assert predicted["score"] == {"percent": round(scored[0]["score"]["percent"], 2), "kind": kind}
    if kind == "VQA accuracy":
        official = official_accuracy(
            given,
            {question.id: question.answers for question in questions},
            {question.id: question.groups[0] for question in questions},
            {question.id: question.groups[1] for question in questions},
        )
        assert predicted["score"]["percent"] == official.overall
        assert predicted["groups"] == {
            "question type": official.by_question_type,
            "answer type": official.by_answer_type,
        }
    else:
        hidden = program.json("predict", artifact, "--data", "moved", "--split", "test", cwd=tmp_path, **cache)
        assert hidden["score"] is None and hidden["questions"] == len(questions)

    people = program("evaluate", artifact, "--data", "moved", cwd=tmp_path, **cache)
    assert kind in people.stdout and people.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("scenes", "--data", "data"), "train on scenes or on --data data, not on both"),
        (("scenes", "--picture", "pixels"), "go with --data"),
        (("--data", "nowhere"), "nowhere is not a folder"),
        (("--data", "data", "--picture", "sound"), "a picture cannot be given as 'sound'; there are"),
        (("--data", "data", "--picture", "features"), "has no folder features/"),
        (("--data", "data", "--hidden", 20), "8 heads do not go with a hidden size of 20"),
        (("--data", "data", "--heads", 6, "--hidden", 60), "6 heads do not go with"),
        (("--data", "data", "--out", "no name!"), "should be a name of letters"),
        (("--data", "data", "--answers", "data/none.json"), "none.json does not exist"),
    ],
)
def test_trainings_that_make_no_sense(tmp_path: Path, cache, monkeypatch, arguments: tuple[object, ...], said: str):
    make_vqa(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    says(call("train", *arguments), 2, said)
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "cache"}


def test_a_command_says_json_errors(tmp_path: Path, cache, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train_questions.json").write_text("{")
    result = call("train", "--data", "data", "--json")
    assert result.exit_code == 2 and "not readable JSON" in json.loads(result.stdout)["error"]
