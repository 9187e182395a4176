"""UNITER and CLIP-ViL as networks: their inputs in order, masks that hide, training mode, sizes that make no model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgevqa.data.dataset import normalise
from edgevqa.errors import InputError
from edgevqa.models.config import GridInput, RegionInput, TrunkInput, input_specs
from edgevqa.models.families import build, read_config
from edgevqa.models.initialisation import initialise_single_stream
from edgevqa.models.single_stream_config import ClipViLConfig, UniterConfig

SIZES: dict[str, Any] = {"hidden": 24, "heads": 4, "layers": 2, "vocabulary_size": 30, "answer_count": 5}
SIZES |= {"question_length": 6, "positions": 8, "dropout": 0.0}
UNITER = UniterConfig.uniform(image=RegionInput(5, 10, box_size=7), **SIZES)
PIXELS = ClipViLConfig.uniform(image=TrunkInput(64, 96, channels=4, blocks=(1, 2, 1, 1)), **SIZES)
FEATURES = ClipViLConfig.uniform(image=GridInput.of(2, 3, 128), **SIZES)
UNUSED = {
    "uniter": {"regions.mask.weight"},
    "clip-vil": {f"boxes.{part}.{leaf}" for part in ("linear", "norm") for leaf in ("weight", "bias")},
}
"""What serves pre-training alone."""


@pytest.fixture(params=[UNITER, PIXELS, FEATURES], ids=["uniter", "clip-vil", "clip-vil-features"])
def config(request: pytest.FixtureRequest) -> UniterConfig | ClipViLConfig:
    return request.param


def made(config: Any) -> Any:
    model = build(config)
    initialise_single_stream(model, 0)  # type: ignore[arg-type]
    with torch.no_grad():  # larger than BERT's start, so that every part shows in the logits
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.eval()


def example(config: Any, batch: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs: dict[str, Tensor] = {}
    for spec in input_specs(config):
        shape = (batch, *spec.shape[1:])
        if spec.dtype == "int32":
            inputs[spec.name] = torch.randint(1, 30, shape, generator=generator, dtype=torch.int32)
        else:
            inputs[spec.name] = torch.randn(shape, generator=generator) * ("mask" not in spec.name)
    return inputs


def test_inputs_in_their_order_give_logits(config: Any) -> None:
    model, inputs = made(config), example(config)
    logits = model(*inputs.values())
    assert logits.shape == (3, 5) and logits.std() > 0.01
    for name, values in inputs.items():
        if "mask" not in name:
            other = {**inputs, name: values.flip(0)}
            assert (model(*other.values()) - logits).abs().max() > 1e-4, name


def test_what_a_mask_hides_changes_nothing(config: Any) -> None:
    model, inputs = made(config), example(config)
    inputs["question_mask"][..., 3:] = -1e4
    logits = model(*inputs.values())
    inputs["question"][:, 3:] = 7
    torch.testing.assert_close(model(*inputs.values()), logits, rtol=0, atol=0)
    if "region_mask" in inputs:
        inputs["region_mask"][..., 2:] = -1e4
        logits = model(*inputs.values())
        inputs["regions"][:, 2:] = 5
        torch.testing.assert_close(model(*inputs.values()), logits, rtol=0, atol=0)


def test_training_mode_agrees_without_dropout_and_reaches_every_parameter(config: Any) -> None:
    model, inputs = made(config), example(config)
    expected = model(*inputs.values())
    torch.testing.assert_close(model.train()(*inputs.values()), expected, rtol=1e-4, atol=1e-5)
    model(*inputs.values()).square().sum().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name for name, _ in model.named_parameters()} - reached == UNUSED[config.family]


def test_the_grid_is_read_row_by_row() -> None:
    """Two tokens that swap their rows are told apart by the table of rows, and likewise for columns."""
    model = made(FEATURES)
    features = torch.zeros(1, 6, 128)
    places = model.grid_positions(features)[0]
    rows, columns = model.grid_positions.rows.weight, model.grid_positions.columns.weight
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(places[3 * row + column], rows[row] + columns[column])


def test_starting_weights_depend_on_the_seed_alone() -> None:
    first, second = made(UNITER), made(UNITER)
    torch.testing.assert_close(dict(first.named_parameters()), dict(second.named_parameters()), rtol=0, atol=0)
    words = first.text.words.weight.detach() / 4
    assert math.isclose(float(words.std()), 0.02, rel_tol=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "bert"}, "the model family 'bert' is not known; known: mcan, uniter, clip-vil"),
        ({"question_length": 9}, "questions of 9 tokens; the model has 8 positions"),
        ({"image": {"kind": "pixels", "size": 64, "channels": [4]}}, "'pixels' is not known; known: trunk, grid"),
        ({"image": {"kind": "trunk", "height": 60, "width": 96, "channels": 4, "blocks": [1] * 4}}, "multiples of 32"),
        ({"image": {"kind": "trunk", "height": 64, "width": 96, "channels": 4, "blocks": [1, 1]}}, "4 stages"),
        ({"image": {"kind": "trunk", "height": 64, "width": 96, "channels": 4, "blocks": [10**9] * 4}}, "1 to 200"),
        ({"image": {"kind": "grid", "count": 7, "feature_size": 128, "rows": 2, "columns": 3}}, "has not 7 tokens"),
        ({"image": None}, "incomplete or wrong"),
        ({"colour": 1}, "incomplete or wrong"),
    ],
)
def test_sizes_that_make_no_model(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_config({**PIXELS.to_dict(), **change})


def test_a_grid_larger_than_its_tables_is_refused() -> None:
    with pytest.raises(InputError, match="a grid of 1 x 30 tokens; the model has 25 positions"):
        replace(FEATURES, image=GridInput.of(1, 30, 128))


def test_channels_are_normalised_each_by_itself() -> None:
    pixels = np.full((1, 3, 2, 2), 255, np.uint8)
    image = normalise(pixels, {"mean": [0.5, 0.25, 0.0], "deviation": [0.5, 0.25, 2.0]})
    np.testing.assert_allclose(image[0, :, 0, 0], [1.0, 3.0, 0.5], rtol=1e-6)
    assert image.dtype == np.float32
