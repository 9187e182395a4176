"""The data that a checkpoint was trained on and is scored on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgevqa.checkpoints.native import Checkpoint
from edgevqa.data.dataset import Dataset, load_dataset
from edgevqa.errors import InputError


@dataclass(frozen=True)
class DataOf:
    """A checkpoint's data; it can be sent to another process, which a `Dataset` cannot.

    Args:
        checkpoint: the model.
        folder: where data of a user's own is now, when it was moved.
    """

    checkpoint: Checkpoint
    folder: Path | None = None

    def open(self) -> Dataset:
        """The dataset, with the checkpoint's own words and answers.

        Raises:
            InputError: the checkpoint names no dataset, another version of one, or a folder that is gone or changed.
        """
        checkpoint = self.checkpoint
        described = checkpoint.dataset or {}
        name = described.get("name")
        if name is None:
            raise InputError(f"{checkpoint.folder} names no dataset to be scored on")
        if "source" in described:
            from edgevqa.data.own import Lists, reopen

            lists = Lists(checkpoint.vocabulary, checkpoint.answers, dict(checkpoint.preprocessing))
            return reopen(described, lists, self.folder)
        dataset = load_dataset(str(name))
        if dataset.version != described.get("version"):
            raise InputError(
                f"{checkpoint.folder} was trained on version {described.get('version')} of {name}; "
                f"this edgevqa has version {dataset.version}"
            )
        return dataset
