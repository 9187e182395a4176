"""UNITER_BST and CLIP-ViL_BST by their sizes: published parameters, FLOPs, the grid, and exact slices."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.func import functional_call

from edgevqa.cli.main import main
from edgevqa.models.config import GridInput, RegionInput, TrunkInput, input_specs
from edgevqa.models.families import FAMILIES, build
from edgevqa.models.initialisation import initialise_single_stream
from edgevqa.models.single_stream_config import ClipViLConfig, UniterConfig
from edgevqa.slimming.counting import count
from edgevqa.slimming.grid import MCAN_BST, bst_plan, ends_first, grid, single_stream_bst
from edgevqa.slimming.plan import SubmodelPlan
from edgevqa.slimming.published import PUBLISHED
from edgevqa.slimming.rules import RULES, dimensions, slice_config
from edgevqa.slimming.slicer import slice_model, views

UNITER, CLIP_VIL = PUBLISHED["uniter-bst"], PUBLISHED["clip-vil-bst"]
SIZES: dict[str, Any] = {"hidden": 48, "heads": 12, "layers": 12, "vocabulary_size": 50, "answer_count": 9}
SIZES |= {"question_length": 6, "positions": 16}
TINY: list[UniterConfig | ClipViLConfig] = [
    UniterConfig.uniform(image=RegionInput(5, 10, box_size=7), **SIZES),
    ClipViLConfig.uniform(image=TrunkInput(64, 96, channels=4, blocks=(1, 2, 1, 1)), **SIZES),
    ClipViLConfig.uniform(image=GridInput.of(2, 3, 128), **SIZES),
]


def test_published_parameters() -> None:
    assert count(UNITER.config).parameters == 115_892_281
    parts = count(UNITER.config).parameters_by_part
    assert parts["word embedding"] + parts["positions and types"] == 22_665_216
    assert (parts["image embedding"], parts["encoder"], parts["pooler"]) == (1_588_480, 85_054_464, 590_592)
    assert parts["answer head"] + parts["classifier"] == 5_993_529
    parts = count(CLIP_VIL.config).parameters_by_part
    assert sum(parts.values()) - parts["trunk"] == 117_577_529
    assert count(PUBLISHED["clip-vil-bst-features"].config).parameters == 117_577_529
    assert parts["word embedding"] + parts["positions and types"] == 23_837_184
    assert (parts["image embedding"], parts["grid positions"]) == (1_973_760, 128_000)
    assert round(parts["trunk"] / 1e6, 1) == 65.6


@pytest.mark.parametrize(
    ("tokens", "regions", "gflops"), [(14, 100, 20.17), (20, 100, 21.24), (60, 100, 28.45), (14, 36, 8.71)]
)
def test_flops_of_uniter(tokens: int, regions: int, gflops: float) -> None:
    config = replace(UNITER.config, question_length=tokens, image=RegionInput(regions, 2048, box_size=7))  # type: ignore[type-var]
    assert round(count(config).flops / 1e9, 2) == gflops


def test_macs_of_clip_vil() -> None:
    macs = count(CLIP_VIL.config).macs_by_part
    assert round(macs["trunk"] / 1e9, 1) == 57.8
    assert (round(macs["image embedding"] / 1e9, 2), round(macs["encoder"] / 1e9, 2)) == (0.47, 23.33)
    assert round(count(PUBLISHED["clip-vil-bst-features"].config).macs / 1e9, 2) == 23.81


def test_the_middle_layers_go_first() -> None:
    assert ends_first(6) == MCAN_BST.layer_order["encoder"]
    assert ends_first(12) == (0, 11, 1, 10, 2, 9, 3, 8, 4, 7, 5, 6)
    assert ends_first(3) == (0, 2, 1)
    plans = {plan.name: plan for plan in grid(UNITER.config, UNITER.slimming)}
    assert list(plans) == [
        *("w0.25-d2", "w0.25-d4", "w0.25-d8", "w0.25-d12", "w0.5-d4", "w0.5-d8", "w0.5-d12"),
        *("w0.75-d8", "w0.75-d12", "w1-d12"),
    ]
    assert plans["w0.25-d8"].layers == {"encoder": (0, 1, 2, 3, 8, 9, 10, 11)}
    sliced = slice_config(UNITER.config, plans["w0.75-d8"])
    assert (sliced.hidden, sliced.head_size, sliced.encoder[0].heads, sliced.encoder[0].ffn) == (576, 64, 9, 2304)
    assert (sliced.pooled_size, sliced.answer_hidden) == (576, 1152)


@pytest.mark.parametrize("config", TINY, ids=lambda config: type(config.image).__name__)
def test_every_submodel_is_an_exact_slice(config: UniterConfig | ClipViLConfig) -> None:
    """Training's views and export's copies answer alike, and hold what was counted."""
    model = build(config).eval()
    initialise_single_stream(model, 1)  # type: ignore[arg-type]
    inputs = example(config)
    for plan in grid(config, single_stream_bst(12), filtered=False):
        sizes = slice_config(config, plan)
        submodel = slice_model(model, plan)
        viewed = functional_call(build(sizes).eval(), views(dict(model.named_parameters()), config, plan), inputs)
        torch.testing.assert_close(viewed, submodel(*inputs), rtol=0, atol=0)
        assert count(sizes).parameters == sum(parameter.numel() for parameter in submodel.parameters())
    smallest = slice_model(model, bst_plan(config, single_stream_bst(12), Fraction(1, 4), 2))
    torch.testing.assert_close(smallest.text.words.weight, model.text.words.weight[:, :12])
    last = model.encoder[11]
    torch.testing.assert_close(smallest.encoder[1].attention.value.weight, last.attention.value.weight[:12, :12])
    torch.testing.assert_close(smallest.encoder[1].ffn.outer.weight, last.ffn.outer.weight[:12, :48])
    torch.testing.assert_close(smallest.answer.classifier.weight, model.answer.classifier.weight[:, :24])
    if isinstance(config.image, TrunkInput):
        torch.testing.assert_close(smallest.trunk(inputs[2]), model.trunk(inputs[2]), rtol=0, atol=0)


def example(config: UniterConfig | ClipViLConfig) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    made = []
    for spec in input_specs(config):
        shape = (2, *spec.shape[1:])
        if spec.dtype == "int32":
            made.append(torch.randint(0, 50, shape, generator=generator))
        else:
            made.append(torch.zeros(shape) if "mask" in spec.name else torch.randn(shape, generator=generator))
    return tuple(made)


def test_single_heads_and_neurons_can_be_kept() -> None:
    """A plan need not be a prefix: heads in any layer, and hidden channels everywhere."""
    config = TINY[0]
    kept = {"hidden": tuple(range(0, 48, 2)), "encoder.0.heads": (1, 5), "answer_hidden": 10, "pooled": (3, 4)}
    plan = SubmodelPlan("any", {"encoder": (0, 4)}, kept)
    model = build(config).eval()
    submodel = slice_model(model, plan)
    assert submodel(*example(config)).shape == (2, 9)
    weight = model.encoder[0].attention.query.weight
    torch.testing.assert_close(submodel.encoder[0].attention.query.weight, weight[[4, 5, 6, 7, 20, 21, 22, 23], ::2])


def test_every_family_has_rules_and_sizes_that_survive_json() -> None:
    from edgevqa.models.families import read_config

    assert set(FAMILIES) == set(RULES)
    for config in (*TINY, *(published.config for published in PUBLISHED.values())):
        assert read_config(json.loads(json.dumps(config.to_dict()))) == config
        assert dimensions(config)["hidden"] == config.hidden


@pytest.mark.parametrize(
    ("model", "parameters", "submodels"),
    [("uniter-bst", 115_892_281, 10), ("clip-vil-bst", 183_142_289, 10), ("clip-vil-bst-features", 117_577_529, 10)],
)
def test_info_needs_no_weights(model: str, parameters: int, submodels: int) -> None:
    result = CliRunner().invoke(main, ["info", model, "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["submodels"]
    assert len(rows) == submodels and rows[-1]["parameters"] == parameters
    for row in rows:
        assert row["flops"] == 2 * row["macs"] > 0
        assert row["fp32_mb"] == pytest.approx(4 * row["int8_mb"])
        assert row["embedding_share"] == row["parameters_by_part"]["word embedding"] / row["parameters"]
    shown = CliRunner().invoke(main, ["info", model], env={"COLUMNS": "200"}).stdout
    assert "words %" in shown and f"{parameters:,}" in shown and " + " not in shown
    assert "6 + 6" in CliRunner().invoke(main, ["info", "mcan-bst"], env={"COLUMNS": "200"}).stdout
