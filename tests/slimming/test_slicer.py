"""The slicer: views equal copies, prefixes are prefixes, and any plan makes a working smaller model."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from edgevqa.errors import UsageError
from edgevqa.models.config import MCANConfig, PixelInput, RegionInput
from edgevqa.models.mcan import MCAN
from edgevqa.slimming.grid import MCAN_BST, bst_plan, full_plan, grid
from edgevqa.slimming.plan import SubmodelPlan
from edgevqa.slimming.rules import dimensions, parameter_axes, slice_config
from edgevqa.slimming.slicer import slice_model, views

SIZES = {"vocabulary_size": 11, "answer_count": 7, "question_length": 5, "word_size": 6, "lstm_size": 10}
CONFIG = MCANConfig.uniform(hidden=16, heads=8, layers=6, image=RegionInput(4, 6, box_size=5), **SIZES)


def build(config: MCANConfig = CONFIG) -> MCAN:
    torch.manual_seed(3)
    return MCAN(config).eval()


def inputs(config: MCANConfig = CONFIG, batch: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    question = torch.randint(0, 11, (batch, 5), generator=generator)
    mask = torch.zeros(batch, 1, 1, 5)
    mask[0, ..., 3:] = -1e4
    if isinstance(config.image, PixelInput):
        return (
            question,
            mask,
            torch.randn(batch, 3, config.image.size, config.image.size, generator=generator),
        )
    region_mask = torch.zeros(batch, 1, 1, 4)
    region_mask[1, ..., 2:] = -1e4
    regions, boxes = (torch.randn(batch, 4, size, generator=generator) for size in (6, 5))
    return question, mask, regions, region_mask, boxes


@pytest.mark.parametrize("image", [RegionInput(4, 6, box_size=5), PixelInput(16, (4, 8))])
def test_trained_views_and_exported_copies_answer_alike(image: RegionInput | PixelInput) -> None:
    config = MCANConfig.uniform(hidden=16, heads=8, layers=6, image=image, **SIZES)
    model = build(config)
    for plan in grid(config, MCAN_BST, filtered=False):
        skeleton = MCAN(slice_config(config, plan)).eval()
        viewed = functional_call(skeleton, views(dict(model.named_parameters()), config, plan), inputs(config))
        copied = slice_model(model, plan)(*inputs(config))
        torch.testing.assert_close(viewed, copied, rtol=0, atol=0)


def test_the_full_plan_is_the_model() -> None:
    model = build()
    torch.testing.assert_close(slice_model(model, full_plan(CONFIG, MCAN_BST))(*inputs()), model(*inputs()))


def test_a_prefix_keeps_the_first_heads_and_the_right_layers() -> None:
    model = build()
    submodel = slice_model(model, bst_plan(CONFIG, MCAN_BST, Fraction(1, 4), 1))
    full, small = model.encoder[0].attention.query.weight, submodel.encoder[0].attention.query.weight
    torch.testing.assert_close(small, full[: 2 * CONFIG.head_size, :4])
    # At depth 1 the decoder keeps its last layer.
    torch.testing.assert_close(submodel.decoder[0].ffn.inner.weight, model.decoder[5].ffn.inner.weight[:16, :4])
    torch.testing.assert_close(submodel.embedding.weight, model.embedding.weight)
    torch.testing.assert_close(submodel.lstm.weight_hh_l0, model.lstm.weight_hh_l0)


@pytest.mark.parametrize(
    ("depth", "encoder", "decoder"),
    [
        (1, (0,), (5,)),
        (2, (0, 5), (0, 5)),
        (4, (0, 1, 4, 5), (0, 1, 4, 5)),
        (6, tuple(range(6)), tuple(range(6))),
    ],
)
def test_layer_order(depth: int, encoder: tuple[int, ...], decoder: tuple[int, ...]) -> None:
    plan = bst_plan(CONFIG, MCAN_BST, Fraction(1, 4), depth)
    assert (plan.layers["encoder"], plan.layers["decoder"]) == (encoder, decoder)


def test_gradients_reach_only_what_a_view_holds() -> None:
    model = build()
    plan = bst_plan(CONFIG, MCAN_BST, Fraction(1, 2), 2)
    skeleton = MCAN(slice_config(CONFIG, plan)).eval()
    functional_call(skeleton, views(dict(model.named_parameters()), CONFIG, plan), inputs()).sum().backward()
    assert model.encoder[1].ffn.inner.weight.grad is None
    gradient = model.encoder[0].ffn.inner.weight.grad
    assert gradient[:32, :8].abs().sum() > 0
    assert gradient[32:].abs().sum() == 0
    assert gradient[:, 8:].abs().sum() == 0


def test_removing_heads_by_index_equals_silencing_them() -> None:
    """A plan with chosen heads and neurons answers like the full model with those heads and neurons silenced."""
    model = build()
    heads, neurons = (1, 4, 6), tuple(range(0, 64, 3))
    plan = SubmodelPlan(
        method="test",
        layers={"encoder": tuple(range(6)), "decoder": tuple(range(6))},
        kept={"encoder.2.heads": heads, "decoder.3.ffn": neurons},
    )
    silenced = build()
    with torch.no_grad():
        gone = [e for e in range(16) if e // CONFIG.head_size not in heads]
        silenced.encoder[2].attention.merge.weight[:, gone] = 0
        gone = [n for n in range(64) if n not in neurons]
        silenced.decoder[3].ffn.outer.weight[:, gone] = 0
    torch.testing.assert_close(slice_model(model, plan)(*inputs()), silenced(*inputs()))


def test_every_parameter_has_a_rule_with_one_word_for_each_axis() -> None:
    for image in (RegionInput(4, 6, box_size=5, box_embedding=3), PixelInput(16, (4, 8))):
        config = MCANConfig.uniform(hidden=16, heads=8, layers=6, image=image, **SIZES)
        sizes = dimensions(config)
        for name, parameter in MCAN(config).named_parameters():
            axes = parameter_axes(name, config)
            assert len(axes) == parameter.dim(), name
            for axis, length in zip(axes, parameter.shape, strict=True):
                assert axis.dimension is None or sizes[axis.dimension] * axis.unit == length, name


@st.composite
def any_plan(draw: st.DrawFn) -> SubmodelPlan:
    layers = {part: tuple(sorted(draw(st.sets(st.integers(0, 5), min_size=1)))) for part in ("encoder", "decoder")}
    kept = {}
    for name, size in dimensions(CONFIG).items():
        choice = draw(st.one_of(st.none(), st.integers(1, size), st.sets(st.integers(0, size - 1), min_size=1)))
        if choice is not None:
            kept[name] = choice if isinstance(choice, int) else tuple(sorted(choice))
    return SubmodelPlan(method="any", layers=layers, kept=kept)


@settings(max_examples=30, deadline=None)
@given(any_plan())
def test_any_plan_survives_json_and_makes_a_model_of_its_size(plan: SubmodelPlan) -> None:
    again = SubmodelPlan.from_dict(plan.to_dict())
    assert (again, again.name, again.hash) == (plan, plan.name, plan.hash)
    submodel = slice_model(build(), plan)
    assert submodel(*inputs()).shape == (3, 7)
    assert submodel.config == slice_config(CONFIG, plan)


@pytest.mark.parametrize(
    "plan",
    [
        SubmodelPlan("x", {"encoder": (6,)}),
        SubmodelPlan("x", {"encoder": ()}),
        SubmodelPlan("x", {"middle": (0,)}),
        SubmodelPlan("x", {}, {"hidden": 17}),
        SubmodelPlan("x", {}, {"hidden": 0}),
        SubmodelPlan("x", {}, {"hidden": (3, 2)}),
        SubmodelPlan("x", {}, {"encoder.9.heads": 1}),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(plan: SubmodelPlan) -> None:
    with pytest.raises(UsageError):
        slice_config(CONFIG, plan)


def test_without_a_language_adapter_the_residual_stream_stays_whole() -> None:
    bare = replace(CONFIG, language_adapter=False, lstm_size=CONFIG.hidden)
    for kept in (8, tuple(range(1, 16))):
        with pytest.raises(UsageError, match="the LSTM's size in a model without language adapter"):
            slice_config(bare, SubmodelPlan("x", {}, {"hidden": kept}))
    whole = SubmodelPlan("x", {"encoder": (0,)}, {"hidden": 16, "pooled": 8})
    assert slice_config(bare, whole).pooled_size == 8
