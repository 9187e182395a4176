"""Reference questions without answers: seeded random inputs, padded as real ones are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgevqa.data.text import RESERVED, question_mask, region_mask
from edgevqa.models.config import GridInput, RegionInput, input_specs
from edgevqa.models.families import ModelConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNT = 32
"""Questions: enough for parity; a hundred pictures of 100 x 2048 features would take 82 MB."""
PIXEL_COUNT = 8
"""Questions about pictures: eight of 384 x 640 pixels take 24 MB."""
SEED = 20220324
FEWEST_REGIONS = 10


def random_reference(config: ModelConfig, count: int | None = None, seed: int = SEED) -> dict[str, NDArray[Any]]:
    """Inputs of `count` questions of 3 or more words about pictures of 10 or more regions, the first ones full.

    Features are like those of a detector behind its ReLU: none is negative, most are small. A grid is always full, and
    pictures are normal noise.
    """
    image = config.image
    if count is None:
        count = COUNT if isinstance(image, RegionInput) else PIXEL_COUNT
    generator = np.random.default_rng(seed)
    inputs = _questions(config, count, generator)
    if not isinstance(image, RegionInput):
        shape = next(spec.shape for spec in input_specs(config) if spec.name == "image")
        return {**inputs, "image": generator.standard_normal((count, *shape[1:]), np.float32)}
    regions = generator.integers(min(FEWEST_REGIONS, image.count), image.count + 1, count)
    regions[0] = image.count
    if isinstance(image, GridInput):
        regions[:] = image.count
    there = np.arange(image.count) < regions[:, None]
    features = generator.exponential(0.5, (count, image.count, image.feature_size)).astype(np.float32)
    inputs |= {"regions": features * there[..., None], "region_mask": region_mask(regions, image.count)}
    if image.box_size:
        boxes = np.zeros((count, image.count, image.box_size), np.float32)
        values = _boxes(generator, count, image.count, image.box_size)
        boxes[..., : values.shape[-1]] = values
        inputs["boxes"] = boxes * there[..., None]
    return inputs


def _questions(config: ModelConfig, count: int, generator: np.random.Generator) -> dict[str, NDArray[Any]]:
    lowest = min(len(RESERVED), config.vocabulary_size - 1)
    question = generator.integers(lowest, config.vocabulary_size, (count, config.question_length)).astype(np.int32)
    lengths = generator.integers(min(3, config.question_length), config.question_length + 1, count)
    lengths[0] = config.question_length
    question[np.arange(config.question_length) >= lengths[:, None]] = 0
    return {"question": question, "question_mask": question_mask(question)}


def _boxes(generator: np.random.Generator, count: int, regions: int, size: int) -> NDArray[np.float32]:
    """Left, top, right, bottom, then width and height where a box has seven values, and its area."""
    corners = np.sort(generator.random((count, regions, 2, 2)), axis=2).astype(np.float32)
    extent = corners[:, :, 1] - corners[:, :, 0]
    parts = [corners.reshape(count, regions, 4), *([extent] if size > 6 else []), np.prod(extent, -1)[..., None]]
    return np.concatenate(parts, axis=-1)[..., :size]
