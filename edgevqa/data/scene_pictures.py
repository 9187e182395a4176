"""Scenes as pictures: 128 x 128, a near-white background and anti-aliased shapes, drawn with Pillow."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageDraw

PICTURE_SIDE = 128
RADII = {"small": (7.0, 7.5, 8.0), "big": (11.5, 12.0, 12.5, 13.0)}
"""Radii in pixels; a shape's area is about that of the disc, so the two sizes never meet."""

EXTENTS = {"circle": (1.0, 1.0), "square": (0.9, 0.9), "triangle": (1.2, 1.05)}
"""Half width and half height of a shape's box, in radii."""

PAINTS = {
    "red": (214, 48, 49),
    "green": (46, 160, 67),
    "blue": (45, 96, 220),
    "yellow": (240, 196, 25),
    "purple": (142, 68, 173),
    "grey": (128, 128, 128),
}

_REACH = 16  # half the side of a sprite; the widest triangle reaches 15.6 pixels
_OVERSAMPLING = 8


@functools.cache
def sprite(shape: str, radius: float) -> np.ndarray:
    """How much of each pixel a shape covers: float32 (32, 32) in 0..1, the centre of its box at (16, 16)."""
    side = 2 * _REACH * _OVERSAMPLING
    picture = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(picture)
    wide, high = (extent * radius * _OVERSAMPLING for extent in EXTENTS[shape])
    centre = side / 2 - 0.5
    box = (centre - wide, centre - high, centre + wide, centre + high)
    if shape == "circle":
        draw.ellipse(box, fill=255)
    elif shape == "square":
        draw.rectangle(box, fill=255)
    else:
        draw.polygon([(centre, box[1]), (box[2], box[3]), (box[0], box[3])], fill=255)
    small = picture.resize((2 * _REACH, 2 * _REACH), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255.0


def paint(background: np.ndarray, things: list[tuple[str, float, int, int, np.ndarray]]) -> np.ndarray:
    """Draw things (shape, radius, x, y, paint) on a plain background: uint8 (128, 128, 3)."""
    side = PICTURE_SIDE + 2 * _REACH
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = background
    for shape, radius, x, y, colour in things:
        window = canvas[y : y + 2 * _REACH, x : x + 2 * _REACH]
        window += sprite(shape, radius)[:, :, None] * (colour - window)
    inner = canvas[_REACH:-_REACH, _REACH:-_REACH]
    return np.rint(inner).astype(np.uint8)
