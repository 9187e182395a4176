"""Sizes and recipes of trainings; `edgevqa train scenes` makes the checkpoint again that comes with edgevqa."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgevqa.data.dataset import Dataset
from edgevqa.data.score import VQA_ACCURACY
from edgevqa.errors import UsageError
from edgevqa.models.config import GridInput, ImageInput, MCANConfig, PixelInput, RegionInput, TrunkInput
from edgevqa.models.families import FAMILIES, ModelConfig
from edgevqa.training.recipe import Loss, Recipe


@dataclass(frozen=True)
class Preset:
    """What a dataset's model is trained with.

    Args:
        image: what a picture is given as.
        hidden: size of the residual stream of the full model.
        dropout: dropout probability.
        teacher: recipe of the full-size model on the answers.
        student: recipe of the self-distillation.
        word_size: size of a word embedding, of MCAN.
        lstm_size: size of the LSTM's state, of MCAN.
        heads: of every attention of the full model.
        layers: of a single stream; of MCAN over the question, and as many over the picture.
        family: of the model, see `edgevqa.models.families`.
        sizes: sizes of the model's config that are not the usual proportions.
    """

    image: ImageInput
    hidden: int
    dropout: float
    teacher: Recipe
    student: Recipe
    word_size: int = 32
    lstm_size: int = 128
    heads: int = 8
    layers: int = 6
    family: str = MCANConfig.family
    sizes: Mapping[str, Any] = field(default_factory=dict)

    def config(self, dataset: Dataset) -> ModelConfig:
        """The sizes of the full model for a dataset's vocabularies."""
        length = dataset.question_length
        sizes: dict[str, Any] = {
            "hidden": self.hidden,
            "heads": self.heads,
            "layers": self.layers,
            "image": self.image,
            "vocabulary_size": len(dataset.vocabulary.words),
            "answer_count": len(dataset.answers),
            "question_length": length,
            "dropout": self.dropout,
        }
        if self.family == MCANConfig.family:
            sizes |= {"word_size": self.word_size, "lstm_size": self.lstm_size}
        else:
            sizes["positions"] = length
        return replace(FAMILIES[self.family].config.uniform(**sizes), **self.sizes)


PRESETS: Mapping[str, Preset] = {
    "scenes": Preset(
        image=RegionInput(count=9, feature_size=28, box_size=5),
        hidden=64,
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
        lstm_size=64,
        dropout=0.0,
        teacher=Recipe(steps=6000, batch=128, learning_rate=2e-3, warmup=300, optimizer="muon", mixed_precision=True),
        student=Recipe(steps=2000, batch=128, learning_rate=1e-3, warmup=100, optimizer="muon", mixed_precision=True),
    ),
}
"""MCAN's, by dataset."""


def preset(dataset: str) -> Preset:
    """MCAN's preset of a dataset; raises UsageError when it has none."""
    if dataset not in PRESETS:
        raise UsageError(f"there is no training preset for {dataset!r}; there are {', '.join(PRESETS)}")
    return PRESETS[dataset]


STEPS = (300, 20_000)
"""Of a teacher that has no preset: `EPOCHS` of its data, but no fewer and no more than these."""
EPOCHS = 10
CHANNELS = (16, 32, 48, 64)
"""Of the stem of an MCAN over pixels."""
TRUNK: Mapping[str, Any] = {"channels": 8, "blocks": (1, 1, 1, 1)}
"""The trunk of a CLIP-ViL over pixels, which is trained with it: CLIP's has 80 channels and 26 blocks."""
SIDES: Mapping[str, int] = {"mcan": 64, "clip-vil": 128}
"""Height and width of pixels: CLIP's trunk makes one token of 32 x 32 of them, MCAN's stem one of 16 x 16."""
LANGUAGE_RATE = 1e-4
"""The highest learning rate of a model that starts from a language model, which must not be forgotten."""


def general_preset(dataset: Dataset, questions: int, family: str = MCANConfig.family, batch: int = 128) -> Preset:
    """Sizes and recipes for data without a preset, such as a user's own.

    Several people's answers to a question are judged one by one (BST's choice for VQA-v2), a single one against all
    others (its choice for GQA).

    Args:
        dataset: the data in the family's form; its preprocessing says what a picture is given as.
        questions: of the training split.
        family: of the model.
        batch: questions a step.
    """
    steps = min(max(EPOCHS * questions // batch, STEPS[0]), STEPS[1])
    loss: Loss = "sigmoid" if dataset.score == VQA_ACCURACY else "softmax"
    teacher = Recipe(
        steps=steps, batch=batch, learning_rate=2e-3, warmup=steps // 10, loss=loss, optimizer="muon",
        mixed_precision=True,
    )  # fmt: skip
    student = replace(teacher, steps=max(1, steps // 2), learning_rate=1e-3, warmup=steps // 20)
    image = image_input(dataset.preprocessing["picture"], family)
    return Preset(image=image, hidden=64, dropout=0.1, teacher=teacher, student=student, family=family)


def image_input(picture: Mapping[str, Any], family: str) -> ImageInput:
    """What a family's model is given a picture as, from the entry `picture` of the preprocessing.

    Raises UsageError when pixels are too few for the trunk.
    """
    if picture["kind"] != "pixels":
        if "grid" in picture:
            rows, columns = picture["grid"]
            return GridInput.of(rows, columns, picture["features"])
        return RegionInput(count=picture["regions"], feature_size=picture["features"], box_size=picture["boxes"])
    side = picture["side"]
    return PixelInput(side, CHANNELS) if family == MCANConfig.family else TrunkInput(side, side, **TRUNK)


def from_language(preset: Preset, sizes: Mapping[str, Any]) -> Preset:
    """A preset for a model that starts from a language model of these sizes, with a careful recipe."""
    encoder, hidden = sizes["encoder"], sizes["hidden"]
    careful: dict[str, Any] = {"learning_rate": LANGUAGE_RATE, "optimizer": "adamw"}
    return replace(
        preset,
        hidden=hidden,
        heads=encoder[0].heads,
        layers=len(encoder),
        sizes={name: value for name, value in sizes.items() if name != "vocabulary_size"},
        teacher=replace(preset.teacher, **careful),
        student=replace(preset.student, **careful),
    )


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
