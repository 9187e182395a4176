"""Sizes and recipes of the checkpoints that come with edgevqa: `edgevqa train scenes` makes them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgevqa.data.dataset import Dataset
from edgevqa.data.score import VQA_ACCURACY
from edgevqa.errors import UsageError
from edgevqa.models.config import MCANConfig, PixelInput, RegionInput
from edgevqa.training.recipe import Loss, Recipe


@dataclass(frozen=True)
class Preset:
    """What a dataset's model is trained with.

    Args:
        image: what a picture is given as.
        hidden: size of the residual stream of the full model.
        word_size: size of a word embedding.
        lstm_size: size of the LSTM's state.
        dropout: dropout probability.
        teacher: recipe of the full-size model on the answers.
        student: recipe of the self-distillation.
        heads: of every attention of the full model.
        layers: over the question, and as many over the picture.
        norm: the kind of LayerNorm, one of `edgevqa.models.config.NORMS`.
    """

    image: RegionInput | PixelInput
    hidden: int
    word_size: int
    lstm_size: int
    dropout: float
    teacher: Recipe
    student: Recipe
    heads: int = 8
    layers: int = 6
    norm: str = "standard"

    def config(self, dataset: Dataset) -> MCANConfig:
        """The sizes of the full model for a dataset's vocabularies."""
        return MCANConfig.uniform(
            hidden=self.hidden,
            heads=self.heads,
            layers=self.layers,
            image=self.image,
            vocabulary_size=len(dataset.vocabulary.words),
            answer_count=len(dataset.answers),
            question_length=dataset.question_length,
            word_size=self.word_size,
            lstm_size=self.lstm_size,
            dropout=self.dropout,
            norm=self.norm,
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


STEPS = (300, 20_000)
"""Of a teacher on data of a user's own: `EPOCHS` of it, but no fewer and no more than these."""
EPOCHS = 10
CHANNELS = (16, 32, 48, 64)


def own_preset(dataset: Dataset, questions: int, batch: int = 128) -> Preset:
    """Sizes and recipes for data of a user's own.

    Several people's answers to a question are judged one by one (BST's choice for VQA-v2), a single one against all
    others (its choice for GQA).

    Args:
        dataset: the data; its preprocessing says what a picture is given as.
        questions: of the training split.
        batch: questions a step.
    """
    picture = dataset.preprocessing["picture"]
    image: RegionInput | PixelInput
    if picture["kind"] == "pixels":
        image = PixelInput(size=picture["side"], channels=CHANNELS)
    else:
        image = RegionInput(count=picture["regions"], feature_size=picture["features"], box_size=picture["boxes"])
    steps = min(max(EPOCHS * questions // batch, STEPS[0]), STEPS[1])
    loss: Loss = "sigmoid" if dataset.score == VQA_ACCURACY else "softmax"
    teacher = Recipe(
        steps=steps, batch=batch, learning_rate=2e-3, warmup=steps // 10, loss=loss, optimizer="muon",
        mixed_precision=True,
    )  # fmt: skip
    student = replace(teacher, steps=max(1, steps // 2), learning_rate=1e-3, warmup=steps // 20)
    return Preset(image=image, hidden=64, word_size=32, lstm_size=128, dropout=0.1, teacher=teacher, student=student)


def resized(
    preset: Preset, *, hidden: int | None = None, heads: int | None = None, layers: int | None = None
) -> Preset:
    """A preset with other sizes; the LSTM grows or shrinks with the hidden size.

    Raises UsageError when the sizes do not go together.
    """
    made = replace(
        preset,
        hidden=hidden or preset.hidden,
        heads=heads or preset.heads,
        layers=layers or preset.layers,
        lstm_size=preset.lstm_size * (hidden or preset.hidden) // preset.hidden,
    )
    if made.heads % 4 or made.hidden % made.heads:
        raise UsageError(
            f"{made.heads} heads do not go with a hidden size of {made.hidden}: heads must be a multiple of 4, so that "
            "a quarter of them can stay, and must divide the hidden size"
        )
    return made
