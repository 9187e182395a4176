"""What a training run does, as data: it is saved with the run, and equal recipes make equal weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgevqa.errors import UsageError

Loss = Literal["softmax", "sigmoid"]
Optimizer = Literal["adamw", "muon"]


@dataclass(frozen=True)
class Recipe:
    """One stage of training.

    Args:
        steps: optimizer steps.
        batch: questions a step.
        learning_rate: the highest rate, reached after the warm-up.
        warmup: steps of linear warm-up; the rate then falls along a half cosine to zero.
        weight_decay: AdamW's.
        loss: "softmax": one answer is right (cross entropy; KL to the teacher's softmax, BST's choice for GQA).
            "sigmoid": answers are judged one by one (BCE summed over answers; to the teacher's sigmoid, BST's
            choice for VQA-v2). Both are averaged over the batch.
        optimizer: "adamw" for all weights; "muon" orthogonalises the updates of the matrices inside the layers
            (Jordan et al. 2024, scaled to AdamW's step size as by Liu et al. 2025), and AdamW does the rest.
        mixed_precision: whether matrix products are computed in bfloat16; weights and losses stay float32.
        grounding: weight of a second loss where the data says which regions a question speaks of: linear layers,
            thrown away afterwards, must read which fit its descriptions from the states behind the second decoder
            layer, and which stand in the asked relation from those behind the fourth.
        submodels: K, the submodels of one distillation step.
        accumulation: pieces that a batch is computed in, one after the other, which takes less memory and makes the
            same weights; the processes of a run share them. Dropout alone differs with the number of pieces.
        seed: of the weights, the order of the questions, dropout and the choice of submodels.
    """

    steps: int
    batch: int = 256
    learning_rate: float = 1e-3
    warmup: int = 500
    weight_decay: float = 0.01
    loss: Loss = "softmax"
    optimizer: Optimizer = "adamw"
    mixed_precision: bool = False
    grounding: float = 0.0
    submodels: int = 5
    accumulation: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise UsageError(f"a training stage needs at least one step and one question, not {self}")
        if self.seed < 0:
            raise UsageError(f"a seed is a whole number from 0 on, not {self.seed}")
        if not 1 <= self.accumulation <= self.batch:
            raise UsageError(f"a batch of {self.batch} questions is not computed in {self.accumulation} pieces")
        if self.submodels < 2:
            raise UsageError(f"a distillation step needs the smallest and the largest submodel, not {self.submodels}")

    def rate(self, step: int) -> float:
        """The learning rate of a step, 0-based."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable description."""
        return asdict(self)
