"""Checkpoint folders: what is saved comes back, and what is broken is an error that names file and entry."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgevqa.checkpoints import Checkpoint, bundled_names, load_checkpoint
from edgevqa.checkpoints.native import save_checkpoint
from edgevqa.data.text import Vocabulary
from edgevqa.errors import EnvironmentFailure, InputError, UsageError
from edgevqa.models.config import MCANConfig, RegionInput, input_specs
from edgevqa.models.initialisation import initialise
from edgevqa.models.mcan import MCAN
from edgevqa.slimming.grid import MCAN_BST, bst_plan, full_plan, grid
from edgevqa.slimming.slicer import slice_model
from tests.conftest import fill

CONFIG = MCANConfig.uniform(
    hidden=16,
    heads=8,
    layers=6,
    image=RegionInput(3, 4, box_size=5),
    vocabulary_size=6,
    answer_count=3,
    question_length=4,
    word_size=5,
    lstm_size=7,
)


def described(folder: Path) -> Checkpoint:
    return Checkpoint(
        name="tiny",
        folder=folder,
        config=CONFIG,
        slimming=MCAN_BST,
        preprocessing={"question": {"rule": "openvqa", "length": 4}},
        vocabulary=Vocabulary(("PAD", "UNK", "CLS", "a", "is", "ünter")),
        answers=("yes", "no", "red"),
        dataset={"name": "toys", "version": 1, "seed": 0},
        trained=True,
        scores={"w1-d6": 71.5},
        floors={"majority": 40.0},
        training={"command": "by hand"},
    )


def model(seed: int = 0) -> MCAN:
    made = MCAN(CONFIG)
    initialise(made, seed)
    return made.eval()


def reference(count: int = 4) -> dict[str, np.ndarray]:
    inputs = {spec.name: np.zeros((count, *spec.shape[1:]), spec.dtype) for spec in input_specs(CONFIG)}
    return {**inputs, "labels": np.zeros(count, np.int64), "texts": np.array(["is a"] * count)}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_checkpoint(described(folder), dict(model().state_dict()), reference(), "# tiny\n")
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def test_what_is_saved_comes_back(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    assert loaded == described(folder)
    weights = loaded.parameters()
    assert all(torch.equal(weights[name], value) for name, value in model().state_dict().items())
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "answers.json", "card.md", "config.json", "model.safetensors", "reference/questions.npz", "vocabulary.json",
    ]  # fmt: skip
    with np.load(loaded.reference_path, allow_pickle=False) as stored:
        assert set(stored.files) == set(reference())


def test_submodels_are_those_of_the_full_model(folder: Path) -> None:
    loaded, plan = load_checkpoint(folder), bst_plan(CONFIG, MCAN_BST, MCAN_BST.widths[0], 2)
    sliced, expected = loaded.submodel(plan).state_dict(), slice_model(model(), plan).state_dict()
    assert sliced.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in sliced.items())
    whole = loaded.submodel(full_plan(CONFIG, MCAN_BST)).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in loaded.full_model().state_dict().items())


def test_half_precision_weights_are_read_as_fp32(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: value.half() for name, value in weights.items()}, folder / "model.safetensors")
    assert {value.dtype for value in load_checkpoint(folder).parameters().values()} == {torch.float32}


def change_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path) | {name.replace("__", "."): value for name, value in changes.items()}
    save_file({name: value for name, value in weights.items() if value is not None}, path)


def test_a_missing_tensor_is_named_with_its_shape(folder: Path) -> None:
    change_weights(folder, classifier__weight=None)
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder).parameters()
    assert str(caught.value) == (
        f"{folder / 'model.safetensors'} lacks the tensor 'classifier.weight', which should have the shape [3, 32]"
    )


def test_a_tensor_of_a_wrong_shape_is_named_with_both_shapes(folder: Path) -> None:
    change_weights(folder, classifier__weight=torch.zeros(3, 31))
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder).full_model()
    assert str(caught.value) == (
        f"{folder / 'model.safetensors'}: the tensor 'classifier.weight' has the shape [3, 31]; "
        "by config.json it should have [3, 32]"
    )


def test_an_unknown_tensor_is_named(folder: Path) -> None:
    change_weights(folder, wings__weight=torch.zeros(2))
    with pytest.raises(InputError, match=r"model\.safetensors holds the tensor 'wings\.weight'"):
        load_checkpoint(folder).submodel(grid(CONFIG, MCAN_BST)[0])


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_weights_are_refused(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"model\.safetensors is not a whole safetensors file"):
        load_checkpoint(folder).parameters()


class Harmful:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("writer", [pickle.dumps, None])
def test_a_pickle_in_the_place_of_weights_is_refused_and_never_run(folder: Path, writer: Any) -> None:
    trap, path = folder / "trap", folder / "model.safetensors"
    if writer is None:
        torch.save({"classifier.weight": Harmful(trap)}, path)
    else:
        path.write_bytes(writer(Harmful(trap)))
    with pytest.raises(InputError, match="is not a whole safetensors file"):
        load_checkpoint(folder).parameters()
    assert not trap.exists()


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "answers.json", "model.safetensors"])
def test_missing_files_are_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UsageError, match=name.replace(".", r"\.")):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "answers.json"])
@pytest.mark.parametrize("content", ["{", "", "3", "null", '{"a": 1}', "[1, 2, 3]", "\x00"])
def test_files_that_hold_something_else_are_named(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        load_checkpoint(folder)


def change_config(folder: Path, *path: str | int, value: Any = None, remove: bool = False) -> None:
    file = folder / "config.json"
    described = json.loads(file.read_text())
    place = described
    for key in path[:-1]:
        place = place[key]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    file.write_text(json.dumps(described))


@pytest.mark.parametrize(
    "key", ["name", "model", "slimming", "preprocessing", "dataset", "trained", "scores", "floors", "training"]
)
def test_missing_entries_are_named(folder: Path, key: str) -> None:
    change_config(folder, key, remove=True)
    with pytest.raises(InputError, match=rf"config\.json lacks the entry '{key}'"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("schema_version",), 2, "is not a checkpoint of schema 1"),
        (("name",), "../outside", "'name' should be a name"),
        (("name",), "", "'name' should be a name"),
        (("name",), 7, "'name' should be a name"),
        (("model",), [], "'model' should be an object"),
        (("model", "hidden"), "16", "model.hidden should be a whole number, not '16'"),
        (("model", "hidden"), -16, "model.hidden should be a whole number, not -16"),
        (("model", "encoder", 0, "heads"), 1.5, r"model.encoder\[0\].heads should be a whole number"),
        (("model", "family"), "bert", "the model family 'bert' is not known"),
        (("model", "image", "kind"), "sound", "the image input 'sound' is not known"),
        (("slimming",), {}, "the slimming rules are incomplete"),
        (("slimming", "widths"), ["1/0"], "the slimming rules are incomplete"),
        (("slimming", "widths"), [], "slimming.widths should be fractions from 0 to 1, not nothing"),
        (("slimming", "depths"), ["3/2"], "slimming.depths should be fractions from 0 to 1, not 3/2"),
        (("slimming", "layer_order"), {}, "layer_order.encoder should name each of the layers 0 to 5 once"),
        (("slimming", "layer_order", "decoder"), [0, 0, 1, 2, 3, 4], "layer_order.decoder should name each"),
        (("trained",), "false", "'trained' should be true or false"),
        (("dataset",), "scenes", "'dataset' should be an object or null"),
        (("scores",), {"w1-d6": "high"}, "'scores' should be an object of numbers"),
    ],
)
def test_wrong_entries_are_named(folder: Path, path: tuple[str | int, ...], value: Any, said: str) -> None:
    change_config(folder, *path, value=value)
    with pytest.raises(InputError, match=rf"config\.json.*{said}"):
        load_checkpoint(folder)


def test_sizes_that_no_weights_can_have_are_refused_before_memory_is_taken(folder: Path) -> None:
    change_config(folder, "model", "hidden", value=10**9)
    with pytest.raises(InputError, match=r"model\.safetensors: the tensor .* by config\.json it should have"):
        load_checkpoint(folder).parameters()
    change_config(folder, "model", "hidden", value=10**30)
    with pytest.raises(InputError, match=r"config\.json: there is no model of these sizes"):
        load_checkpoint(folder).parameters()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vocabulary.json", ["PAD", "UNK", "CLS", "a", "is"], "vocabulary.json has 5 words; by config.json .* has 6"),
        ("answers.json", ["yes", "no", "red", "blue"], "answers.json has 4 answers; by config.json .* has 3"),
    ],
)
def test_vocabularies_of_another_length_are_refused(folder: Path, name: str, content: list[str], said: str) -> None:
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        load_checkpoint(folder)


def test_an_unknown_name_is_an_error_that_names_the_bundled_models(tmp_path: Path) -> None:
    for name in ("no-such-model", "x" * 5000, "a\0b", str(tmp_path)):
        with pytest.raises(UsageError, match=r"is neither a bundled model \(.*scenes.*\) nor a checkpoint folder"):
            load_checkpoint(name)


def test_a_bundled_name_goes_first_and_a_path_is_always_the_folder(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(original, tmp_path / "scenes")
    monkeypatch.chdir(tmp_path)
    assert load_checkpoint("scenes").name == "scenes"
    assert load_checkpoint("./scenes").name == load_checkpoint(Path("scenes")).name == "tiny"


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_checkpoints_are_whole(name: str) -> None:
    bundled = load_checkpoint(name)
    assert bundled.name == name and bundled.trained
    assert bundled.parameters().keys() == dict(MCAN(bundled.config).named_parameters()).keys()
    assert set(bundled.scores) == {plan.name for plan in grid(bundled.config, bundled.slimming)}
    assert len(bundled.scores) == 10
    with np.load(bundled.reference_path, allow_pickle=False) as stored:
        assert len(stored["labels"]) == len(stored["texts"]) >= 100
        assert stored["labels"].max() < len(bundled.answers)
        for spec in input_specs(bundled.config):
            assert stored[spec.name].shape[1:] == spec.shape[1:] and stored[spec.name].dtype == spec.dtype
    assert "edgevqa train" in (bundled.folder / "card.md").read_text()


def test_saving_replaces_a_checkpoint_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(described(folder), dict(model(1).state_dict()), reference(), "# new\n")
    assert (folder / "card.md").read_text() == "# new\n"
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "mine.png").write_bytes(b"precious")
    for place in (pictures, pictures / "mine.png"):
        with pytest.raises(UsageError, match="holds something that is no checkpoint; it is not replaced"):
            save_checkpoint(described(place), dict(model().state_dict()), reference(), "")
    assert (pictures / "mine.png").read_bytes() == b"precious"


def test_reference_questions_must_fit_the_model(tmp_path: Path) -> None:
    broken = reference() | {"boxes": np.zeros((4, 3, 4), np.float32)}
    with pytest.raises(InputError, match="'boxes' has the shape"):
        save_checkpoint(described(tmp_path / "new"), dict(model().state_dict()), broken, "")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_checkpoint(small_disk: Path) -> None:
    folder = small_disk / "tiny"
    save_checkpoint(described(folder), dict(model().state_dict()), reference(), "# old\n")
    size = (folder / "model.safetensors").stat().st_size
    for free in (size // 2, 8 << 10, 0):  # too little for the weights, the reference questions, anything
        ballast = fill(small_disk, free=free)
        with pytest.raises(EnvironmentFailure, match="the disk is full"):
            save_checkpoint(described(folder), dict(model(1).state_dict()), reference(), "")
        ballast.unlink()
    assert (folder / "card.md").read_text() == "# old\n"
    assert torch.equal(load_checkpoint(folder).parameters()["classifier.weight"], model().classifier.weight)
    assert sorted(path.name for path in small_disk.iterdir()) == ["tiny"]
