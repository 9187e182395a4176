"""The LayerNorm of MCAN's code: as published in PyTorch, and nearly the same as a standard one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgevqa.errors import InputError
from edgevqa.models.config import MCANConfig, RegionInput
from edgevqa.models.layers import UnbiasedLayerNorm, fold_norms, make_norm
from edgevqa.models.mcan import MCAN


def config(norm: str) -> MCANConfig:
    sizes = {"vocabulary_size": 11, "answer_count": 7, "question_length": 5, "word_size": 6, "lstm_size": 10}
    return MCANConfig.uniform(hidden=16, heads=8, layers=2, image=RegionInput(4, 6), norm=norm, **sizes)


def random_norm(size: int) -> nn.LayerNorm:
    torch.manual_seed(size)
    norm = make_norm("unbiased", size)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("size", [128, 256, 384, 512])
def test_it_divides_by_the_unbiased_deviation_plus_epsilon(size: int) -> None:
    norm, states = random_norm(size), torch.randn(9, size, dtype=torch.float64)
    variance = ((states - states.mean(-1, keepdim=True)) ** 2).sum(-1, keepdim=True) / (size - 1)
    expected = norm.weight * (states - states.mean(-1, keepdim=True)) / (variance.sqrt() + 1e-6) + norm.bias
    torch.testing.assert_close(norm.double()(states), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [128, 256, 384, 512])
def test_folding_is_exact_where_the_usual_norm_is_not(size: int) -> None:
    norm, states = random_norm(size), 3 * torch.randn(50, size) + 1
    usual = nn.LayerNorm(size, eps=1e-6)
    usual.load_state_dict(norm.state_dict())
    expected = norm(states)
    assert (norm.folded()(states) - expected).abs().max() < 1e-5
    assert (usual(states) - expected).abs().max() > 1e-3
    constant = torch.full((1, size), 0.5)
    torch.testing.assert_close(norm.folded()(constant), norm(constant))


def test_folding_replaces_every_norm_of_a_copy() -> None:
    torch.manual_seed(0)
    model = MCAN(config("unbiased")).eval()
    folded = fold_norms(model)
    kinds = {type(part) for part in folded.modules() if isinstance(part, nn.LayerNorm)}
    assert kinds == {nn.LayerNorm} and not folded.norm.training
    norms = [part for part in model.modules() if isinstance(part, nn.LayerNorm)]
    # Both adapters, two for each encoder layer, three for each decoder layer, and the last.
    assert len(norms) == 2 + 2 * 2 + 3 * 2 + 1 and {type(part) for part in norms} == {UnbiasedLayerNorm}
    standard = MCAN(config("standard"))
    assert fold_norms(standard) is standard


def test_the_kind_of_norm_is_kept_and_older_descriptions_have_the_standard_one() -> None:
    described = config("unbiased").to_dict()
    assert MCANConfig.from_dict(described) == config("unbiased")
    del described["norm"]
    assert MCANConfig.from_dict(described) == config("standard")
    with pytest.raises(InputError, match="'other' is not known; known: standard, unbiased"):
        MCANConfig.from_dict({**described, "norm": "other"})
