"""MCAN in every form: shapes, the order of its inputs, masks that hide, sizes as data, starting weights."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from edgevqa.errors import InputError
from edgevqa.models.config import (
    MASKED,
    DecoderLayerSize,
    EncoderLayerSize,
    MCANConfig,
    PixelInput,
    RegionInput,
    input_specs,
)
from edgevqa.models.initialisation import initialise
from edgevqa.models.mcan import MCAN

WORDS, ANSWERS, LENGTH, REGIONS = 11, 5, 7, 6


def sizes(image: RegionInput | PixelInput, **changes: Any) -> MCANConfig:
    usual = MCANConfig.uniform(
        hidden=16,
        heads=4,
        layers=2,
        image=image,
        vocabulary_size=WORDS,
        answer_count=ANSWERS,
        question_length=LENGTH,
        word_size=6,
        lstm_size=10,
    )
    return replace(usual, **changes)


CONFIGS = {
    "regions": sizes(RegionInput(REGIONS, 8)),
    "boxes": sizes(RegionInput(REGIONS, 8, box_size=5)),
    "embedded boxes": sizes(RegionInput(REGIONS, 8, box_size=5, box_embedding=12, norm=False)),
    "pixels": sizes(PixelInput(32, (4, 8, 6))),
    "no adapter": sizes(RegionInput(REGIONS, 8), language_adapter=False, hidden=10, lstm_size=10),
    "uneven layers": sizes(
        RegionInput(REGIONS, 8),
        encoder=(EncoderLayerSize(1, 3),),
        decoder=(DecoderLayerSize(2, 1, 5), DecoderLayerSize(3, 4, 20)),
        pooling_hidden=7,
        pooled_size=9,
    ),
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def config(request: pytest.FixtureRequest) -> MCANConfig:
    found: MCANConfig = request.param
    return found


def made(config: MCANConfig, seed: int = 0) -> MCAN:
    model = MCAN(config)
    initialise(model, seed)
    return model.eval()


def example(config: MCANConfig, batch: int = 3, words: int = 4, regions: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Inputs by name, with `words` words and `regions` regions in each row and padding behind them."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {}
    for spec in input_specs(config):
        shape = (batch, *spec.shape[1:])
        if spec.name == "question":
            inputs[spec.name] = torch.randint(3, WORDS, shape, generator=generator, dtype=torch.int32)
            inputs[spec.name][:, words:] = 0
        elif spec.name.endswith("_mask"):
            inputs[spec.name] = torch.zeros(shape)
            inputs[spec.name][..., words if spec.name == "question_mask" else regions :] = MASKED
        else:
            inputs[spec.name] = torch.randn(shape, generator=generator)
    return inputs


def answer(model: MCAN, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(*inputs.values())
    return logits


def test_forward_takes_the_specified_inputs_in_their_order_and_gives_logits(config: MCANConfig) -> None:
    for batch in (1, 3):
        logits = answer(made(config), example(config, batch))
        assert logits.shape == (batch, ANSWERS) and logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


def test_specified_inputs_are_at_batch_1_with_the_types_of_artifacts(config: MCANConfig) -> None:
    specs = {spec.name: spec for spec in input_specs(config)}
    assert list(specs)[:2] == ["question", "question_mask"]
    assert specs["question"].shape == (1, LENGTH) and specs["question"].dtype == "int32"
    assert specs["question_mask"].shape == (1, 1, 1, LENGTH)
    if isinstance(config.image, PixelInput):
        assert list(specs)[2:] == ["image"] and specs["image"].shape == (1, 3, 32, 32)
    else:
        assert list(specs)[2:] == ["regions", "region_mask", "boxes"][: 3 if config.image.box_size else 2]
        assert specs["regions"].shape == (1, REGIONS, 8) and specs["region_mask"].shape == (1, 1, 1, REGIONS)
    assert {spec.dtype for name, spec in specs.items() if name != "question"} == {"float32"}


def test_every_input_matters(config: MCANConfig) -> None:
    model, inputs = made(config), example(config)
    usual = answer(model, inputs)
    for name, value in inputs.items():
        changed = (value + 1) % WORDS if name == "question" else value.flip(-1) if "mask" in name else value + 1
        assert not torch.allclose(answer(model, {**inputs, name: changed}), usual, atol=1e-5), name


def test_rows_of_a_batch_do_not_touch_each_other(config: MCANConfig) -> None:
    model, inputs = made(config), example(config)
    alone = [answer(model, {name: value[row : row + 1] for name, value in inputs.items()}) for row in range(3)]
    torch.testing.assert_close(torch.cat(alone), answer(model, inputs))


def test_what_stands_under_a_mask_changes_nothing(config: MCANConfig) -> None:
    """Words come first and the LSTM runs forward, so that padding behind them can reach no state that is looked at."""
    model, inputs = made(config), example(config, words=4, regions=3)
    other = example(config, words=LENGTH, regions=REGIONS, seed=1)
    changed = {name: value.clone() for name, value in inputs.items()}
    changed["question"][:, 4:] = other["question"][:, 4:]
    if "regions" in inputs:
        changed["regions"][:, 3:] = 100 * other["regions"][:, 3:]
    if "boxes" in inputs:
        changed["boxes"][:, 3:] = 100 * other["boxes"][:, 3:]
    assert not torch.equal(changed["question"], inputs["question"])
    torch.testing.assert_close(answer(model, changed), answer(model, inputs), rtol=0, atol=1e-6)


def test_padding_may_be_any_length(config: MCANConfig) -> None:
    """A question that is trimmed to its words, as in training, is answered as the padded one."""
    model, inputs = made(config), example(config, words=4)
    trimmed = {**inputs, "question": inputs["question"][:, :4], "question_mask": inputs["question_mask"][..., :4]}
    torch.testing.assert_close(answer(model, trimmed), answer(model, inputs), rtol=0, atol=1e-6)


def test_region_order_does_not_matter_but_word_order_does() -> None:
    config = CONFIGS["boxes"]
    model, inputs = made(config), example(config, regions=REGIONS)
    usual = answer(model, inputs)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = {**inputs, "regions": inputs["regions"][:, order], "boxes": inputs["boxes"][:, order]}
    torch.testing.assert_close(answer(model, shuffled), usual, rtol=0, atol=1e-5)
    backwards = torch.cat((inputs["question"][:, :4].flip(1), inputs["question"][:, 4:]), dim=1)
    assert not torch.allclose(answer(model, {**inputs, "question": backwards}), usual, atol=1e-5)


def test_a_pixel_model_knows_where_a_token_stands() -> None:
    config = CONFIGS["pixels"]
    model, inputs = made(config), example(config)
    with torch.no_grad():
        model.stem.position.normal_()
    assert config.image.tokens == 16
    flipped = {**inputs, "image": inputs["image"].flip(-1)}
    assert not torch.allclose(answer(model, flipped), answer(model, inputs), atol=1e-5)


def test_training_and_evaluation_mode_agree_without_dropout(config: MCANConfig) -> None:
    model, inputs = made(replace(config, dropout=0.0)), example(config)
    usual = answer(model, inputs)
    torch.testing.assert_close(answer(model.train(), inputs), usual, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter(config: MCANConfig) -> None:
    model = made(config).train()
    model(*example(config, regions=REGIONS).values()).square().sum().backward()
    dead = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert dead == []


def test_sizes_survive_json(config: MCANConfig) -> None:
    described = json.loads(json.dumps(config.to_dict()))
    assert MCANConfig.from_dict(described) == config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"family": "bert"}, "the model family 'bert' is not known"),
        ({"family": None}, "known: mcan"),
        ({"image": {"kind": "sound"}}, "the image input 'sound' is not known"),
        ({"image": {"kind": "regions", "count": 3}}, "feature_size"),
        ({"image": {"count": 3}}, "kind"),
        ({"image": {"kind": "pixels", "size": 32}}, "channels"),
        ({"image": None}, "incomplete or wrong"),
        ({"encoder": [{"heads": 2}]}, "ffn"),
        ({"encoder": 2}, "incomplete or wrong"),
        ({"decoder": [{"self_heads": 1, "guided_heads": 1, "ffn": 4, "hands": 2}]}, "hands"),
        ({"wings": 2}, "wings"),
        ({"hidden": "16"}, "the model: hidden should be a whole number, at least 1, not '16'"),
        ({"hidden": 0}, "the model: hidden should"),
        ({"word_size": True}, "the model: word_size should"),
        ({"lstm_size": 2.0}, "the model: lstm_size should"),
        ({"dropout": 1.0}, "dropout should be a number from 0 to below 1"),
        ({"encoder": []}, "encoder_layers should be a whole number, at least 1, not 0"),
        ({"encoder": [{"heads": 0, "ffn": 4}]}, "an encoder layer: heads should"),
        ({"decoder": [{"self_heads": 1, "guided_heads": -1, "ffn": 4}]}, "a decoder layer: guided_heads should"),
        ({"image": {"kind": "regions", "count": 0, "feature_size": 4}}, "the regions: count should"),
        ({"image": {"kind": "regions", "count": 3, "feature_size": 4, "box_size": -5}}, "the regions: box_size should"),
        ({"image": {"kind": "pixels", "size": 30, "channels": [4, 8]}}, "size 30 should divide by 2 for each of the 2"),
        ({"image": {"kind": "pixels", "size": 32, "channels": []}}, "at least one"),
        ({"image": {"kind": "pixels", "size": 32, "channels": [4, "8"]}}, "channels.1. should"),
    ],
)
def test_broken_sizes_are_an_error_that_says_what_is_wrong(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        MCANConfig.from_dict({**CONFIGS["regions"].to_dict(), **change})


@pytest.mark.parametrize("key", ["hidden", "image", "encoder", "vocabulary_size"])
def test_missing_sizes_are_named(key: str) -> None:
    described = CONFIGS["regions"].to_dict()
    del described[key]
    with pytest.raises(InputError, match=key):
        MCANConfig.from_dict(described)


def test_starting_weights_depend_on_the_seed_alone(config: MCANConfig) -> None:
    torch.manual_seed(5)
    first = made(config, seed=3).state_dict()
    torch.manual_seed(6)
    torch.rand(17)
    again, other = made(config, seed=3).state_dict(), made(config, seed=4).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_a_model_starts_with_an_open_forget_gate_and_small_branches() -> None:
    model = made(CONFIGS["regions"])
    size = model.lstm.hidden_size
    assert model.lstm.bias_ih_l0[size : 2 * size].mean() > model.lstm.bias_ih_l0[:size].mean() + 0.5
    layer = model.encoder[0]
    assert layer.ffn.outer.weight.abs().max() < layer.attention.query.weight.abs().max()
