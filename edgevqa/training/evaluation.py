"""Scores of PyTorch models over a split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgevqa.training.batches import Questions, to_tensors, trim

if TYPE_CHECKING:
    from edgevqa.models.families import Network


def predict(model: Network, split: Questions, *, indices: np.ndarray | None = None, batch: int = 500) -> np.ndarray:
    """Logits float32 (n, A) of a model over a split, or over the questions at `indices`."""
    indices = np.arange(len(split)) if indices is None else indices
    device = next(model.parameters()).device
    model.eval()
    logits = []
    with torch.inference_mode():
        for start in range(0, len(indices), batch):
            inputs = to_tensors(trim(split.model_inputs(indices[start : start + batch])), device)
            logits.append(model(*inputs).float().cpu().numpy())
    return np.concatenate(logits)
