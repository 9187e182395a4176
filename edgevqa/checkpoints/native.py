"""edgevqa's own checkpoint folders: safetensors weights, sizes, vocabularies, a card and reference questions.

A folder holds `config.json`, `model.safetensors`, `vocabulary.json`, `answers.json`, `card.md` and
`reference/questions.npz`. Reading one needs no torch until its weights are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgevqa.checkpoints.checks import (
    CONFIG,
    SCHEMA_VERSION,
    check_entries,
    check_free,
    check_sizes,
    read_answers,
    read_words,
)
from edgevqa.data.preprocessing import MISSING
from edgevqa.data.score import ACCURACY
from edgevqa.data.word_pieces import Words
from edgevqa.errors import InputError, MissingExtra, UsageError
from edgevqa.models.config import input_specs
from edgevqa.models.families import ModelConfig, build, read_config
from edgevqa.slimming.grid import Slimming
from edgevqa.slimming.plan import SubmodelPlan
from edgevqa.storage import dump_json, new_folder, read_json, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

    from edgevqa.models.families import Network

BUNDLED = Path(__file__).parent / "bundled"
WEIGHTS = "model.safetensors"
REFERENCE = "reference/questions.npz"


@dataclass(frozen=True)
class Checkpoint:
    """A slimmable model on disk.

    Args:
        name: of the model; artifacts lie in a folder of this name.
        folder: where its files are.
        config: sizes of the full model.
        slimming: which submodels it offers.
        preprocessing: how pictures and questions become inputs, JSON-serialisable.
        vocabulary: the words.
        answers: the answers, by label.
        dataset: name, version and seed of the data that it was trained on and is scored on, see
            `edgevqa.data.dataset.Dataset.described`; None when unknown.
        trained: whether the weights were trained; an untrained model's artifacts are `unscored`.
        scores: percent of each submodel on the full test split, by submodel name; `score_kind` says of what.
        floors: percent, of the same kind, that the majority answer and the best question-only answer reach there.
        training: what made the weights.
    """

    name: str
    folder: Path
    config: ModelConfig
    slimming: Slimming
    preprocessing: Mapping[str, Any]
    vocabulary: Words
    answers: tuple[str, ...]
    dataset: Mapping[str, Any] | None = None
    trained: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights_path(self) -> Path:
        """The file of weights."""
        return self.folder / WEIGHTS

    @property
    def reference_path(self) -> Path:
        """The reference questions: model inputs stacked over n questions; real ones with `labels` (n,) and `texts`."""
        return self.folder / REFERENCE

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the weights' file."""
        return sha256_file(self.weights_path)

    @property
    def score_kind(self) -> str:
        """What the scores are: `accuracy`, or `VQA accuracy`."""
        return str((self.dataset or {}).get("score", ACCURACY))

    @property
    def missing(self) -> tuple[str, ...]:
        """Of "vocabulary" and "answers", what an import was not given: placeholders stand there."""
        return tuple(self.preprocessing.get(MISSING, ()))

    def parameters(self) -> dict[str, Tensor]:
        """The full model's weights by name, checked against the sizes.

        Raises:
            InputError: the file is broken, or a tensor is missing, unknown or has a wrong shape.
            MissingExtra: torch is not installed.
        """
        return _read_weights(self.weights_path, self.config)

    def full_model(self) -> Network:
        """The full model with its weights, in evaluation mode; raises what `parameters` raises."""
        weights = self.parameters()
        model = build(self.config)
        model.load_state_dict(weights)
        return model.eval()

    def submodel(self, plan: SubmodelPlan) -> Network:
        """A physically smaller model with copies of the weights that stay; raises what `parameters` raises."""
        weights = self.parameters()
        from edgevqa.slimming.slicer import slice_parameters

        return slice_parameters(weights, self.config, plan)


def _read_weights(path: Path, config: ModelConfig) -> dict[str, Tensor]:
    try:
        import torch
        from safetensors.torch import load_file
    except ImportError:
        raise MissingExtra("torch", "export") from None
    try:
        with torch.device("meta"):
            expected = {name: tuple(value.shape) for name, value in build(config).named_parameters()}
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path.with_name(CONFIG)}: there is no model of these sizes: {error}") from error
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except Exception as error:
        raise InputError(f"{path} is not a whole safetensors file: {error}") from error
    for name, shape in expected.items():
        if name not in weights:
            raise InputError(f"{path} lacks the tensor {name!r}, which should have the shape {list(shape)}")
        if tuple(weights[name].shape) != shape:
            raise InputError(
                f"{path}: the tensor {name!r} has the shape {list(weights[name].shape)}; "
                f"by config.json it should have {list(shape)}"
            )
    if unknown := sorted(weights.keys() - expected.keys()):
        raise InputError(f"{path} holds the tensor {unknown[0]!r}, which this model does not have")
    return {name: value.float() for name, value in weights.items()}


def bundled_names() -> list[str]:
    """The checkpoints that come with edgevqa."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG}"))


def checkpoint_folder(name_or_path: str | Path) -> Path:
    """The folder of a bundled checkpoint's name or of a path; raises UsageError when there is none.

    A bundled name goes before a folder of that name; `./name`, or a Path, is always the folder.
    """
    if isinstance(name_or_path, str) and name_or_path in bundled_names():
        return BUNDLED / name_or_path
    folder = Path(name_or_path)
    if not os.path.isfile(folder / CONFIG):
        raise UsageError(
            f"{str(name_or_path)!r} is neither a bundled model ({', '.join(bundled_names()) or 'none'}) "
            f"nor a checkpoint folder with a {CONFIG}"
        )
    return folder


def load_checkpoint(name_or_path: str | Path) -> Checkpoint:
    """Read a checkpoint folder, or a bundled checkpoint by its name; its weights are read when asked for.

    Raises:
        UsageError: no such checkpoint.
        InputError: a file of the folder is missing or broken.
    """
    folder = checkpoint_folder(name_or_path)
    path = folder / CONFIG
    described = check_entries(read_json(path), path)
    try:
        config = read_config(described["model"])
        slimming = Slimming.from_dict(described["slimming"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    checkpoint = Checkpoint(
        name=described["name"],
        folder=folder,
        config=config,
        slimming=slimming,
        preprocessing=described["preprocessing"],
        vocabulary=read_words(folder / "vocabulary.json", described["preprocessing"]),
        answers=read_answers(folder / "answers.json"),
        dataset=described["dataset"],
        trained=described["trained"],
        scores=described["scores"],
        floors=described["floors"],
        training=described["training"],
    )
    check_sizes(folder, config, slimming, words=len(checkpoint.vocabulary), answers=len(checkpoint.answers))
    if not checkpoint.weights_path.is_file():
        raise InputError(f"{checkpoint.weights_path} does not exist")
    return checkpoint


def save_checkpoint(
    checkpoint: Checkpoint, weights: Mapping[str, Tensor], reference: Mapping[str, np.ndarray], card: str
) -> None:
    """Write a checkpoint folder, whole or not at all.

    Args:
        checkpoint: everything but the weights; `checkpoint.folder` is where it goes.
        weights: the full model's, float32.
        reference: the model's inputs stacked over n questions; `labels` and `texts` where the questions are real.
        card: the text of card.md.

    Raises:
        UsageError: the folder holds something else than a checkpoint.
        InputError: the reference questions do not fit the model.
        EnvironmentFailure: the folder cannot be written.
    """
    from safetensors.torch import save

    check_free(checkpoint.folder)
    for spec in input_specs(checkpoint.config):
        if reference[spec.name].shape[1:] != spec.shape[1:]:
            raise InputError(
                f"the reference input {spec.name!r} has the shape {reference[spec.name].shape}; "
                f"behind the number of questions it should be {spec.shape[1:]}"
            )
    described = {
        "schema_version": SCHEMA_VERSION,
        "name": checkpoint.name,
        "model": checkpoint.config.to_dict(),
        "slimming": checkpoint.slimming.to_dict(),
        "preprocessing": dict(checkpoint.preprocessing),
        "dataset": None if checkpoint.dataset is None else dict(checkpoint.dataset),
        "trained": checkpoint.trained,
        "scores": dict(checkpoint.scores),
        "floors": dict(checkpoint.floors),
        "training": dict(checkpoint.training),
    }
    with new_folder(checkpoint.folder) as folder:
        (folder / CONFIG).write_text(dump_json(described), encoding="utf-8")
        (folder / "vocabulary.json").write_text(dump_json(list(checkpoint.vocabulary.words)), encoding="utf-8")
        (folder / "answers.json").write_text(dump_json(list(checkpoint.answers)), encoding="utf-8")
        (folder / "card.md").write_text(card, encoding="utf-8")
        (folder / "reference").mkdir()
        np.savez_compressed(folder / REFERENCE, **dict(reference))  # type: ignore[arg-type]
        # Written here, not by safetensors, whose errors say nothing of a full disk.
        (folder / WEIGHTS).write_bytes(save({name: value.contiguous() for name, value in weights.items()}))
