"""The data that a checkpoint was trained on and is scored on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgevqa.checkpoints.native import Checkpoint
from edgevqa.data.dataset import Dataset, Split, load_dataset
from edgevqa.data.forms import taken
from edgevqa.errors import InputError
from edgevqa.progress import Progress


@dataclass(frozen=True)
class DataOf:
    """A checkpoint's data.

    Args:
        checkpoint: the model.
        folder: where data of a user's own is now, when it was moved.
        skip_bad: whether entries of it that cannot be used are left out, as they are where the training did so.
    """

    checkpoint: Checkpoint
    folder: Path | None = None
    skip_bad: bool = False

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset; data of a user's own has the checkpoint's words and answers.

        Raises:
            InputError: the checkpoint names no dataset and no folder is given, it names another version of one, or a
                folder that is gone or changed; or it has no words or answers.
        """
        checkpoint = self.checkpoint
        described = checkpoint.dataset or {}
        name = described.get("name")
        if name is None and self.folder is None:
            raise InputError(
                f"{checkpoint.folder} names no dataset to be scored on; --data names a folder of questions and pictures"
            )
        if name is None or "source" in described:
            from edgevqa.data.own import Lists, reopen, with_lists

            lists = Lists(checkpoint.vocabulary, checkpoint.answers, dict(checkpoint.preprocessing))
            if name is None:
                if checkpoint.missing:
                    raise InputError(
                        f"{checkpoint.folder} was imported without its {' and '.join(checkpoint.missing)}; to be "
                        "scored, import it again with them"
                    )
                assert self.folder is not None
                return with_lists(self.folder, lists, skip_bad=self.skip_bad)
            return reopen(described, lists, self.folder, skip_bad=self.skip_bad)
        dataset = load_dataset(str(name))
        if dataset.version != described.get("version"):
            raise InputError(
                f"{checkpoint.folder} was trained on version {described.get('version')} of {name}; "
                f"this edgevqa has version {dataset.version}"
            )
        return dataset

    def split(self, name: str, progress: Progress | None = None) -> Split:
        """A split in the checkpoint's own words.

        Raises:
            InputError: see `dataset`.
            UsageError: there is no such split.
        """
        split, own = self.dataset.split(name, progress), self.dataset.vocabulary
        return taken(split, own, self.checkpoint.vocabulary, self.checkpoint.preprocessing)

    @property
    def named(self) -> bool:
        """Whether the dataset's name alone says all: it comes with edgevqa, and the checkpoint has its words."""
        return self.dataset.source is None and self.dataset.vocabulary == self.checkpoint.vocabulary
