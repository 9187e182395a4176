"""Counts against the published sizes of MCAN_BST (20,573 words, 3,129 answers, 14 tokens, 100 regions)."""

from __future__ import annotations

from fractions import Fraction

import pytest

from edgevqa.models.config import MCANConfig, PixelInput, RegionInput
from edgevqa.models.mcan import MCAN
from edgevqa.slimming.counting import count
from edgevqa.slimming.grid import MCAN_BST, bst_plan, grid
from edgevqa.slimming.published import PUBLISHED
from edgevqa.slimming.rules import slice_config

PAPER = PUBLISHED["mcan-bst"].config

# (width, layers): parameters in millions, MMACs, FLOPs in G, all as printed for the 16 pairs.
ROWS = {
    ("1/4", 1): (9.534, 82.29, 0.1646),
    ("1/4", 2): (9.997, 111.41, 0.2228),
    ("1/4", 4): (10.923, 169.65, 0.3393),
    ("1/4", 6): (11.849, 227.88, 0.4558),
    ("1/2", 1): (12.341, 197.47, 0.3949),
    ("1/2", 2): (14.184, 308.00, 0.6160),
    ("1/2", 4): (17.870, 529.07, 1.0581),
    ("1/2", 6): (21.557, 750.13, 1.5003),
    ("3/4", 1): (16.261, 368.81, 0.7376),
    ("3/4", 2): (20.402, 613.06, 1.2261),
    ("3/4", 4): (28.684, 1101.55, 2.2031),
    ("3/4", 6): (36.966, 1590.04, 3.1801),
    ("1", 1): (21.295, 596.32, 1.1926),
    ("1", 2): (28.652, 1026.58, 2.0532),
    ("1", 4): (43.365, 1887.09, 3.7742),
    ("1", 6): (58.077, 2747.60, 5.4952),
}


@pytest.mark.parametrize(("width", "layers"), ROWS)
def test_all_sixteen_rows(width: str, layers: int) -> None:
    plan = bst_plan(PAPER, MCAN_BST, Fraction(width), layers, filtered=False)
    counts = count(slice_config(PAPER, plan))
    parameters, mmacs, gflops = ROWS[width, layers]
    assert round(counts.parameters / 1e6, 3) == parameters
    assert round(counts.macs / 1e6, 2) == mmacs
    assert round(counts.flops / 1e9, 4) == gflops


@pytest.mark.parametrize(
    ("width", "layers", "parameters"), [("1", 6, 58_077_495), ("1/2", 6, 21_556_535), ("1/4", 1, 9_534_263)]
)
def test_exact_parameters(width: str, layers: int, parameters: int) -> None:
    plan = bst_plan(PAPER, MCAN_BST, Fraction(width), layers)
    assert count(slice_config(PAPER, plan)).parameters == parameters


def test_parts_of_the_smallest_submodel() -> None:
    parts = count(slice_config(PAPER, bst_plan(PAPER, MCAN_BST, Fraction(1, 4), 1))).parameters_by_part
    assert parts["word embedding"] == 6_171_900
    assert parts["LSTM"] == 1_667_072
    assert parts["language adapter"] == 65_920
    assert parts["image adapter"] == 262_528
    assert parts["encoder"] == 198_272
    assert parts["decoder"] == 264_576
    assert parts["attention pooling"] == 99_330
    assert parts["final norm"] == 512
    assert parts["classifier"] == 804_153


def test_mcan_small_without_adapters() -> None:
    """The original MCAN-small: 20,572 words, no language adapter, no norm behind the image adapter."""
    assert count(PUBLISHED["mcan-small"].config).parameters == 57_812_491


def test_mcan_large() -> None:
    counts = count(PUBLISHED["mcan-large"].config)
    assert round(counts.parameters / 1e6, 1) == 201.7
    assert round(counts.flops / 1e9, 2) == 21.08


@pytest.mark.parametrize(
    ("width", "layers", "parameters", "gflops"),
    [("1", 6, 52.53, 6.457), ("1/2", 6, 16.14, 1.840), ("1/2", 2, 8.77, 0.837), ("1/4", 1, 4.19, 0.279)],
)
def test_gqa_sizes(width: str, layers: int, parameters: float, gflops: float) -> None:
    gqa = PUBLISHED["mcan-bst-gqa"]
    plan = bst_plan(gqa.config, gqa.slimming, Fraction(width), layers)
    counts = count(slice_config(gqa.config, plan))
    assert round(counts.parameters / 1e6, 2) == parameters
    assert round(counts.flops / 1e9, 3) == gflops


@pytest.mark.parametrize(
    "image",
    [
        RegionInput(5, 6),
        RegionInput(5, 6, box_size=4),
        RegionInput(5, 6, box_size=5, box_embedding=8, norm=False),
        PixelInput(16, (4, 8)),
    ],
)
def test_counts_equal_the_built_module(image: RegionInput | PixelInput) -> None:
    config = MCANConfig.uniform(
        hidden=32,
        heads=8,
        layers=6,
        image=image,
        vocabulary_size=11,
        answer_count=7,
        question_length=5,
        word_size=6,
        lstm_size=10,
    )
    for plan in grid(config, MCAN_BST, filtered=False):
        sliced = slice_config(config, plan)
        assert count(sliced).parameters == sum(parameter.numel() for parameter in MCAN(sliced).parameters())
