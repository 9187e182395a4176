"""A tiny slimmable MCAN as a checkpoint folder, with reference questions that it answers itself."""

from __future__ import annotations

import functools
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from edgevqa.checkpoints.native import Checkpoint, load_checkpoint, save_checkpoint
from edgevqa.data.text import Vocabulary
from edgevqa.export.exporter import export_submodel
from edgevqa.export.quantize import SCHEMES
from edgevqa.models.config import MASKED, MCANConfig, PixelInput, RegionInput, input_specs
from edgevqa.slimming.grid import MCAN_BST, bst_plan
from edgevqa.slimming.plan import SubmodelPlan

WORDS, ANSWERS, LENGTH, REGIONS, COUNT = 30, 9, 6, 4, 100


def config(*, pixels: bool = False, hidden: int = 32) -> MCANConfig:
    return MCANConfig.uniform(
        hidden=hidden,
        heads=8,
        layers=6,
        image=PixelInput(16, (8, 8)) if pixels else RegionInput(REGIONS, 7, 5),
        vocabulary_size=WORDS,
        answer_count=ANSWERS,
        question_length=LENGTH,
        word_size=12,
        lstm_size=16,
    )


def inputs(sizes: MCANConfig, count: int = COUNT, seed: int = 0) -> dict[str, Any]:
    """Inputs of `count` questions of different lengths about pictures with different numbers of regions."""
    generator = np.random.default_rng(seed)
    made: dict[str, Any] = {}
    for spec in input_specs(sizes):
        shape = (count, *spec.shape[1:])
        if spec.name == "question":
            made[spec.name] = generator.integers(3, WORDS, shape).astype(np.int32)
        elif spec.name.endswith("_mask"):
            made[spec.name] = np.zeros(shape, np.float32)
        else:
            made[spec.name] = generator.standard_normal(shape).astype(np.float32)
    for row in range(count):
        length = generator.integers(2, LENGTH + 1)
        made["question"][row, length:] = 0
        made["question_mask"][row, ..., length:] = MASKED
        if "regions" in made:
            regions = generator.integers(1, REGIONS + 1)
            made["regions"][row, regions:] = made["boxes"][row, regions:] = 0
            made["region_mask"][row, ..., regions:] = MASKED
    return made


def logits(module: Any, questions: dict[str, Any]) -> Any:
    """Logits (n, answers) of a PyTorch module."""
    import torch

    names = [spec.name for spec in input_specs(module.config)]
    with torch.no_grad():
        return module(*(torch.from_numpy(questions[name]) for name in names)).numpy()


def checkpoint(
    folder: Path,
    *,
    pixels: bool = False,
    seed: int = 0,
    trained: bool = True,
    labels: bool = True,
    hidden: int = 32,
    name: str = "toy",
) -> Checkpoint:
    import torch

    from edgevqa.models.mcan import MCAN

    sizes = config(pixels=pixels, hidden=hidden)
    torch.manual_seed(seed)
    model = MCAN(sizes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    questions = inputs(sizes)
    right = logits(model, questions).argmax(1).astype(np.int64)
    described = Checkpoint(
        name=name,
        folder=folder,
        config=sizes,
        slimming=MCAN_BST,
        preprocessing={"question": {"rule": "openvqa", "length": LENGTH}},
        vocabulary=Vocabulary(("PAD", "UNK", "CLS", *(f"w{number:02d}" for number in range(WORDS - 3)))),
        answers=tuple(f"answer {number}" for number in range(ANSWERS)),
        dataset={"name": "toys", "version": 1, "seed": 0},
        trained=trained,
    )
    more: dict[str, Any] = {"texts": np.array(["what is it"] * COUNT)}
    if labels:
        more["labels"] = right
    save_checkpoint(described, dict(model.state_dict()), {**questions, **more}, "# toy\n")
    return load_checkpoint(folder)


def plan(model: Checkpoint, width: str = "1/4", depth: int = 1) -> SubmodelPlan:
    return bst_plan(model.config, model.slimming, Fraction(width), depth)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="edgevqa-toy-")


@functools.cache
def shared() -> Checkpoint:
    """A checkpoint for all tests; they must not change it."""
    return checkpoint(Path(_folder().name) / "toy")


@functools.cache
def exported() -> Path:
    """Its smallest submodel in every format, precision and scheme, made once for all tests; do not change it."""
    out = Path(_folder().name) / "artifacts"
    export_submodel(
        shared(),
        plan(shared()),
        precisions=("fp32", "fp16", "int8"),
        schemes=tuple(scheme.name for scheme in SCHEMES),
        out=out,
        calibration=inputs(shared().config, 20, seed=7),
    )
    return out
