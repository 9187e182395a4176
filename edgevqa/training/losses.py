"""Losses against the ground truth and against a teacher, averaged over the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgevqa.training.recipe import Loss


def answer_loss(logits: Tensor, answers: Tensor, kind: Loss) -> Tensor:
    """Loss of logits (B, A) against right answers (B,), or against what all answers are worth, 0..1 (B, A).

    For "softmax" the worths of a question are scaled to a sum of 1, as openvqa's `kld` does.
    """
    soft = answers.dim() == 2
    if kind == "softmax":
        targets = functional.normalize(answers, p=1.0, dim=1) if soft else answers
        return functional.cross_entropy(logits, targets)
    targets = answers if soft else functional.one_hot(answers, logits.shape[1]).to(logits.dtype)
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
