"""The one slicer: training runs over its differentiable views, export copies the same views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from edgevqa.models.families import ModelConfig, build
from edgevqa.slimming.plan import SubmodelPlan
from edgevqa.slimming.rules import check_plan, kept_names, parameter_axes, slice_config

if TYPE_CHECKING:
    from edgevqa.models.families import Network

AnyNetwork = TypeVar("AnyNetwork", bound="Network")


def _view(tensor: Tensor, name: str, config: ModelConfig, plan: SubmodelPlan) -> Tensor:
    for number, axis in enumerate(parameter_axes(name, config)):
        kept = None if axis.dimension is None else plan.kept.get(axis.dimension)
        if kept is None:
            continue
        if isinstance(kept, int):
            tensor = tensor.narrow(number, 0, kept * axis.unit)
        else:
            units = torch.tensor(kept, device=tensor.device)
            elements = (units[:, None] * axis.unit + torch.arange(axis.unit, device=tensor.device)).flatten()
            tensor = tensor.index_select(number, elements)
    return tensor


def views(parameters: Mapping[str, Tensor], config: ModelConfig, plan: SubmodelPlan) -> dict[str, Tensor]:
    """The submodel's parameters as differentiable views of the full model's, under the submodel's names.

    Args:
        parameters: the full model's parameters by name.
        config: the full model's sizes.
        plan: what stays.
    """
    check_plan(plan, config)
    return {new: _view(parameters[old], old, config, plan) for old, new in kept_names(parameters, plan)}


def slice_parameters(parameters: Mapping[str, Tensor], config: ModelConfig, plan: SubmodelPlan) -> Network:
    """A physically smaller model in evaluation mode that holds copies of the views."""
    model = build(slice_config(config, plan))
    with torch.no_grad():
        model.load_state_dict({name: view.clone() for name, view in views(parameters, config, plan).items()})
    return model.eval()


def slice_model(model: AnyNetwork, plan: SubmodelPlan) -> AnyNetwork:
    """The submodel of a full model, see `slice_parameters`."""
    return slice_parameters(dict(model.named_parameters()), model.config, plan)  # type: ignore[return-value]
