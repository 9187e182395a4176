"""An imported MCAN_BST answers as the authors' implementation does, in PyTorch and as exported files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgevqa.checkpoints import Checkpoint
from edgevqa.export.exporter import export_submodel
from edgevqa.gate.verdict import UNSCORED
from edgevqa.models.config import input_specs
from edgevqa.models.mcan import MCAN
from edgevqa.pipeline import intended_pairs, this_machine
from edgevqa.runtimes.session import open_session
from edgevqa.slimming.grid import bst_plan, grid, grid_pairs
from edgevqa.slimming.plan import SubmodelPlan
from tests.checkpoints import golden

TOLERANCE = 1e-4
THREE = ("w0.25-d1", "w0.5-d4", "w1-d6")


def answer(model: MCAN, inputs: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        return model(*(torch.from_numpy(inputs[spec.name]) for spec in input_specs(model.config))).numpy()


def all_plans(model: Checkpoint) -> list[SubmodelPlan]:
    pairs = grid_pairs(model.slimming, filtered=False)
    return [bst_plan(model.config, model.slimming, width, depth, filtered=False) for width, depth in pairs]


def test_all_sixteen_submodels_agree_in_pytorch(imported: Checkpoint) -> None:
    plans = all_plans(imported)
    assert len({plan.name for plan in plans}) == 16
    for plan in plans:
        expected = golden.logits(plan)
        assert np.ptp(expected) > 1
        assert np.abs(answer(imported.submodel(plan), golden.inputs()) - expected).max() < TOLERANCE / 10, plan.name


def test_masked_positions_weigh_nothing_as_with_the_authors_larger_number(imported: Checkpoint) -> None:
    """The authors set masked scores to -1e9, we add -1e4: the same, bit by bit, for questions of all lengths."""
    inputs = golden.inputs()
    assert (inputs["question_mask"] < 0).any() and (inputs["region_mask"] < 0).any()
    larger = {name: np.where(a < -1, np.float32(-1e9), a) if "mask" in name else a for name, a in inputs.items()}
    model = imported.full_model()
    np.testing.assert_array_equal(answer(model, larger), answer(model, inputs))


def check_files(model: Checkpoint, plan: SubmodelPlan, file_format: str, out: Path) -> None:
    (artifact,) = export_submodel(model, plan, formats=(file_format,), out=out)
    session = open_session(artifact.file)
    inputs = golden.inputs()
    rows = [session.run({name: a[row : row + 1] for name, a in inputs.items()}) for row in range(4)]
    assert np.abs(np.concatenate(rows) - golden.logits(plan)).max() < TOLERANCE
    if file_format == "onnx":
        norms = sum(isinstance(part, torch.nn.LayerNorm) for part in model.submodel(plan).modules())
        assert artifact.manifest["operators"]["LayerNormalization"] == norms
        assert "ReduceMean" not in artifact.manifest["operators"]


def test_onnx_files_of_the_grid_agree(imported: Checkpoint, tmp_path: Path) -> None:
    for plan in grid(imported.config, imported.slimming):
        check_files(imported, plan, "onnx", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", THREE)
def test_tflite_files_agree(imported: Checkpoint, name: str, tmp_path: Path) -> None:
    (plan,) = (plan for plan in grid(imported.config, imported.slimming) if plan.name == name)
    check_files(imported, plan, "tflite", tmp_path)


@pytest.mark.slow
def test_the_other_tflite_files_of_the_grid_agree(imported: Checkpoint, tmp_path: Path) -> None:
    for plan in grid(imported.config, imported.slimming):
        if plan.name not in THREE:
            check_files(imported, plan, "tflite", tmp_path)


def test_the_gate_passes_parity_without_answers(imported: Checkpoint, tmp_path: Path) -> None:
    from edgevqa.gate.gate import quick_gate

    plan = grid(imported.config, imported.slimming)[0]
    (pair,) = intended_pairs(export_submodel(imported, plan, formats=("onnx",), out=tmp_path))
    verdict = quick_gate(*pair, this_machine())
    assert (verdict.status, verdict.reason) == (UNSCORED, "there are no questions with answers")
    assert verdict.parity is not None and verdict.parity.passed and verdict.may_be_timed
