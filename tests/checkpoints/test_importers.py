"""What an import reads, and what it refuses in one line that names the file and the key."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgevqa.checkpoints import Checkpoint, load_checkpoint
from edgevqa.checkpoints.importers.kinds import import_checkpoint
from edgevqa.checkpoints.importers.layout import Settings
from edgevqa.checkpoints.importers.mcan import LAYOUTS
from edgevqa.checkpoints.importers.mcan_bst import LAYOUT
from edgevqa.checkpoints.importers.reference import COUNT
from edgevqa.checkpoints.importers.words import read_answers, read_vocabulary
from edgevqa.cli.main import main
from edgevqa.errors import InputError, UsageError
from edgevqa.models.config import MCANConfig, RegionInput
from edgevqa.models.mcan import MCAN
from edgevqa.slimming.grid import grid
from tests.checkpoints import golden

State = dict[str, Any]
FC = "backbone.enc_list.2.ffn.mlp.fc.linear.weight"
SIZES = {"vocabulary_size": 30, "answer_count": 9, "question_length": 14, "word_size": 6, "norm": "unbiased"}


def published() -> State:
    content: State = torch.load(golden.WEIGHTS, weights_only=True)
    return content


def save(content: object, folder: Path, name: str = "file.pkl") -> Path:
    torch.save(content, folder / name)
    return folder / name


def weights_like(config: MCANConfig, layout: Any) -> tuple[MCAN, State]:
    """A random model, and its weights as another project would save them."""
    torch.manual_seed(1)
    model = MCAN(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.3, 0.3)
    return model, {layout.key(name): value.detach() for name, value in model.named_parameters()}


def equal_weights(made: Checkpoint, model: MCAN) -> None:
    for name, value in made.full_model().named_parameters():
        torch.testing.assert_close(value, dict(model.named_parameters())[name], rtol=0, atol=0)


def test_sizes_come_from_the_weights(imported: Checkpoint) -> None:
    described = json.loads((golden.FOLDER / "mcan_bst_tiny.json").read_text())
    config = imported.config
    assert (config.hidden, len(config.encoder), config.encoder[0].heads) == (64, 6, described["heads"])
    assert (config.vocabulary_size, config.answer_count) == (described["tokens"], described["answers"])
    assert (config.word_size, config.encoder[0].ffn) == (described["word_embed_size"], described["ff_size"])
    assert (config.pooling_hidden, config.pooled_size) == (described["flat_mlp_size"], described["flat_out_size"])
    assert config.image == RegionInput(golden.REGIONS, described["feature_size"])
    assert (config.norm, config.question_length, imported.dataset) == ("unbiased", 14, None)
    assert len(grid(config, imported.slimming)) == 10


def test_the_reference_is_padded_as_real_questions_are(imported: Checkpoint) -> None:
    with np.load(imported.reference_path) as stored:
        reference = {name: stored[name] for name in stored.files}
    assert "labels" not in reference and len(reference["question"]) == COUNT
    words, regions = (reference["question"] > 0).sum(1), reference["regions"].any(-1).sum(1)
    assert len(set(words)) > 5 and len(set(regions)) > 5
    assert ((reference["question_mask"][:, 0, 0] == 0).sum(1) == words).all()
    assert ((reference["region_mask"][:, 0, 0] == 0).sum(1) == regions).all()


@pytest.mark.parametrize("how", ["DataParallel", "legacy format", "the weights alone"])
def test_ways_in_which_weights_are_saved(how: str, imported: Checkpoint, tmp_path: Path) -> None:
    content = published()
    if how == "DataParallel":
        content["state_dict"] = {f"module.{key}": value for key, value in content["state_dict"].items()}
    elif how == "the weights alone":
        content = content["state_dict"]
    path = tmp_path / "file.pkl"
    torch.save(content, path, _use_new_zipfile_serialization=how != "legacy format")
    made = import_checkpoint("mcan-bst", path, tmp_path / "made", settings=Settings(regions=golden.REGIONS))
    assert made.sha256 == imported.sha256
    assert made.preprocessing["probabilities"] == "sigmoid"


def test_the_variant_for_gqa(tmp_path: Path) -> None:
    """No LayerNorm behind the picture's adapter, and boxes of 5 embedded and joined to the features."""
    image = RegionInput(20, 12, box_size=5, box_embedding=10, norm=False)
    config = MCANConfig.uniform(hidden=32, heads=8, layers=6, image=image, lstm_size=16, **SIZES)
    model, state = weights_like(config, LAYOUT)
    assert {"img_adapter.bbox_linear.weight", "img_adapter.frcn_linear.weight"} < set(state)
    assert "img_adapter.frcn_ln.weight" not in state
    path = save({"state_dict": state}, tmp_path)
    made = import_checkpoint("mcan-bst", path, tmp_path / "made", settings=Settings(regions=20))
    assert made.config == replace(config, question_length=29)
    assert "probabilities" not in made.preprocessing
    equal_weights(made, model)
    with np.load(made.reference_path) as stored:
        boxes, there = stored["boxes"], stored["region_mask"][:, 0, 0] == 0
    assert boxes.shape == (COUNT, 20, 5) and not boxes[~there].any()
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    np.testing.assert_allclose(boxes[..., 4], area, atol=1e-6)


ATTENTION = [f"linear_{part}" for part in ("v", "k", "q", "merge")]
ORIGINAL_KEYS = {
    *("embedding.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0"),
    *("proj_norm.a_2", "proj_norm.b_2"),
    *(
        f"{module}.{leaf}"
        for leaf in ("weight", "bias")
        for module in (
            "proj",
            *(f"{pool}.{p}" for pool in ("attflat_img", "attflat_lang") for p in ("mlp.fc.linear", "mlp.linear")),
            *("attflat_img.linear_merge", "attflat_lang.linear_merge"),
            *(f"backbone.{part}_list.0.ffn.mlp.{p}" for part in ("enc", "dec") for p in ("fc.linear", "linear")),
            *(f"backbone.enc_list.0.mhatt.{p}" for p in ATTENTION),
            *(f"backbone.dec_list.0.mhatt{number}.{p}" for number in (1, 2) for p in ATTENTION),
        )
    ),
    *(f"backbone.enc_list.0.norm{number}.{leaf}" for number in (1, 2) for leaf in ("a_2", "b_2")),
    *(f"backbone.dec_list.0.norm{number}.{leaf}" for number in (1, 2, 3) for leaf in ("a_2", "b_2")),
}


@pytest.mark.parametrize(
    ("layout", "boxes", "own_keys"),
    [
        ("MILVLG/mcan-vqa", 0, {"img_feat_linear"}),
        ("MILVLG/openvqa", 0, {"adapter.frcn_linear"}),
        ("MILVLG/openvqa", 5, {"adapter.frcn_linear", "adapter.bbox_linear"}),
        ("MILVLG/openvqa before its adapters", 5, {"frcnfeat_linear", "spatfeat_linear"}),
    ],
)
def test_the_original_mcan(layout: str, boxes: int, own_keys: set[str], tmp_path: Path) -> None:
    image = RegionInput(20, 12, box_size=boxes, box_embedding=2 * boxes, norm=False)
    config = MCANConfig.uniform(
        hidden=32, heads=8, layers=1, image=image, lstm_size=32, language_adapter=False, **SIZES
    )
    config = replace(config, pooling_hidden=16)
    model, state = weights_like(config, LAYOUTS[layout])
    assert set(state) == ORIGINAL_KEYS | {f"{key}.{leaf}" for key in own_keys for leaf in ("weight", "bias")}
    path = save({"state_dict": state}, tmp_path)
    made = import_checkpoint("mcan", path, tmp_path / "made", settings=Settings(regions=20))
    assert made.config == replace(config, question_length=29 if boxes else 14)
    equal_weights(made, model)
    assert [plan.name for plan in grid(made.config, made.slimming)] == ["w1-d1"]
    with pytest.raises(InputError, match="has the layout of mcan, not of mcan-bst"):
        import_checkpoint("mcan-bst", path, tmp_path / "wrong")


def without(key: str) -> Callable[[State], None]:
    return lambda state: state.pop(key)


def changed(key: str, change: Callable[[torch.Tensor], Any]) -> Callable[[State], None]:
    return lambda state: state.update({key: change(state[key])})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without(FC), r"lacks the key 'backbone.enc_list.2.ffn.mlp.fc.linear.weight', .* shape \[256, 64\]"),
        (without("embedding.weight"), r"lacks the key 'embedding.weight', .* shape \[words, word size\]"),
        (lambda state: state.update({"extra.weight": torch.ones(3, 4)}), r"holds the key 'extra.weight' .* \[3, 4\]"),
        (changed(FC, lambda t: t[:-1]), r"'backbone.enc_list.2.ffn.* the shape \[255, 64\]; .* \[256, 64\]"),
        (changed("embedding.weight", lambda t: t[0]), r"'embedding.weight' has the shape \[20\]; it should be \[words"),
        (changed(FC, lambda t: t * float("nan")), r"'backbone.enc_list.2.* holds NaN"),
        (changed(FC, lambda t: t.int()), r"'backbone.enc_list.2.* holds torch.int32 values"),
        (changed(FC, lambda t: 3), r"'backbone.enc_list.2.* is not a tensor but a value of type int"),
        (changed("proj.weight", lambda t: t[:1, :1].expand(10**9, 10**5)), r"'proj.weight' claims the shape"),
    ],
)
def test_spoilt_weights_are_named(spoil: Callable[[State], Any], message: str, tmp_path: Path) -> None:
    content = published()
    spoil(content["state_dict"])
    path = save(content, tmp_path)
    with pytest.raises(InputError, match=message) as error:
        import_checkpoint("mcan-bst", path, tmp_path / "made")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()


class Code:
    """Unpickled carelessly, it would leave a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("how", ["in the archive", "in the legacy format", "as a plain pickle"])
def test_a_file_with_code_in_it_is_refused_and_not_run(how: str, tmp_path: Path) -> None:
    content, path = {"state_dict": {"a": Code(tmp_path / "trace")}}, tmp_path / "file.pkl"
    if how == "as a plain pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "in the archive")
    with pytest.raises(InputError, match="holds more than weights") as error:
        import_checkpoint("mcan-bst", path, tmp_path / "made")
    assert "mkdir" in str(error.value) or how == "as a plain pickle"
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("kept", [0, 100, 1_000_000])
def test_a_truncated_file_is_refused(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(golden.WEIGHTS.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"file.pkl is not a whole PyTorch file|holds more than weights"):
        import_checkpoint("mcan-bst", path, tmp_path / "made")


@pytest.mark.parametrize(
    ("heads", "message"),
    [(7, "--heads 7 does not divide the hidden size 64"), (2, "with 2 heads .* does not fit BST's grid: .*--heads")],
)
def test_wrong_heads(heads: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        import_checkpoint("mcan-bst", golden.WEIGHTS, tmp_path / "made", settings=Settings(heads=heads))


def test_what_else_is_there_is_not_overwritten(imported: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="was not made by an import"):
        import_checkpoint("mcan-bst", golden.WEIGHTS, tmp_path)
    with pytest.raises(UsageError, match="no kind of checkpoint 'bert'; there are mcan-bst, mcan"):
        import_checkpoint("bert", golden.WEIGHTS, tmp_path / "made")
    again = import_checkpoint("mcan-bst", golden.WEIGHTS, imported.folder, settings=Settings(regions=golden.REGIONS))
    assert again.sha256 == imported.sha256


WORDS = ["PAD", "UNK", "CLS", *(f"w{number}" for number in range(297))]
ANSWERS = [f"a{number}" for number in range(40)]
TO_NUMBER = {word: number for number, word in enumerate(WORDS)}
ANSWER_DICT = [{a: n for n, a in enumerate(ANSWERS)}, {str(n): a for n, a in enumerate(ANSWERS)}]


def write(content: object, folder: Path) -> Path:
    path = folder / "list.json"
    path.write_text(json.dumps(content))
    return path


def test_word_and_answer_lists_of_the_projects(tmp_path: Path) -> None:
    shuffled = dict(sorted(TO_NUMBER.items()))
    for content in (WORDS, TO_NUMBER, shuffled, [*ANSWER_DICT, TO_NUMBER, 29]):
        assert list(read_vocabulary(write(content, tmp_path), 300).words) == WORDS
    for answers in (ANSWERS, ANSWER_DICT[0], ANSWER_DICT, [*ANSWER_DICT, TO_NUMBER, 29]):
        assert list(read_answers(write(answers, tmp_path), 40)) == ANSWERS
    original = ["PAD", "UNK", "what"]  # mcan-vqa's list has no CLS
    assert read_vocabulary(write(original, tmp_path), 3).encode("what now", 3).tokens.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_vocabulary, WORDS[:-1], "has 299 words; the checkpoint has 300"),
        (read_vocabulary, [*WORDS[:-1], "w0"], "holds 'w0' 2 times"),
        (read_vocabulary, WORDS[::-1], "begins with PAD, UNK"),
        (read_vocabulary, {**TO_NUMBER, "w0": 299}, "the number 3 is missing"),
        (read_vocabulary, {"PAD": "0"}, "neither a list of texts nor a table"),
        (read_answers, {}, "has 0 answers; the checkpoint has 40"),
        (read_answers, [ANSWER_DICT[0], {**ANSWER_DICT[1], "3": "other"}], "two tables contradict each other"),
        (read_answers, 3, "neither a list of texts nor a table"),
    ],
)
def test_broken_lists(read: Callable[..., Any], content: object, message: str, tmp_path: Path) -> None:
    path = write(content, tmp_path)
    with pytest.raises(InputError, match=message) as error:
        read(path, 300 if read is read_vocabulary else 40)
    assert str(path) in str(error.value)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command(tmp_path: Path) -> None:
    words, out = tmp_path / "token_to_ix.json", tmp_path / "tiny"
    words.write_text(json.dumps(TO_NUMBER))
    answers = write(ANSWER_DICT, tmp_path)
    given = ("import", "mcan-bst", golden.WEIGHTS, "--out", out, "--regions", golden.REGIONS, "--vocabulary", words)
    result = run(*given, "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert (printed["missing"], printed["parameters"], len(printed["submodels"])) == (["answers"], 765_466, 10)
    result = run(*given, "--answers", answers)
    assert result.exit_code == 0, result.output
    assert "765,466 parameters, 10 submodels" in result.stdout and "not asked" not in result.stderr
    made = load_checkpoint(out)
    assert (made.vocabulary.words[-1], made.answers[-1], made.missing) == ("w296", "a39", ())
    result = run("import", "mcan-bst", tmp_path / "absent.pkl")
    assert result.exit_code == 2 and "absent.pkl does not exist" in result.stderr


def test_only_a_model_with_its_lists_can_be_asked(imported: Checkpoint, tmp_path: Path) -> None:
    from edgevqa.answering import answer
    from edgevqa.export.exporter import export_submodel

    features = tmp_path / "features.npz"
    np.savez(features, regions=np.ones((3, 32), np.float32))
    plan = grid(imported.config, imported.slimming)[0]
    (artifact,) = export_submodel(imported, plan, formats=("onnx",), out=tmp_path / "without")
    with pytest.raises(InputError, match=r"without its vocabulary and answers, .* --vocabulary and --answers"):
        answer(artifact.folder, features, "what is w1")
    made = import_checkpoint(
        "mcan-bst", golden.WEIGHTS, tmp_path / "tiny", settings=Settings(regions=golden.REGIONS),
        vocabulary=write(WORDS, tmp_path), answers=_answer_file(tmp_path),
    )  # fmt: skip
    (artifact,) = export_submodel(made, plan, formats=("onnx",), out=tmp_path / "with")
    reply = answer(artifact.folder, features, "what is w1")
    assert {text for text, _ in reply.ranked} == set(ANSWERS) and reply.unknown == ("what", "is")


def _answer_file(folder: Path) -> Path:
    path = folder / "answer_dict.json"
    path.write_text(json.dumps(ANSWER_DICT))
    return path


def test_info_knows_published_models_by_their_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed = json.loads(run("info", "mcan-bst", "--json").stdout)
    assert [row["parameters"] for row in printed["submodels"]][:: len(printed["submodels"]) - 1] == [
        9_534_263,
        58_077_495,
    ]
    import_checkpoint("mcan-bst", golden.WEIGHTS, Path("mcan-bst"))
    printed = json.loads(run("info", "mcan-bst", "--json").stdout)
    assert printed["submodels"][-1]["parameters"] == 765_466, "a folder of that name comes first"
