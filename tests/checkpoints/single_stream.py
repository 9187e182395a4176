"""The project's own random checkpoints of UNITER and CLIP-ViL, with logits of the authors' implementations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevqa.checkpoints.importers.layout import Settings
from edgevqa.data.text import question_mask, region_mask

FOLDER = Path(__file__).parents[1] / "data" / "golden"
IMAGE_SIZE = (96, 160)


@dataclass(frozen=True)
class Golden:
    """A checkpoint: its kind and file, the settings that fit its answers, and what it was asked."""

    kind: str
    file: Path
    settings: Settings
    inputs: Callable[[], dict[str, Any]]

    def logits(self) -> Any:
        return _stored(self.file)["logits"]


def _stored(path: Path) -> Mapping[str, Any]:
    with np.load(path.with_suffix(".npz")) as stored:
        return dict(stored)


def _question(stored: Mapping[str, Any]) -> dict[str, Any]:
    question = stored["input_ids"].astype(np.int32)
    return {"question": question, "question_mask": question_mask(question)}


def _uniter() -> dict[str, Any]:
    stored = _stored(FOLDER / "uniter_tiny.pt")
    regions = {"regions": stored["img_feat"], "region_mask": region_mask(stored["num_boxes"], 20)}
    return {**_question(stored), **regions, "boxes": stored["img_pos_feat"]}


def _pixels() -> dict[str, Any]:
    stored = _stored(FOLDER / "clip_vil_tiny.pth")
    return {**_question(stored), "image": stored["image"]}


def _features() -> dict[str, Any]:
    stored = _stored(FOLDER / "clip_vil_tiny.pth")
    features = stored["clip_features"]
    regions = np.ascontiguousarray(features.reshape(*features.shape[:2], -1).transpose(0, 2, 1))
    counts = np.full(len(regions), regions.shape[1])
    return {**_question(stored), "regions": regions, "region_mask": region_mask(counts, regions.shape[1])}


GOLDEN: Mapping[str, Golden] = {
    "uniter": Golden("uniter", FOLDER / "uniter_tiny.pt", Settings(regions=20, question_length=12), _uniter),
    "clip-vil": Golden("clip-vil", FOLDER / "clip_vil_tiny.pth", Settings(image_size=IMAGE_SIZE), _pixels),
    "clip-vil-features": Golden(
        "clip-vil", FOLDER / "clip_vil_tiny.pth", Settings(image_size=IMAGE_SIZE, without_trunk=True), _features
    ),
}
