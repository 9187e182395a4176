"""A training run on a few scenes, which can be stopped: `python scenes_run.py OUT [LINE]` hangs when it tells LINE."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from edgevqa.checkpoints import Checkpoint
from edgevqa.checkpoints.make import make_checkpoint
from edgevqa.checkpoints.presets import Preset
from edgevqa.data.dataset import Dataset
from edgevqa.data.scenes import SEED, generate_split, scenes_dataset
from edgevqa.models.config import RegionInput
from edgevqa.training.loop import Milestones
from edgevqa.training.recipe import Recipe

SCENES = {"train": 8, "validation": 2, "test": 4}
PRESET = Preset(
    image=RegionInput(count=9, feature_size=28, box_size=5),
    hidden=16,
    word_size=8,
    lstm_size=16,
    dropout=0.1,
    teacher=Recipe(steps=2, batch=32, warmup=1, seed=3, grounding=0.5),
    student=Recipe(steps=3, batch=32, warmup=1, seed=3),
)


def dataset() -> Dataset:
    return replace(
        scenes_dataset("scenes"),
        make_split=lambda split, progress: generate_split(split, SCENES[split], SEED, "scenes", progress),
    )


def run(out: Path, hang_at: str = "", preset: Preset = PRESET) -> tuple[Checkpoint, list[str]]:
    """Train, saving after every step; returns the checkpoint and what was told."""
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        print(line, flush=True)
        if hang_at and hang_at in line:
            time.sleep(600)

    torch.set_num_threads(1)
    milestones = Milestones(save=1, tell=1, evaluate=2)
    made = make_checkpoint(dataset(), preset, out, milestones=milestones, command="edgevqa train toys", tell=tell)
    return made, told


if __name__ == "__main__":
    run(Path(sys.argv[1]), *sys.argv[2:])
