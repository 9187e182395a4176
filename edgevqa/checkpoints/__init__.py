"""Checkpoint folders, and the two that come with edgevqa: `scenes` and `easy-vqa`."""

from edgevqa.checkpoints.native import Checkpoint, bundled_names, load_checkpoint

__all__ = ["Checkpoint", "bundled_names", "load_checkpoint"]
