"""Sizes and recipes of the checkpoints that come with edgevqa: `edgevqa train scenes` makes them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgevqa.data.dataset import Dataset
from edgevqa.errors import UsageError
from edgevqa.models.config import MCANConfig, PixelInput, RegionInput
from edgevqa.training.recipe import Recipe


@dataclass(frozen=True)
class Preset:
    """What a dataset's model is trained with.

    Args:
        image: what a picture is given as.
        hidden: size of the residual stream of the full model, which has 8 heads and 6 + 6 layers.
        word_size: size of a word embedding.
        lstm_size: size of the LSTM's state.
        dropout: dropout probability.
        teacher: recipe of the full-size model on the answers.
        student: recipe of the self-distillation.
    """

    image: RegionInput | PixelInput
    hidden: int
    word_size: int
    lstm_size: int
    dropout: float
    teacher: Recipe
    student: Recipe

    def config(self, dataset: Dataset) -> MCANConfig:
        """The sizes of the full model for a dataset's vocabularies."""
        return MCANConfig.uniform(
            hidden=self.hidden,
            heads=8,
            layers=6,
            image=self.image,
            vocabulary_size=len(dataset.vocabulary.words),
            answer_count=len(dataset.answers),
            question_length=dataset.question_length,
            word_size=self.word_size,
            lstm_size=self.lstm_size,
            dropout=self.dropout,
        )


PRESETS: Mapping[str, Preset] = {
    "scenes": Preset(
        image=RegionInput(count=9, feature_size=28, box_size=5),
        hidden=64,
        word_size=32,
        lstm_size=128,
        dropout=0.0,
        teacher=Recipe(
            steps=3500, learning_rate=1.5e-3, warmup=300, optimizer="muon", mixed_precision=True, grounding=1.0
        ),
        student=Recipe(
            steps=4500, learning_rate=1.5e-3, warmup=100, optimizer="muon", mixed_precision=True, grounding=1.0
        ),
    ),
    "easy-vqa": Preset(
        image=PixelInput(size=64, channels=(16, 32, 32, 48, 64)),
        hidden=32,
        word_size=32,
        lstm_size=64,
        dropout=0.0,
        teacher=Recipe(steps=6000, batch=128, learning_rate=2e-3, warmup=300, optimizer="muon", mixed_precision=True),
        student=Recipe(steps=2000, batch=128, learning_rate=1e-3, warmup=100, optimizer="muon", mixed_precision=True),
    ),
}
"""By dataset."""


def preset(dataset: str) -> Preset:
    """The preset of a dataset; raises UsageError when it has none."""
    if dataset not in PRESETS:
        raise UsageError(f"there is no training preset for {dataset!r}; there are {', '.join(PRESETS)}")
    return PRESETS[dataset]
