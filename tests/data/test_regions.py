from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgevqa.data.regions import FEATURE_NAMES, FEATURES, components, find_regions


def flood(mask: np.ndarray) -> np.ndarray:
    """Labels by a plain flood fill, in reading order."""
    labels = np.zeros(mask.shape, int)
    label = 0
    for y, x in zip(*np.nonzero(mask), strict=True):
        if labels[y, x]:
            continue
        label += 1
        stack = [(y, x)]
        while stack:
            row, column = stack.pop()
            inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
            if inside and mask[row, column] and not labels[row, column]:
                labels[row, column] = label
                stack += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return labels


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14)))
def test_components_agree_with_a_flood_fill(mask: np.ndarray) -> None:
    labels, areas = components(mask)
    assert np.array_equal(labels, flood(mask))
    assert areas.tolist() == np.bincount(labels.ravel(), minlength=len(areas) + 1)[1:].tolist()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_components_of_mazes(seed: int) -> None:
    """Spirals and combs join runs over many rows."""
    mask = np.random.default_rng(seed).random((40, 40)) < 0.6
    assert np.array_equal(components(mask)[0], flood(mask))


def picture(*boxes: tuple[int, int, int, int], background: int = 250, side: int = 100) -> np.ndarray:
    image = np.full((side, side, 3), background, np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = (200, 30, 30)
    return image


def test_rows_are_the_whole_picture_then_the_largest_things() -> None:
    found = find_regions(picture((10, 20, 30, 40), (50, 50, 90, 90)))
    assert found.count == 3 and found.found == 2
    names = dict(zip(FEATURE_NAMES, found.regions.T, strict=True))
    assert len(FEATURE_NAMES) == FEATURES
    assert names["is the whole picture"].tolist() == [1] + [0] * 8
    assert names["is a thing"].tolist() == [0, 1, 1] + [0] * 6
    assert found.boxes[:3] == pytest.approx(
        np.array([[0, 0, 1, 1, 1], [0.5, 0.5, 0.9, 0.9, 0.16], [0.1, 0.2, 0.3, 0.4, 0.04]])
    )
    assert names["centre x"][1] == pytest.approx(0.4) and names["centre y"][2] == pytest.approx(-0.4)
    assert (found.boxes[3:] == 0).all() and (found.regions[3:] == 0).all()


def test_colour_is_that_of_the_inside() -> None:
    image = picture((10, 20, 30, 40))
    image[20, 10:30] = image[39, 10:30] = (100, 100, 100)
    assert find_regions(image).regions[1, 4:7] == pytest.approx(np.array([200, 30, 30]) / 127.5 - 1)


def test_any_even_background_will_do() -> None:
    dark = find_regions(picture((10, 20, 30, 40), background=0))
    light = find_regions(picture((10, 20, 30, 40)))
    assert np.array_equal(dark.regions, light.regions)


def test_specks_are_not_things_and_the_smallest_are_left_out() -> None:
    assert find_regions(picture((10, 10, 13, 13))).found == 0
    many = picture(*((x, y, x + 20, y + 10) for x in (5, 35, 65) for y in (5, 25, 45, 65)))
    many[0:9, 90:99] = (0, 0, 200)
    found = find_regions(many)
    assert found.found == 13 and found.count == 9
    assert (found.boxes[1:, 4] == np.float32(0.02)).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 128, 3), (128, 2, 3)])
def test_tiny_pictures_do_not_fail(shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = find_regions(random)
    assert np.isfinite(found.regions).all() and 1 <= found.count <= 9


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_noise_stays_within_bounds(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    found = find_regions(noise)
    assert np.isfinite(found.regions).all() and np.abs(found.regions).max() <= 3
    assert (found.boxes >= 0).all() and (found.boxes <= 1).all()
