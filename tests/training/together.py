"""Training runs for one process or several: `torchrun ... together.py OUT [hang]` makes OUT/<case>.pt of every case."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from edgevqa.models.config import RegionInput
from edgevqa.models.initialisation import initialise
from edgevqa.models.mcan import MCAN
from edgevqa.models.single_stream_config import UniterConfig
from edgevqa.models.uniter import Uniter
from edgevqa.slimming.grid import MCAN_BST, grid, single_stream_bst
from edgevqa.training.loop import Milestones, train
from edgevqa.training.processes import ALONE, Processes, joined
from edgevqa.training.recipe import Recipe
from edgevqa.training.stages import OnAnswers, SelfDistillation, copy_weights
from tests.training.test_training import CONFIG, Toy, model

CASES = {
    # 15 questions: no number of pieces but 3 and 5 divides them evenly
    "teacher": ("answers", Recipe(steps=3, batch=15, warmup=1, seed=4), 0.0),
    "teacher-in-pieces": ("answers", Recipe(steps=3, batch=15, warmup=1, seed=4, accumulation=4), 0.0),
    "student": ("distillation", Recipe(steps=2, batch=15, warmup=1, seed=5, loss="sigmoid"), 0.0),
    "student-in-pieces": ("distillation", Recipe(steps=2, batch=15, warmup=1, seed=5, accumulation=4), 0.0),
    "uniter": ("single stream", Recipe(steps=2, batch=15, warmup=1, seed=7, accumulation=4), 0.0),
    "dropout": ("answers", Recipe(steps=2, batch=15, warmup=1, seed=6, accumulation=4), 0.2),
}
"""Of AdamW alone: Muon orthogonalises in bfloat16, which magnifies rounding."""


class Exact(Toy):
    """In double precision: rounding then stays far below what is compared, also behind Adam's normalisation."""

    def model_inputs(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        inputs = super().model_inputs(indices)
        return {name: value if name == "question" else value.astype(np.float64) for name, value in inputs.items()}


class Boxed(Exact):
    """The same with boxes, as UNITER takes them."""

    def model_inputs(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {**super().model_inputs(indices), "boxes": np.ones((len(indices), 3, 7))}


def single_stream(recipe: Recipe, questions: int) -> SelfDistillation:
    """The distillation of a UNITER, some of whose published weights answer nothing and so have no gradient."""
    config = UniterConfig.uniform(
        hidden=16, heads=4, layers=6, image=RegionInput(3, 4, 7), vocabulary_size=9, answer_count=4, question_length=4,
        dropout=0.0,
    )  # fmt: skip
    student, teacher = Uniter(config).double(), Uniter(config).double()
    initialise(student, 1)
    initialise(teacher, 1)
    return SelfDistillation(student, teacher, grid(config, single_stream_bst(6)), recipe, questions)


def network(seed: int, dropout: float) -> MCAN:
    made = MCAN(replace(CONFIG, dropout=dropout))
    made.load_state_dict(model(seed).state_dict())
    return made.double()


def run(
    case: str, folder: Path, processes: Processes = ALONE, stop_at: int | None = None, **more: object
) -> dict[str, torch.Tensor]:
    kind, recipe, dropout = CASES[case]
    recipe = replace(recipe, **more)  # type: ignore[arg-type]
    data = Boxed(64) if kind == "single stream" else Exact(64)
    grounding = np.zeros((len(data), 3), np.uint8)
    grounding[np.arange(len(data)), data.special] = 3
    recipe = recipe if kind == "single stream" else replace(recipe, grounding=0.5)
    torch.manual_seed(100 + processes.rank)  # the readers of the grounding begin differently in every process
    if kind == "single stream":
        stage: OnAnswers | SelfDistillation = single_stream(recipe, len(data))
    elif kind == "answers":
        stage = OnAnswers(network(1, dropout), recipe, grounding)
    else:
        student, teacher = network(1, dropout), network(2, dropout)
        copy_weights(teacher.state_dict(), student)
        stage = SelfDistillation(student, teacher, grid(CONFIG, MCAN_BST), recipe, len(data), grounding)

    def evaluate(step: int) -> str:
        if step == stop_at:
            raise KeyboardInterrupt
        return f"evaluated by {processes.rank}"

    milestones = Milestones(save=2, tell=1, evaluate=2)
    return train(
        stage, recipe, data, folder, name=case, processes=processes, milestones=milestones,
        evaluate=evaluate, tell=lambda line: print(line, flush=True),
    )  # fmt: skip


def main(out: Path, hang: bool) -> None:
    torch.set_num_threads(1)
    with joined("cpu") as (processes, _device):
        print(f"process {processes.rank} of {processes.count}", flush=True)
        for case in CASES:
            # the processes share no folder, as on several machines
            weights = run(case, out / f"process-{processes.rank}", processes)
            torch.save(weights, out / f"{case}.{processes.rank}.pt")
        (out / f"ready-{processes.rank}.pid").write_text(str(os.getpid()))
        while hang:
            processes.wait()
            time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]), len(sys.argv) > 2)
