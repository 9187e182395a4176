"""Real questions that artifacts are proved and calibrated with."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgevqa.errors import InputError, UsageError
from edgevqa.models.config import input_specs
from edgevqa.models.families import ModelConfig

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from edgevqa.checkpoints import Checkpoint

CALIBRATION_QUESTIONS = 200


def read_reference(path: Path, config: ModelConfig) -> dict[str, NDArray[Any]]:
    """The reference questions of a checkpoint: inputs stacked over n questions, `labels` and `texts` if it has them.

    Raises:
        InputError: the file is missing or broken, or does not fit the model.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; a checkpoint needs reference questions") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not readable: {error}") from None
    check_inputs(values, config, path)
    return values


def check_inputs(values: Mapping[str, NDArray[Any]], config: ModelConfig, where: object) -> None:
    """Raise InputError unless the arrays are inputs of the model, stacked over at least one question."""
    counts = set()
    for spec in input_specs(config):
        if spec.name not in values:
            raise InputError(f"{where} lacks the input {spec.name!r}")
        array = values[spec.name]
        if array.dtype.name != spec.dtype or array.shape[1:] != spec.shape[1:]:
            raise InputError(
                f"{where}: the input {spec.name!r} is {array.dtype.name} {list(array.shape)}; "
                f"it should be {spec.dtype} {['n', *spec.shape[1:]]}"
            )
        counts.add(len(array))
    if len(counts) != 1 or 0 in counts:
        raise InputError(f"{where}: the inputs should all hold the same number of questions, at least one")
    highest = int(values["question"].max())
    if int(values["question"].min()) < 0 or highest >= config.vocabulary_size:
        raise InputError(f"{where}: a question holds the word {highest}; there are {config.vocabulary_size} words")


def run_module(
    module: torch.nn.Module, inputs: Mapping[str, NDArray[Any]], config: ModelConfig, batch: int = 50
) -> NDArray[np.float32]:
    """Logits float32 (n, answers) of a PyTorch module on stacked inputs, on the CPU."""
    import torch

    names = [spec.name for spec in input_specs(config)]
    with torch.inference_mode():
        parts = [
            module(*(torch.from_numpy(np.ascontiguousarray(inputs[name][start : start + batch])) for name in names))
            for start in range(0, len(inputs[names[0]]), batch)
        ]
    return np.concatenate([part.float().numpy() for part in parts])


def calibration_inputs(checkpoint: Checkpoint, count: int = CALIBRATION_QUESTIONS) -> dict[str, NDArray[Any]]:
    """Inputs of questions spread evenly over the training split of the checkpoint's dataset.

    Raises:
        UsageError: the checkpoint names no dataset.
        InputError: its dataset is not here, or is another version.
    """
    from edgevqa.checkpoints.data import DataOf

    if (checkpoint.dataset or {}).get("name") is None:
        raise UsageError(f"{checkpoint.name} names no dataset to calibrate with; give calibration inputs")
    split = DataOf(checkpoint).split("train")
    chosen = np.linspace(0, len(split) - 1, min(count, len(split))).astype(np.int64)
    return split.model_inputs(chosen)
