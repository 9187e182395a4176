"""Reference questions without answers: seeded random inputs, padded as real ones are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgevqa.data.text import RESERVED, question_mask, region_mask
from edgevqa.errors import InputError
from edgevqa.models.config import MCANConfig, RegionInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNT = 32
"""Questions: enough for parity; a hundred pictures of 100 x 2048 features would take 82 MB."""
SEED = 20220324
FEWEST_REGIONS = 10


def random_reference(config: MCANConfig, count: int = COUNT, seed: int = SEED) -> dict[str, NDArray[Any]]:
    """Inputs of `count` questions of 3 or more words about pictures of 10 or more regions, the first ones full.

    Features are like those of a detector behind its ReLU: none is negative, most are small.
    """
    image = config.image
    if not isinstance(image, RegionInput):
        raise InputError("random reference questions are for models that take regions")
    generator = np.random.default_rng(seed)
    lowest = min(len(RESERVED), config.vocabulary_size - 1)
    question = generator.integers(lowest, config.vocabulary_size, (count, config.question_length)).astype(np.int32)
    lengths = generator.integers(min(3, config.question_length), config.question_length + 1, count)
    regions = generator.integers(min(FEWEST_REGIONS, image.count), image.count + 1, count)
    lengths[0], regions[0] = config.question_length, image.count
    question[np.arange(config.question_length) >= lengths[:, None]] = 0
    there = np.arange(image.count) < regions[:, None]
    features = generator.exponential(0.5, (count, image.count, image.feature_size)).astype(np.float32)
    inputs = {
        "question": question,
        "question_mask": question_mask(question),
        "regions": features * there[..., None],
        "region_mask": region_mask(regions, image.count),
    }
    if image.box_size:
        boxes = np.zeros((count, image.count, image.box_size), np.float32)
        corners = np.sort(generator.random((count, image.count, 2, 2)), axis=2).astype(np.float32)
        parts = [corners.reshape(count, image.count, 4), np.prod(corners[:, :, 1] - corners[:, :, 0], -1)[..., None]]
        values = np.concatenate(parts, axis=-1)[..., : image.box_size]
        boxes[..., : values.shape[-1]] = values
        inputs["boxes"] = boxes * there[..., None]
    return inputs
