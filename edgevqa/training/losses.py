"""Losses against the ground truth and against a teacher, averaged over the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgevqa.training.recipe import Loss


def answer_loss(logits: Tensor, answers: Tensor, kind: Loss) -> Tensor:
    """Loss of logits (B, A) against right answers (B,)."""
    if kind == "softmax":
        return functional.cross_entropy(logits, answers)
    targets = functional.one_hot(answers, logits.shape[1]).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(logits)


def teacher_loss(logits: Tensor, teacher: Tensor, kind: Loss) -> Tensor:
    """Loss of logits (B, A) against a teacher's logits (B, A); BST (arXiv 2203.12814), the authors' code."""
    if kind == "softmax":
        return functional.kl_div(
            functional.log_softmax(logits, -1),
            functional.log_softmax(teacher, -1),
            reduction="batchmean",
            log_target=True,
        )
    return functional.binary_cross_entropy_with_logits(logits, torch.sigmoid(teacher), reduction="sum") / len(logits)
