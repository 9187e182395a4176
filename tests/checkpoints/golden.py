"""The project's own random checkpoint in MILVLG/bst's layout, with logits of the authors' implementation."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from edgevqa.data.text import question_mask, region_mask
from edgevqa.slimming.plan import SubmodelPlan

FOLDER = Path(__file__).parents[1] / "data" / "golden"
WEIGHTS = FOLDER / "mcan_bst_tiny.pkl"
REGIONS, LAYERS = 24, 6


def inputs() -> dict[str, Any]:
    """The questions and pictures as our model reads them: what is zero is padding."""
    with np.load(FOLDER / "mcan_bst_tiny.npz") as stored:
        question, regions = stored["ques"].astype(np.int32), stored["img"]
    counts = regions.any(axis=-1).sum(axis=-1)
    return {
        "question": question,
        "question_mask": question_mask(question),
        "regions": regions,
        "region_mask": region_mask(counts, REGIONS),
    }


def logits(plan: SubmodelPlan) -> Any:
    """What the authors' implementation answers at this width and depth, (4, answers)."""
    assert plan.width is not None and plan.depth is not None
    name = f"logits_{plan.width}__{Fraction(plan.depth, LAYERS)}".replace("/", "_")
    with np.load(FOLDER / "mcan_bst_tiny.npz") as stored:
        return stored[name]
