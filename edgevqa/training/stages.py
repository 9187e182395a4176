"""What one step of each stage does: a teacher (or a submodel alone) on the answers, and sandwich self-distillation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from edgevqa.errors import UsageError
from edgevqa.models.families import ModelConfig, build
from edgevqa.models.mcan import MCAN
from edgevqa.slimming.plan import SubmodelPlan
from edgevqa.slimming.rules import slice_config
from edgevqa.slimming.slicer import views
from edgevqa.training.losses import answer_loss, teacher_loss
from edgevqa.training.recipe import Recipe

if TYPE_CHECKING:
    from edgevqa.models.families import Network

GROUNDED_LAYERS = {1: (0, 1), 3: (2,)}
"""Decoder layer -> the bits of the grounding that its states must tell; early ones, so that later layers can use it."""


class Stage(Protocol):
    """One kind of training: a model whose gradients `backward` fills."""

    model: Network
    extra: nn.ModuleDict
    """What is trained beside the model and thrown away."""

    def backward(
        self, step: int, indices: np.ndarray, inputs: tuple[Tensor, ...], answers: Tensor, share: float = 1.0
    ) -> float:
        """Add the gradients of a piece that is `share` of a step's questions, and return its part of the loss."""


class Grounding:
    """A second loss: linear layers must read from early decoder layers which regions a question speaks of.

    Args:
        grounding: uint8 (n, R), see `edgevqa.data.dataset.Split.grounding`.
        models: the models whose states are read, each by layers of its own.
    """

    def __init__(self, grounding: np.ndarray, models: Sequence[Network]) -> None:
        self._grounding = torch.from_numpy(grounding)
        self._states: dict[int, Tensor] = {}
        self.readers = nn.ModuleList()
        for model in models:
            if not isinstance(model, MCAN):
                raise UsageError("grounding is read from MCAN's decoder; for another family set the recipe's to 0")
            readers = nn.ModuleDict()
            for place, bits in GROUNDED_LAYERS.items():
                readers[str(place)] = nn.Linear(model.config.hidden, len(bits))
                layer = model.decoder[min(place, len(model.decoder) - 1)]
                layer.register_forward_hook(partial(self._keep, place))
            self.readers.append(readers)

    def _keep(self, place: int, _layer: nn.Module, _inputs: object, states: Tensor) -> None:
        self._states[place] = states

    def loss(self, model: int, indices: np.ndarray) -> Tensor:
        """Of the model at this place, which was called last, on the questions at `indices`; summed over the layers."""
        losses = []
        for place, bits in GROUNDED_LAYERS.items():
            states = self._states.pop(place)
            fits = self._grounding[indices, : states.shape[1]]  # none has the regions behind
            read = self.readers[model][str(place)](states.float())  # type: ignore[index]
            wanted = torch.stack([fits >> bit & 1 for bit in bits], dim=-1).to(read)
            losses.append(functional.binary_cross_entropy_with_logits(read, wanted))
        return torch.stack(losses).sum()


class OnAnswers:
    """Training on the ground truth: the teacher, or a submodel by itself.

    Args:
        model: what is trained.
        recipe: loss, and the weight of the grounding.
        grounding: uint8 (n, R), see `Grounding`; None for data without.
    """

    def __init__(self, model: Network, recipe: Recipe, grounding: np.ndarray | None = None) -> None:
        self.model = model
        self.recipe = recipe
        self.extra = nn.ModuleDict()
        self._grounding: Grounding | None = None
        if grounding is not None and recipe.grounding > 0:
            self._grounding = Grounding(grounding, [model])
            self.extra["grounding"] = self._grounding.readers

    def backward(
        self, step: int, indices: np.ndarray, inputs: tuple[Tensor, ...], answers: Tensor, share: float = 1.0
    ) -> float:
        """Add the gradients of the loss against the answers and return it, both times `share`."""
        with precision(self.recipe, inputs[-1].device):
            logits = self.model(*inputs)
        loss = answer_loss(logits.float(), answers, self.recipe.loss)
        total = loss
        if self._grounding is not None:
            total = loss + self.recipe.grounding * self._grounding.loss(0, indices)
        (total * share).backward()
        return float(loss.detach()) * share


class SelfDistillation:
    """BST's self-distillation with the sandwich rule (arXiv 2203.12814, the authors' train_engine).

    Every step trains the smallest submodel, the largest, and K - 2 others drawn without replacement, each over
    differentiable views of the one set of weights, towards the frozen teacher's outputs. Where the data has a
    grounding and the recipe gives it a weight, every submodel must tell it, too, which BST does not have.

    Args:
        model: the student, initialised with the teacher's weights.
        teacher: the trained full-size model.
        plans: the submodels, smallest first and largest last.
        recipe: loss, K and seed.
        questions: size of the training split; the teacher's logits are kept when they take less than 1 GiB, since
            a question always has the same.
        grounding: uint8 (n, R), see `Grounding`; None for data without.
    """

    def __init__(
        self,
        model: Network,
        teacher: Network,
        plans: Sequence[SubmodelPlan],
        recipe: Recipe,
        questions: int,
        grounding: np.ndarray | None = None,
    ) -> None:
        self.model = model
        self.extra = nn.ModuleDict()
        self.teacher = teacher.eval().requires_grad_(False)
        self.plans = tuple(plans)
        self.recipe = recipe
        self._skeletons = [_skeleton(slice_config(model.config, plan)) for plan in self.plans]
        self._grounding: Grounding | None = None
        if grounding is not None and recipe.grounding > 0:
            self._grounding = Grounding(grounding, self._skeletons)
            self.extra["grounding"] = self._grounding.readers
        self._logits: Tensor | None = None
        if 4 * questions * model.config.answer_count < 2**30:
            self._logits = torch.full((questions, model.config.answer_count), torch.nan)

    def chosen(self, step: int) -> list[int]:
        """Places of the submodels that a step trains."""
        last = len(self.plans) - 1
        others = np.random.default_rng((self.recipe.seed, 1, step)).permutation(np.arange(1, last))
        return [0, *sorted(others[: self.recipe.submodels - 2].tolist()), last]

    def _teacher_logits(self, indices: np.ndarray, inputs: tuple[Tensor, ...]) -> Tensor:
        with torch.no_grad():
            if self._logits is None:
                return self.teacher(*inputs)  # type: ignore[no-any-return]
            known = self._logits[indices]
            if bool(known.isnan().any()):
                known = self.teacher(*inputs).float().cpu()
                self._logits[indices] = known
            return known.to(inputs[-1].device)

    def backward(
        self, step: int, indices: np.ndarray, inputs: tuple[Tensor, ...], answers: Tensor, share: float = 1.0
    ) -> float:
        """Add the gradients of the K submodels' losses and return their mean, times `share`; the answers go unused."""
        target = self._teacher_logits(indices, inputs)
        parameters = dict(self.model.named_parameters())
        total = 0.0
        chosen = self.chosen(step)
        for place in chosen:
            sliced = views(parameters, self.model.config, self.plans[place])
            with precision(self.recipe, inputs[-1].device):
                logits = functional_call(self._skeletons[place], sliced, inputs)
            loss = teacher_loss(logits.float(), target, self.recipe.loss)
            total += float(loss.detach())
            if self._grounding is not None:
                loss = loss + self.recipe.grounding * self._grounding.loss(place, indices)
            (loss * share).backward()
        return total / len(chosen) * share


def precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The context in which a recipe computes its matrix products."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.mixed_precision)


def _skeleton(config: ModelConfig) -> Network:
    """A model in training mode whose own weights take no memory: every call is given views."""
    with torch.device("meta"):
        return build(config).train()


def copy_weights(source: Mapping[str, Tensor], model: Network) -> None:
    """Set a model's weights to copies of others of the same names and shapes."""
    model.load_state_dict({name: tensor.detach().clone() for name, tensor in source.items()})
