"""Published checkpoints with data on disk: imported, scored, exported and gated from the command line alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevqa.checkpoints import load_checkpoint
from edgevqa.data.word_pieces import SPECIAL
from tests.cli.conftest import call, says

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
ANSWERS = {"mcan-bst": 40, "uniter": 31, "clip-vil": 17}
PIECES = {"uniter": 200, "clip-vil": 120}
FEATURES = {"mcan-bst": 32, "uniter": 24}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_data(folder: Path, kind: str) -> tuple[object, ...]:
    """A folder in VQA-v2's format without training questions, and lists as the project has them."""
    random = np.random.default_rng(1)
    data = folder / "vqa"
    questions, annotations = [], []
    for number in range(12):
        question = {"question_id": number, "image_id": number % 5, "question": f"is it word {number}?"}
        questions.append(question)
        given = f"answer {number}" if kind == "mcan-bst" else f"answer-{number}"
        annotations.append({"question_id": number, "answers": [{"answer": given}] * 4 + [{"answer": "no"}] * 6})
    for word, entries in (("questions", questions), ("annotations", annotations)):
        (data / word).mkdir(parents=True)
        (data / word / f"v2_val2014_{word}.json").write_text(json.dumps({word: entries}))
    for number in range(5):
        name = f"COCO_val2014_{number:012d}.jpg"
        if kind == "clip-vil":
            (data / "images").mkdir(exist_ok=True)
            Image.fromarray(random.integers(0, 256, (60, 90, 3), np.uint8)).save(data / "images" / name)
            continue
        (data / "features").mkdir(exist_ok=True)
        count = 6 + number
        boxes = np.sort(random.random((count, 2, 2)), axis=1).reshape(count, 4) * 90
        features = random.random((FEATURES[kind], count)).astype(np.float32)
        np.savez(data / "features" / f"{name}.npz", x=features, bbox=boxes, image_h=100, image_w=100)
    answers = [f"answer {n}" if kind == "mcan-bst" else f"answer-{n}" for n in range(ANSWERS[kind])]
    (folder / "answers.json").write_text(json.dumps({answer: number for number, answer in enumerate(answers)}))
    if kind == "mcan-bst":
        words = ["PAD", "UNK", "CLS", "is", "it", "word", *map(str, range(294))]
        (folder / "words.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
        return ("--vocabulary", "words.json", "--answers", "answers.json")
    pieces = [*SPECIAL, "is", "it", "word", "?", *map(str, range(PIECES[kind] - 8))]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return ("--vocabulary", "vocab.txt", "--answers", "answers.json")


def done(*arguments: object) -> object:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "file", "more"),
    [
        ("mcan-bst", "mcan_bst_tiny.pkl", ("--heads", 8, "--regions", 24)),
        ("uniter", "uniter_tiny.pt", ("--heads", 4, "--regions", 20)),
        ("clip-vil", "clip_vil_tiny.pth", ("--heads", 4, "--image-size", "96x160")),
    ],
)
def test_a_published_model_is_scored_on_data_on_disk(folder: Path, kind: str, file: str, more: tuple[object, ...]):
    lists = make_data(folder, kind)
    done("import", kind, GOLDEN / file, *more, *lists, "--data", "vqa", "--out", "known")
    model = load_checkpoint(folder / "known")
    assert model.dataset is not None and (model.dataset["name"], model.score_kind) == ("vqa", "VQA accuracy")
    exported = done("export", "--model", "known", "--width", "1/4", "--depth", "1/6", "--format", "onnx")
    assert [(entry["status"], entry["score"]["questions"]) for entry in exported] == [
        ("passed", "the reference questions")
    ]
    (scored,) = done("evaluate", "--model", "known", "--scheduler", "none")["verdicts"]
    assert scored["score"]["full"] and scored["score"]["count"] == 12 and scored["status"] == "passed"

    done("import", kind, GOLDEN / file, *more, *lists, "--out", "plain")
    one = ("--runtime", "torch", "--width", "1/4", "--depth", "1/6", "--scheduler", "none")
    says(call("evaluate", "--model", "plain", *one), 2, "names no dataset to be scored on; --data names a folder")
    found = done("evaluate", "--model", "plain", *one, "--data", "vqa")["submodels"]
    assert found[0]["score"]["kind"] == "VQA accuracy"
    assert found[0]["score"]["percent"] == pytest.approx(scored["score"]["percent"])

    done("import", kind, GOLDEN / file, *more, "--out", "unnamed")
    says(
        call("evaluate", "--model", "unnamed", *one, "--data", "vqa"), 2, "imported without its vocabulary and answers"
    )
    says(
        call("import", kind, GOLDEN / file, *more, "--data", "vqa", "--out", "x"), 2, "give --vocabulary and --answers"
    )
