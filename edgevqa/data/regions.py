"""Regions of a plain picture: the things on an even background, found as connected components.

It stands where a detector stands for photographs: a picture goes in, rows of features with boxes come out.
The same function makes the training data and answers a user's question.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REGIONS = 9
FEATURES = 28
BOX_NUMBERS = 5
WORKING_SIDE = 128
THRESHOLD = 40  # distance from the background, of 255, in the channel that differs most
MINIMUM_AREA = 30 / 128**2  # of the picture

FEATURE_NAMES = (
    "is the whole picture", "is a thing", "centre x", "centre y", "red", "green", "blue", "size",
    "fill of box", "fill top left", "fill top right", "fill bottom left", "fill bottom right",
    "aspect", "width", "height",
    "sine of x", "sine of y", "cosine of x", "cosine of y",
    "sine of 2x", "sine of 2y", "cosine of 2x", "cosine of 2y",
    "sine of 4x", "sine of 4y", "cosine of 4x", "cosine of 4y",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of one picture.

    Attributes:
        regions: float32 (9, 28), see FEATURE_NAMES; row 0 is the whole picture, then the things, largest
            first, then zeros. Values lie around -1..1 and never beyond -3..3.
        boxes: float32 (9, 5): x1, y1, x2, y2 and area, relative to the picture.
        count: the rows that are real, the whole picture included.
        found: the things that were seen; more than 8 means that the smallest were left out.
    """

    regions: np.ndarray
    boxes: np.ndarray
    count: int
    found: int


def find_regions(picture: np.ndarray) -> Regions:
    """Find the things in a picture.

    Args:
        picture: uint8 (H, W, 3), at most about 128 pixels on the long side (the caller scales larger ones).
    """
    height, width = picture.shape[:2]
    pixels = picture.astype(np.int16)
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    background = np.median(border, axis=0)
    foreground = np.abs(pixels - background.astype(np.int16)).max(axis=2) > THRESHOLD
    labels, areas = components(foreground)

    large = np.flatnonzero(areas >= MINIMUM_AREA * height * width)
    kept = large[np.argsort(-areas[large], kind="stable")][: REGIONS - 1]

    regions = np.zeros((REGIONS, FEATURES), np.float32)
    boxes = np.zeros((REGIONS, BOX_NUMBERS), np.float32)
    regions[0, 0] = 1.0
    boxes[0] = (0.0, 0.0, 1.0, 1.0, 1.0)
    for row, label in enumerate(kept, start=1):
        thing = labels == label + 1
        rows, columns = np.flatnonzero(thing.any(axis=1)), np.flatnonzero(thing.any(axis=0))
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        inside = thing[top:bottom, left:right]
        box = (int(left), int(top), int(right), int(bottom))
        regions[row] = _describe(inside, picture[top:bottom, left:right], box, (width, height))
        area = (right - left) * (bottom - top) / (width * height)
        boxes[row] = (left / width, top / height, right / width, bottom / height, area)
    return Regions(regions, boxes, 1 + len(kept), len(large))


def _describe(
    inside: np.ndarray, pixels: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]
) -> np.ndarray:
    """The features of one thing: float32 (28,), see FEATURE_NAMES."""
    (left, top, right, bottom), (width, height) = box, size
    high, wide = inside.shape
    interior = inside.copy()  # without its rim, whose colour is mixed with the background's
    interior[1:] &= inside[:-1]
    interior[:-1] &= inside[1:]
    interior[:, 1:] &= inside[:, :-1]
    interior[:, :-1] &= inside[:, 1:]
    interior[[0, -1]] = False
    interior[:, [0, -1]] = False
    colour = pixels[interior if interior.any() else inside].mean(axis=0)
    area = inside.sum()
    middle_y, middle_x = (high + 1) // 2, (wide + 1) // 2
    quarters = [
        inside[:middle_y, :middle_x].mean(),
        inside[:middle_y, wide - middle_x :].mean(),
        inside[high - middle_y :, :middle_x].mean(),
        inside[high - middle_y :, wide - middle_x :].mean(),
    ]
    centre = np.array([(left + right) / width - 1.0, (top + bottom) / height - 1.0])
    # Waves of the position make small differences between two things easy to see.
    waves = [wave(octave * np.pi / 2 * centre) for octave in (1, 2, 4) for wave in (np.sin, np.cos)]
    features = np.array(
        [
            0.0,
            1.0,
            *centre,
            *(colour / 127.5 - 1.0),
            (np.sqrt(area / (width * height)) - 0.134) / 0.04,
            (area / (wide * high) - 0.75) * 4.0,
            *((quarter - 0.7) * 2.5 for quarter in quarters),
            np.log(wide / high) * 3.0,
            (wide / width - 0.16) / 0.06,
            (high / height - 0.16) / 0.06,
            *np.concatenate(waves),
        ],
        np.float32,
    )
    return np.clip(features, -3.0, 3.0)


def components(foreground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 4-connected components of a mask (H, W).

    Returns labels int (H, W), 0 for background, components from 1 in reading order, and their areas.
    Rows are cut into runs, runs that touch in neighbouring rows are joined with a union-find over runs.
    """
    height, width = foreground.shape
    stride = width + 1  # one empty column, so that no run crosses the end of a row
    flat = np.zeros(height * stride + 1, np.int8)
    flat[:-1].reshape(height, stride)[:, :width] = foreground
    steps = np.diff(flat, prepend=np.int8(0))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    first = np.searchsorted(ends, starts - stride, side="right").tolist()
    last = np.searchsorted(starts, ends - stride, side="left").tolist()

    parents = list(range(len(starts)))
    for run, (begin, end) in enumerate(zip(first, last, strict=True)):
        for above in range(begin, end):
            root = run
            while parents[root] != root:
                root = parents[root]
            other = above
            while parents[other] != other:
                parents[other] = parents[parents[other]]
                other = parents[other]
            low, high = (root, other) if root < other else (other, root)
            parents[high] = low
    for run, parent in enumerate(parents):  # a parent comes before its run, so one pass settles all
        parents[run] = parents[parent]

    _, numbers = np.unique(np.array(parents, np.int64), return_inverse=True)
    lengths = ends - starts
    areas = np.bincount(numbers, weights=lengths).astype(np.int64)
    labels = np.zeros(height * stride + 1, np.int32)
    labels[flat == 1] = np.repeat(numbers + 1, lengths)
    return labels[:-1].reshape(height, stride)[:, :width], areas
