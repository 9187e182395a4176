"""Imported UNITER and CLIP-ViL answer as the authors' implementations do, and so do their exported submodels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgevqa.checkpoints import Checkpoint, load_checkpoint
from edgevqa.checkpoints.importers.kinds import import_checkpoint
from edgevqa.errors import EnvironmentFailure
from edgevqa.export.exporter import export_submodel
from edgevqa.gate.gate import quick_gate
from edgevqa.gate.verdict import UNSCORED
from edgevqa.models.config import input_specs
from edgevqa.pipeline import intended_pairs, this_machine
from edgevqa.runtimes import RUNTIMES, find_python
from edgevqa.runtimes.session import open_session
from edgevqa.slimming.counting import count
from edgevqa.slimming.grid import grid
from edgevqa.slimming.plan import SubmodelPlan
from edgevqa.slimming.rules import slice_config
from tests.checkpoints.single_stream import GOLDEN

TOLERANCE = 1e-4
SOME = ("w0.25-d2", "w0.5-d4", "w0.75-d12", "w1-d12")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """The golden checkpoints without their word and answer lists."""
    out = tmp_path_factory.mktemp("single-stream")
    return {
        name: import_checkpoint(golden.kind, golden.file, out / name, settings=golden.settings)
        for name, golden in GOLDEN.items()
    }


def plan_of(model: Checkpoint, name: str) -> SubmodelPlan:
    return next(plan for plan in grid(model.config, model.slimming) if plan.name == name)


def answer(model: torch.nn.Module, inputs: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    with torch.no_grad():
        return model(*(torch.from_numpy(inputs[name]) for name in names)).numpy()


def names_of(model: Checkpoint) -> list[str]:
    return [spec.name for spec in input_specs(model.config)]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_imported_model_agrees_with_the_authors(models: dict[str, Checkpoint], name: str) -> None:
    golden, model = GOLDEN[name], models[name]
    expected = golden.logits()
    assert np.ptp(expected) > 1
    found = answer(model.full_model(), golden.inputs(), names_of(model))
    assert np.abs(found - expected).max() < TOLERANCE / 10
    # Found again from the folder alone.
    again = load_checkpoint(model.folder)
    assert again.config == model.config and again.slimming == model.slimming


def test_the_trunk_gives_the_features_of_the_authors(models: dict[str, Checkpoint]) -> None:
    network = models["clip-vil"].full_model()
    with torch.no_grad():
        features = network.trunk(torch.from_numpy(GOLDEN["clip-vil"].inputs()["image"]))
    given = GOLDEN["clip-vil-features"].inputs()["regions"]
    np.testing.assert_allclose(features.flatten(2).transpose(1, 2).numpy(), given, atol=1e-5)


@pytest.mark.parametrize("name", GOLDEN)
def test_submodels_have_the_counted_parameters(models: dict[str, Checkpoint], name: str) -> None:
    model = models[name]
    plans = grid(model.config, model.slimming)
    assert [plan.layers["encoder"] for plan in plans[:2]] == [(0, 11), (0, 1, 10, 11)]
    assert len(plans) == 10
    for plan in plans:
        sizes = slice_config(model.config, plan)
        assert count(sizes).parameters == sum(part.numel() for part in model.submodel(plan).parameters())


def test_where_padding_stands_is_of_no_matter(models: dict[str, Checkpoint]) -> None:
    """The authors put boxes right behind the last word of their question; a mask does the same at fixed places."""
    model, inputs = models["uniter"], GOLDEN["uniter"].inputs()
    assert (inputs["question_mask"] < 0).any() and (inputs["region_mask"] < 0).any()
    noisy = dict(inputs)
    hidden = inputs["region_mask"][:, 0, 0, :, None] < 0
    noisy["regions"] = np.where(hidden, np.float32(7), inputs["regions"])
    network = model.full_model()
    np.testing.assert_array_equal(answer(network, noisy, names_of(model)), answer(network, inputs, names_of(model)))


def check_file(model: Checkpoint, name: str, plan: SubmodelPlan, file_format: str, out: Path) -> None:
    """An exported file answers as the sliced submodel, and at full size as the authors' implementation."""
    (artifact,) = export_submodel(model, plan, formats=(file_format,), out=out)
    session, inputs = open_session(artifact.file), GOLDEN[name].inputs()
    rows = [session.run({key: values[row : row + 1] for key, values in inputs.items()}) for row in range(3)]
    expected = answer(model.submodel(plan), inputs, names_of(model))
    assert np.abs(np.concatenate(rows) - expected).max() < TOLERANCE
    if plan.name == "w1-d12":
        assert np.abs(np.concatenate(rows) - GOLDEN[name].logits()).max() < TOLERANCE
    operators = artifact.manifest["operators"]
    if file_format == "onnx":
        assert operators["LayerNormalization"] > 2 * len(plan.layers["encoder"])
    pixels = [entry for entry in artifact.manifest["inputs"] if entry["name"] == "image"]
    assert bool(pixels) == (name == "clip-vil")
    assert artifact.manifest["scope"] == ("picture to answer" if pixels else "precomputed regions")


@pytest.mark.parametrize("name", GOLDEN)
def test_onnx_files_agree(models: dict[str, Checkpoint], name: str, tmp_path: Path) -> None:
    for submodel in (SOME[0], SOME[-1]):
        check_file(models[name], name, plan_of(models[name], submodel), "onnx", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_tflite_files_agree(models: dict[str, Checkpoint], name: str, tmp_path: Path) -> None:
    for submodel in (SOME[0], SOME[-1]):
        check_file(models[name], name, plan_of(models[name], submodel), "tflite", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
def test_files_in_the_middle_of_the_grid_agree(models: dict[str, Checkpoint], file_format: str, tmp_path: Path) -> None:
    for submodel in SOME[1:-1]:
        check_file(models["uniter"], "uniter", plan_of(models["uniter"], submodel), file_format, tmp_path)


def _is_here(runtime: str) -> bool:
    try:
        find_python(runtime)
    except EnvironmentFailure:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uniter", "clip-vil"])
def test_int8_files_pass_the_gate_without_answers(models: dict[str, Checkpoint], name: str, tmp_path: Path) -> None:
    model = models[name]
    for plan in (plan_of(model, "w0.25-d2"), plan_of(model, "w1-d12")):
        made = export_submodel(model, plan, precisions=("fp32", "int8"), out=tmp_path)
        for pair in intended_pairs(made, [name for name in RUNTIMES if _is_here(name)]):
            verdict = quick_gate(*pair, this_machine())
            assert verdict.parity is not None and verdict.parity.passed, (pair, verdict)
            assert (verdict.status, verdict.may_be_timed) == (UNSCORED, True)
