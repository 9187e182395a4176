"""BST's grid: ten pairs of sixteen, and clear words for the others."""

from __future__ import annotations

from fractions import Fraction

import pytest

from edgevqa.errors import UsageError
from edgevqa.models.config import MCANConfig, RegionInput
from edgevqa.slimming.grid import MCAN_BST, Slimming, bst_plan, grid, grid_pairs, slimming_of

CONFIG = MCANConfig.uniform(
    hidden=16,
    heads=8,
    layers=6,
    image=RegionInput(4, 6),
    vocabulary_size=11,
    answer_count=7,
    question_length=5,
)


def test_the_triangle_keeps_ten() -> None:
    names = [plan.name for plan in grid(CONFIG, MCAN_BST)]
    assert names == [
        "w0.25-d1", "w0.25-d2", "w0.25-d4", "w0.25-d6",
        "w0.5-d2", "w0.5-d4", "w0.5-d6",
        "w0.75-d4", "w0.75-d6",
        "w1-d6",
    ]  # fmt: skip
    assert len(list(grid_pairs(MCAN_BST, filtered=False))) == 16


@pytest.mark.parametrize(("width", "depth"), [("3/10", 2), ("1/4", 9), ("1/4", 3), ("1", 1)])
def test_a_pair_outside_lists_the_grid(width: str, depth: int) -> None:
    with pytest.raises(UsageError, match=r"width 0\.25 with depth 1, 2, 4, 6; .*width 1 with depth 6"):
        bst_plan(CONFIG, MCAN_BST, Fraction(width), depth)


def test_any_lifts_only_the_triangle() -> None:
    with pytest.raises(UsageError, match="--any"):
        bst_plan(CONFIG, MCAN_BST, Fraction(1), 1)
    assert bst_plan(CONFIG, MCAN_BST, Fraction(1), 1, filtered=False).name == "w1-d1"
    with pytest.raises(UsageError):
        bst_plan(CONFIG, MCAN_BST, Fraction(3, 10), 2, filtered=False)


def test_a_depth_that_does_not_divide_the_layers_is_refused() -> None:
    order = {"encoder": (0, 1, 2, 3), "decoder": (0, 1, 2, 3)}
    with pytest.raises(UsageError, match="the depth 1/6 is no whole number of the 4 layers"):
        list(grid_pairs(Slimming(MCAN_BST.widths, MCAN_BST.depths, order)))


def test_slimming_survives_json() -> None:
    assert Slimming.from_dict(MCAN_BST.to_dict()) == MCAN_BST


@pytest.mark.parametrize("layers", range(1, 13))
def test_any_number_of_layers_has_a_grid_with_the_full_model_last(layers: int) -> None:
    slimming = slimming_of(layers)
    assert all(sorted(order) == list(range(layers)) for order in slimming.layer_order.values())
    pairs = list(grid_pairs(slimming))
    assert pairs[-1] == (Fraction(1), layers) and pairs[0][0] == Fraction(1, 4)
    assert len(set(pairs)) == len(pairs) and all(1 <= depth <= layers for _width, depth in pairs)
    assert (slimming_of(6) == MCAN_BST) and len(list(grid_pairs(slimming_of(12)))) == 10
