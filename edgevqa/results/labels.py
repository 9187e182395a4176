"""Where the labels of a plot go: beside their points, over nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]

RINGS = (5.0, 7.0, 9.0, 13.0, 18.0, 24.0, 30.0)
"""Distances at which a label is tried, in 1/72 inch."""
POINT_RADIUS = 2.6
LINE_RADIUS = 0.6


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        """Whether they share more than an edge."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def within(self, other: Box) -> bool:
        """Whether it lies wholly in another."""
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.bottom <= self.bottom
            and self.top <= other.top
        )

    def distance(self, point: Point) -> float:
        """From a point to the nearest edge; 0 inside."""
        x = min(max(point[0], self.left), self.right)
        y = min(max(point[1], self.bottom), self.top)
        return math.dist((x, y), point)


def place_labels(
    anchors: Sequence[Point],
    sizes: Sequence[Point],
    points: Sequence[Point],
    line: Sequence[Point],
    bounds: Box,
    scale: float,
) -> list[Box | None]:
    """Find a place for each label, near ones first, up and to the left preferred: a front leaves room there.

    Args:
        anchors: the points that are labelled, in pixels.
        sizes: width and height of each label, in pixels.
        points: all points, which no label may cover.
        line: the corners of the front's steps, which a label covers only when there is no other place.
        bounds: where labels may be.
        scale: pixels per 1/72 inch.

    Returns:
        a box for each label, or None where there is no free place.
    """
    taken = [_around(point, point, POINT_RADIUS * scale) for point in points]
    steps = [_around(start, end, LINE_RADIUS * scale) for start, end in pairwise(line)]
    placed: list[Box | None] = []
    for anchor, size in zip(anchors, sizes, strict=True):
        free = [
            box
            for box in _candidates(anchor, size, scale)
            if box.within(bounds) and not any(box.overlaps(other) for other in taken)
        ]
        clear = (box for box in free if not any(box.overlaps(step) for step in steps))
        box = next(clear, free[0] if free else None)
        placed.append(box)
        if box is not None:
            taken.append(box)
    return placed


def _around(start: Point, end: Point, radius: float) -> Box:
    left, right = sorted((start[0], end[0]))
    bottom, top = sorted((start[1], end[1]))
    return Box(left - radius, bottom - radius, right + radius, top + radius)


def _candidates(anchor: Point, size: Point, scale: float) -> Iterator[Box]:
    """Boxes around a point, ring by ring, each from the upper left in both directions to the lower right."""
    width, height = size
    for distance in RINGS:
        for turn in (0, 30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180):
            angle = math.radians(135 + turn)
            across, up = math.cos(angle), math.sin(angle)
            # The box touches the ring with the edge or corner that faces the point.
            x = anchor[0] + across * distance * scale + (across - 1) / 2 * width
            y = anchor[1] + up * distance * scale + (up - 1) / 2 * height
            yield Box(x, y, x + width, y + height)
