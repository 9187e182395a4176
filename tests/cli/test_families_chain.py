"""UNITER and CLIP-ViL from the command line alone: train, export, gate, evaluate, ask."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from edgevqa.checkpoints import load_checkpoint
from edgevqa.checkpoints.choice import Wanted, choose
from edgevqa.checkpoints.make import make_checkpoint
from edgevqa.data.word_pieces import SPECIAL
from edgevqa.progress import Silent
from edgevqa.training.loop import Milestones
from edgevqa.training.recipe import Recipe
from tests.checkpoints.test_bert_start import HIDDEN, LAYERS, PIECES, bert
from tests.cli.conftest import call, says

SIZES = ("--hidden", 16, "--heads", 4, "--layers", 2)
STEPS = ("--batch", 8, "--teacher-steps", 2, "--student-steps", 1)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `data` in it: plain pictures, and their regions as UNITER keeps them."""
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "features").mkdir()
    random = np.random.default_rng(0)
    for split, first in (("train", 0), ("val", 100), ("test", 200)):
        entries = {}
        for number in range(first, first + 12):
            name = list(COLOURS)[number % 3]
            Image.new("RGB", (40, 30), COLOURS[name]).save(data / "images" / f"n{number}.png")
            corners = np.sort(random.random((3, 2, 2)), axis=1).reshape(3, 4).astype(np.float32)
            size = corners[:, 2:] - corners[:, :2]
            boxes = np.concatenate([corners, size, size.prod(axis=1, keepdims=True)], axis=1)
            features = random.random((3, 6)).astype(np.float32) + np.eye(6, dtype=np.float32)[number % 3]
            np.savez(data / "features" / f"n{number}.npz", features=features, norm_bb=boxes)
            entries[f"q{number}"] = {"question": "What colour is it?", "imageId": f"n{number}", "answer": name}
        (data / f"{split}_questions.json").write_text(json.dumps(entries))
    return tmp_path


def done(*arguments: object) -> dict:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "picture", "format"),
    [
        ("uniter", ("--picture", "features", "--regions", 5), "tflite"),
        ("clip-vil", ("--picture", "pixels", "--side", 32), "onnx"),
    ],
)
def test_from_a_folder_to_an_answer(folder: Path, family: str, picture: tuple[object, ...], format: str) -> None:
    asked_for = ("--data", "data", "--family", family, *picture, *SIZES, *STEPS)
    trained = done("train", *asked_for, "--out", "mine")
    assert list(trained["scores"]) == [f"w{width}-d{depth}" for width in ("0.25", "0.5", "0.75", "1") for depth in "12"]
    made = load_checkpoint(folder / "mine")
    assert made.config.family == family and made.config.hidden == 16 and made.training["student"]["grounding"] == 0
    assert made.preprocessing["question"] == {"rule": "word-pieces", "length": 7, "lower_case": True}
    assert made.training["command"] == " ".join(map(str, ("edgevqa", "train", *asked_for)))
    assert {"uniter": "A slimmable UNITER", "clip-vil": "A slimmable CLIP-ViL"}[family] in (
        folder / "mine" / "card.md"
    ).read_text()

    smallest = ("--width", "1/4", "--depth", 1, "--format", format, "--precision", "fp32,int8")
    exported = done("export", "--model", "mine", *smallest)
    assert [entry["status"] for entry in exported] == ["passed", "passed"]
    scored = done("evaluate", "--model", "mine", "--scheduler", "none")["verdicts"]
    assert all(entry["score"]["full"] and entry["score"]["count"] == 12 for entry in scored)
    assert scored[0]["score"]["percent"] == pytest.approx(made.scores["w0.25-d1"], abs=1e-3)

    shown = "data/features/n200.npz" if family == "uniter" else "data/images/n200.png"
    given = next(entry["folder"] for entry in exported if "fp32" in entry["folder"])
    asked = done("ask", given, shown, "what colour is that?")
    assert asked["answers"][0]["answer"] in COLOURS
    predicted = done("predict", given, "--data", "data", "--split", "test", "--out", "results.json")
    assert predicted["score"]["percent"] == pytest.approx(scored[0]["score"]["percent"], abs=0.01)
    assert call("info", "./mine").exit_code == 0


def test_a_stopped_run_that_starts_from_a_language_model_ends_with_the_same_weights(folder: Path) -> None:
    language = folder / "language"
    language.mkdir()
    weights = bert()
    save_file(weights, language / "model.safetensors")
    words = [*SPECIAL, *"abcdehilorstuw?", "what", *(f"##{letter}" for letter in "abcdehilorstuw")]
    (language / "vocab.txt").write_text("\n".join(words[:PIECES]) + "\n")
    wanted = Wanted("uniter", start=language, picture="features", heads=4)
    choice = choose(wanted, data=folder / "data", progress=Silent())
    assert choice.preset.hidden == HIDDEN and choice.preset.layers == LAYERS
    assert choice.dataset.vocabulary.words == tuple(words[:PIECES])
    assert choice.preset.teacher.optimizer == "adamw", "what the language model knows must not be forgotten"
    still = Recipe(steps=1, batch=8, learning_rate=0.0, weight_decay=0.0)

    def run(out: str, stop_at: str = "", **recipes: Recipe) -> dict[str, torch.Tensor]:
        def tell(line: str) -> None:
            if stop_at and stop_at in line:
                raise KeyboardInterrupt

        recipe = Recipe(steps=3, batch=8, warmup=1)
        preset = replace(choice.preset, **{"teacher": recipe, "student": recipe, **recipes})
        made = make_checkpoint(
            choice.dataset, preset, folder / out, slimming=choice.slimming, start=choice.start, tell=tell,
            milestones=Milestones(save=1, tell=1, evaluate=10),
        )  # fmt: skip
        assert made is not None and made.training["start"].startswith("the language model `model.safetensors` (sha256 ")
        return made.parameters()

    unchanged = run("still", teacher=still, student=still)
    stored = weights["encoder.layer.2.intermediate.dense.weight"]
    assert torch.equal(unchanged["encoder.2.ffn.inner.weight"], stored)
    assert "starts from the language model" in (folder / "still" / "card.md").read_text()
    whole = run("whole")
    for stop_at in ("teacher step 2/3", "student step 2/3"):
        with pytest.raises(KeyboardInterrupt):
            run("parts", stop_at)
    parts = run("parts")
    assert whole.keys() == parts.keys() and not torch.equal(whole["text.words.weight"], unchanged["text.words.weight"])
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("easy-vqa", "--family", "uniter"),
            "uniter takes plain-regions or features or grid, and easy-vqa gives",
        ),
        (
            ("--data", "data", "--family", "clip-vil", "--picture", "pixels", "--side", 80),
            "both should be multiples of 32",
        ),
        (("--data", "data", "--family", "clip-vil"), "has 3 features a picture, which are no 1 x 1; --grid says"),
        (("--data", "data", "--family", "clip-vil", "--grid", "3y1"), "should be rows and columns, such as 12x20"),
        (("--data", "data", "--start", "data"), "--start is for uniter and clip-vil"),
        (
            ("--data", "data", "--family", "uniter", "--start", "data"),
            "data holds no language model: neither model",
        ),
        (("--data", "data", "--family", "uniter", "--start", "data", "--hidden", 8), "brings its own hidden size"),
        (
            ("--data", "data", "--family", "uniter", "--vocabulary", "none.txt"),
            "none.txt is not a readable list of",
        ),
        (("scenes", "--side", 64), "go with --data; --side was given without"),
        (("scenes", "--vocabulary", "words.json"), "go with --data; --vocabulary was given without"),
    ],
)
def test_wishes_that_do_not_go_together(folder: Path, arguments: tuple[object, ...], said: str) -> None:
    says(call("train", *arguments), 2, said)
    assert {path.name for path in folder.iterdir()} <= {"data", "cache"}


def test_word_pieces_that_are_no_words(folder: Path) -> None:
    (folder / "vocab.txt").write_text("what\n[PAD]\n")
    says(
        call("train", "--data", "data", "--family", "uniter", "--vocabulary", "vocab.txt"),
        2,
        "vocab.txt: a list of word pieces begins with [PAD]",
    )
