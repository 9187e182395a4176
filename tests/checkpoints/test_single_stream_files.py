"""What the importers of UNITER and CLIP-ViL refuse, in one line that names the file and the key; and the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from edgevqa.checkpoints import load_checkpoint
from edgevqa.checkpoints.importers.kinds import import_checkpoint
from edgevqa.checkpoints.importers.layout import Settings
from edgevqa.cli.main import main
from edgevqa.errors import InputError, UsageError
from edgevqa.slimming.grid import grid
from tests.checkpoints.single_stream import GOLDEN

State = dict[str, Any]
QUERY = "uniter.encoder.layer.3.attention.self.query.weight"
BERT = "lxrt_encoder.model.bert"
VISUAL = f"{BERT}.encoder.visual_model.visual"


def published(name: str) -> State:
    return dict(torch.load(GOLDEN[name].file, weights_only=True))


def save(content: object, folder: Path) -> Path:
    torch.save(content, folder / "file.pt")
    return folder / "file.pt"


@pytest.mark.parametrize("name", ["uniter", "clip-vil"])
def test_ways_in_which_weights_are_saved(name: str, tmp_path: Path) -> None:
    golden = GOLDEN[name]
    state = {f"module.{key}": value for key, value in published(name).items()}
    if name == "clip-vil":  # CLIP's text side, which the authors load and skip
        state[f"module.{BERT}.encoder.visual_model.logit_scale"] = torch.tensor(1.0)
        state[f"module.{BERT}.encoder.visual_model.transformer.resblocks.0.ln_1.weight"] = torch.ones(4)
    path = save({"state_dict": state}, tmp_path)
    made = import_checkpoint(golden.kind, path, tmp_path / "made", settings=golden.settings)
    plain = import_checkpoint(golden.kind, golden.file, tmp_path / "plain", settings=golden.settings)
    assert made.sha256 == plain.sha256


def without(key: str) -> Callable[[State], Any]:
    return lambda state: state.pop(key)


def changed(key: str, change: Callable[[torch.Tensor], Any]) -> Callable[[State], Any]:
    return lambda state: state.update({key: change(state[key])})


def added(key: str) -> Callable[[State], Any]:
    return lambda state: state.update({key: torch.ones(3, 4)})


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("uniter", without(QUERY), rf"lacks the key '{QUERY}', .* shape \[48, 48\]"),
        ("uniter", changed(QUERY, lambda t: t[:-1]), rf"'{QUERY}' has the shape \[47, 48\]; .* \[48, 48\]"),
        ("uniter", added("extra.weight"), r"holds the key 'extra.weight' of the shape \[3, 4\]"),
        ("uniter", without("uniter.pooler.dense.weight"), r"lacks the key 'uniter.pooler.dense.weight'.* \[pooled"),
        ("uniter", changed("vqa_output.2.bias", lambda t: t.int()), "holds torch.int32 values"),
        ("clip-vil", without(f"{VISUAL}.bn2.running_var"), rf"lacks the key '{VISUAL}.bn2.running_var', .* \[2\]"),
        (
            "clip-vil",
            changed(f"{VISUAL}.layer3.0.downsample.1.bias", lambda t: t[:5]),
            rf"'{VISUAL}.layer3.0.downsample.1.bias' has the shape \[5\]; it should be \[64\]",
        ),
        (
            "clip-vil",
            changed(f"{VISUAL}.layer2.0.conv2.weight", lambda t: t[:, :3]),
            rf"'{VISUAL}.layer2.0.conv2.weight' has the shape \[8, 3, 3, 3\]; .* \[8, 8, 3, 3\]",
        ),
        (
            "clip-vil",
            without(f"{VISUAL}.layer4.0.conv3.weight"),
            r"lacks the key .*layer4.0.conv3.weight'.* \[128, 32,",
        ),
        (
            "clip-vil",
            without(f"{VISUAL}.layer4.0.conv1.weight"),
            r"lacks the key .*layer4.0.conv1.weight', .* \[channels",
        ),
        ("clip-vil", added(f"{VISUAL}.layer5.0.conv1.weight"), r"holds the key .*layer5.0.conv1.weight"),
        (
            "clip-vil",
            changed(f"{BERT}.encoder.visn_fc.visn_fc.weight", lambda t: t[:, :64]),
            "takes 64 features; the trunk makes 128",
        ),
    ],
)
def test_spoilt_weights_are_named(name: str, spoil: Callable[[State], Any], message: str, tmp_path: Path) -> None:
    state = published(name)
    spoil(state)
    path = save(state, tmp_path)
    with pytest.raises(InputError, match=message) as error:
        import_checkpoint(GOLDEN[name].kind, path, tmp_path / "made", settings=GOLDEN[name].settings)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()


def test_kinds_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has the layout of clip-vil, not of uniter"):
        import_checkpoint("uniter", GOLDEN["clip-vil"].file, tmp_path / "made")
    with pytest.raises(InputError, match="has the layout of uniter, not of mcan"):
        import_checkpoint("mcan", GOLDEN["uniter"].file, tmp_path / "made")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(heads=7), "--heads 7 does not divide the hidden size 48"),
        (Settings(heads=6), "with 6 heads .* does not fit BST's grid: .*--heads"),
        (Settings(question_length=65), "--question-length 65: .* takes 4 to 64 tokens"),
        (Settings(question_length=2), "--question-length 2: .* takes 4 to 64 tokens"),
    ],
)
def test_settings_that_do_not_fit(settings: Settings, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        import_checkpoint("uniter", GOLDEN["uniter"].file, tmp_path / "made", settings=settings)


def test_a_grid_beyond_the_positions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a grid of 3 x 26 tokens; the model has 25 positions"):
        import_checkpoint(
            "clip-vil", GOLDEN["clip-vil"].file, tmp_path / "made", settings=Settings(image_size=(96, 832))
        )


def test_a_model_of_other_depth_offers_itself_alone(tmp_path: Path) -> None:
    state = {key: value for key, value in published("uniter").items() if ".layer.11." not in key}
    made = import_checkpoint("uniter", save(state, tmp_path), tmp_path / "made", settings=GOLDEN["uniter"].settings)
    assert [plan.name for plan in grid(made.config, made.slimming)] == ["w1-d11"]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "what", "colo", "##ur", "is", "it", "?"]


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, Path]:
    """A vocab.txt and an answer list for CLIP-ViL's golden checkpoint."""
    vocabulary, answers = tmp_path / "vocab.txt", tmp_path / "answers.json"
    vocabulary.write_text("\n".join([*PIECES, *(f"[unused{number}]" for number in range(120 - len(PIECES)))]) + "\n")
    answers.write_text(json.dumps({f"answer-{number}": number for number in range(17)}))
    return vocabulary, answers


def test_import_export_and_ask(lists: tuple[Path, Path], tmp_path: Path) -> None:
    """A picture and its features give the same answer, from the artifacts' folders alone."""
    vocabulary, answers = lists
    given = ("--vocabulary", vocabulary, "--answers", answers, "--image-size", "96x160")
    picture, features = tmp_path / "picture.png", tmp_path / "features.npz"
    pixels = np.random.default_rng(3).integers(0, 256, (100, 250, 3), np.uint8)
    Image.fromarray(pixels).save(picture)
    replies = []
    for name, more in (("pixels", ()), ("features", ("--without-trunk",))):
        out, artifacts = tmp_path / name, tmp_path / "artifacts"
        result = run("import", "clip-vil", GOLDEN["clip-vil"].file, "--out", out, *given, *more)
        assert result.exit_code == 0, result.output
        assert "10 submodels" in result.stdout and "not asked" not in result.stderr
        from edgevqa.export.exporter import export_submodel

        model = load_checkpoint(out)
        (artifact,) = export_submodel(model, grid(model.config, model.slimming)[-1], formats=("onnx",), out=artifacts)
        if name == "pixels":
            from edgevqa.data.preprocessing import picture_inputs

            image = picture_inputs(picture, model.preprocessing)["image"]
            assert (
                image.shape == (1, 3, 96, 160) and (image[..., 64:, :] == 0).all() and (image[..., :64, :] != 0).all()
            )
            with torch.no_grad():
                grid_features = model.full_model().trunk(torch.from_numpy(image)).flatten(2).transpose(1, 2)
            np.savez(features, regions=grid_features[0].numpy())
        asked = picture if name == "pixels" else features
        result = run("ask", artifact.folder, asked, "What colour is it?", "--json")
        assert result.exit_code == 0, result.output
        replies.append(json.loads(result.stdout))
    assert replies[0]["answers"][0]["answer"] == replies[1]["answers"][0]["answer"]
    assert abs(replies[0]["answers"][0]["probability"] - replies[1]["answers"][0]["probability"]) < 1e-4
    assert replies[0]["unknown_words"] == []
    np.savez(features, regions=np.ones((14, 128), np.float32))
    result = run("ask", artifact.folder, features, "What colour is it?")
    assert result.exit_code == 2 and "14 grid features; this model takes 3 x 5" in result.stderr


def test_a_word_list_of_another_kind_is_refused(lists: tuple[Path, Path], tmp_path: Path) -> None:
    vocabulary, _ = lists
    lines = vocabulary.read_text().splitlines()
    for wrong, message in (
        (lines[:-1], "has 119 words; the checkpoint has 120"),
        (["what", *lines[1:]], r"begins with \[PAD\]"),
        ([*lines[:3], "other", *lines[4:]], r"lacks \[SEP\]"),
        ([*lines[:-1], "is"], "holds 'is' twice"),
    ):
        vocabulary.write_text("\n".join(wrong) + "\n")
        with pytest.raises(InputError, match=message):
            import_checkpoint(
                "clip-vil",
                GOLDEN["clip-vil"].file,
                tmp_path / "made",
                settings=GOLDEN["clip-vil"].settings,
                vocabulary=vocabulary,
            )


def test_a_picture_size_that_the_trunk_cannot_take() -> None:
    result = run("import", "clip-vil", GOLDEN["clip-vil"].file, "--image-size", "100x160")
    assert result.exit_code == 2 and "multiples of 32" in result.stderr
