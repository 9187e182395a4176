"""Training of the single-stream families: both stages learn, over the same slices that are exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgevqa.errors import UsageError
from edgevqa.models.config import GridInput, RegionInput
from edgevqa.models.families import ModelConfig, build
from edgevqa.models.initialisation import initialise_single_stream
from edgevqa.models.single_stream_config import ClipViLConfig, UniterConfig
from edgevqa.slimming.grid import grid, single_stream_bst
from edgevqa.slimming.slicer import slice_model
from edgevqa.training.evaluation import predict
from edgevqa.training.loop import train
from edgevqa.training.recipe import Recipe
from edgevqa.training.stages import OnAnswers, SelfDistillation, copy_weights

SIZES = {
    "hidden": 16, "heads": 4, "layers": 6, "vocabulary_size": 9, "answer_count": 4, "question_length": 4,
    "positions": 6, "dropout": 0.0,
}  # fmt: skip


class Toy:
    """Questions about the feature that the last region has more of; every second question is padded."""

    def __init__(self, config: ModelConfig, count: int = 256) -> None:
        generator = np.random.default_rng(0)
        self.config = config
        self.tokens = generator.integers(3, 9, (count, 4)).astype(np.int32)
        self.tokens[::2, 3] = 0
        self.answers = generator.integers(0, 4, count)
        self.regions = generator.normal(size=(count, 4, 6)).astype(np.float32) / 4
        self.regions[np.arange(count), 3, self.answers] += 2

    def __len__(self) -> int:
        return len(self.answers)

    def model_inputs(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        tokens, rows = self.tokens[indices], len(indices)
        inputs = {
            "question": tokens,
            "question_mask": np.where(tokens == 0, np.float32(-1e4), np.float32(0))[:, None, None],
            "regions": self.regions[indices],
            "region_mask": np.zeros((rows, 1, 1, 4), np.float32),
        }
        return inputs | ({"boxes": np.zeros((rows, 4, 7), np.float32)} if self.config.family == "uniter" else {})


@pytest.fixture(params=["uniter", "clip-vil"])
def config(request: pytest.FixtureRequest) -> ModelConfig:
    if request.param == "uniter":
        return UniterConfig.uniform(**SIZES, image=RegionInput(4, 6, 7))
    return ClipViLConfig.uniform(**SIZES, image=GridInput.of(2, 2, 6), grid_positions=3)


def right(module: torch.nn.Module, data: Toy) -> float:
    return float((predict(module, data).argmax(1) == data.answers).mean())


def test_teacher_and_submodels_learn(config: ModelConfig, tmp_path: Path) -> None:
    data, recipe = Toy(config), Recipe(steps=150, batch=64, learning_rate=5e-3, warmup=10)
    teacher = build(config)
    initialise_single_stream(teacher, 0)
    before = right(teacher, data)
    weights = train(OnAnswers(teacher, recipe), recipe, data, tmp_path, name="teacher")
    assert right(teacher.eval(), data) > max(0.9, before + 0.3)
    student = build(config)
    copy_weights(weights, student)
    plans = grid(config, single_stream_bst(6))
    untrained = right(slice_model(student, plans[0]), data)
    train(SelfDistillation(student, teacher, plans, recipe, len(data)), recipe, data, tmp_path, name="student")
    scores = [right(slice_model(student, plan), data) for plan in plans]
    assert min(scores) > max(0.6, untrained + 0.2) and scores[-1] > 0.9


def test_grounding_is_refused_where_there_is_no_decoder(config: ModelConfig) -> None:
    recipe = Recipe(steps=1, grounding=1.0)
    with pytest.raises(UsageError, match="read from MCAN's decoder; for another family set the recipe's to 0"):
        OnAnswers(build(config), recipe, np.zeros((8, 4), np.uint8))
