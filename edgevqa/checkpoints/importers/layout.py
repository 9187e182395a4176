"""A layout: the names of a published checkpoint beside ours, as data; and the one function that reads by it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from edgevqa.checkpoints.importers.state import State
from edgevqa.errors import InputError
from edgevqa.models.families import ModelConfig, build
from edgevqa.slimming.grid import Slimming

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """What a file of weights does not say.

    Args:
        heads: attention heads; None takes what the authors used.
        regions: regions of a picture; fewer are padded.
        question_length: tokens of a question; None takes what the authors used.
        image_size: height and width in pixels, for models that take pixels.
        without_trunk: whether to leave out the part that turns pixels into features, which are given instead.
    """

    heads: int | None = None
    regions: int = 100
    question_length: int | None = None
    image_size: tuple[int, int] = (384, 640)
    without_trunk: bool = False


class Imported(NamedTuple):
    """What was read: the sizes, the submodels that it offers, the weights under our names, how questions are read.

    `one_by_one`: whether the answers were judged one by one (VQA-v2), so that each has a probability of its own.
    """

    config: ModelConfig
    slimming: Slimming
    weights: Mapping[str, Tensor]
    question: Mapping[str, Any]
    one_by_one: bool = True


@dataclass(frozen=True)
class Layout:
    """How a project calls its weights.

    Args:
        modules: our name of each module -> theirs; `{}` is the number of a layer.
        norm: what they call weight and bias of a LayerNorm.
        mark: our name of a parameter by which a file of this layout is known.
        ignored: patterns with which keys begin that a file may have and nothing reads.
    """

    modules: Mapping[str, str]
    norm: tuple[str, str] = ("weight", "bias")
    mark: str = "image_adapter.linear.weight"
    ignored: tuple[str, ...] = ()

    def key(self, name: str) -> str:
        """Their name of a parameter of ours; raises KeyError for a module that they do not have."""
        module, _, leaf = name.rpartition(".")
        layer = re.match(r"(?:encoder|decoder)\.(\d+)", module)
        pattern = re.sub(r"^(encoder|decoder)\.\d+", r"\1.{}", module)
        if "norm" in pattern:
            leaf = self.norm[leaf == "bias"]
        return f"{self.modules[pattern].format(layer and layer[1])}.{leaf}"


def read_weights(state: State, layout: Layout, config: ModelConfig) -> dict[str, Tensor]:
    """The weights of a model under our names.

    Raises:
        InputError: a key is missing, has a wrong shape, or is one that the model does not have.
    """
    import torch

    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in build(config).named_parameters()}
    weights, known = {}, set()
    for name, shape in expected.items():
        key = layout.key(name)
        if key not in state:
            raise InputError(f"{state.path} lacks the key {key!r}, which should have the shape {list(shape)}")
        found = tuple(state.tensors[key].shape)
        if found != shape:
            raise InputError(
                f"{state.path}: the key {key!r} has the shape {list(found)}; "
                f"by the other keys it should be {list(shape)}"
            )
        weights[name] = state.tensors[key]
        known.add(key)
    unknown = [key for key in state.tensors if key not in known]
    if extra := [key for key in unknown if not any(re.match(pattern, key) for pattern in layout.ignored)]:
        more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
        raise InputError(
            f"{state.path} holds the key {extra[0]!r} of the shape {list(state.tensors[extra[0]].shape)}{more}, "
            "which this model does not have"
        )
    return weights
