"""The registry of model families: for each, the class of its sizes and, imported when one is built, of its network."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgevqa.models.config import MCANConfig, check_family
from edgevqa.models.single_stream_config import ClipViLConfig, UniterConfig

if TYPE_CHECKING:
    from edgevqa.models.clip_vil import ClipViL
    from edgevqa.models.mcan import MCAN
    from edgevqa.models.uniter import Uniter

    Network = MCAN | Uniter | ClipViL

ModelConfig = MCANConfig | UniterConfig | ClipViLConfig


@dataclass(frozen=True)
class Family:
    """A family of networks.

    Args:
        title: what it is called.
        config: the class of its sizes.
        module: where its network is.
        network: the class of its network there.
    """

    title: str
    config: type[ModelConfig]
    module: str
    network: str


FAMILIES: Mapping[str, Family] = {
    "mcan": Family("MCAN", MCANConfig, "edgevqa.models.mcan", "MCAN"),
    "uniter": Family("UNITER", UniterConfig, "edgevqa.models.uniter", "Uniter"),
    "clip-vil": Family("CLIP-ViL", ClipViLConfig, "edgevqa.models.clip_vil", "ClipViL"),
}
"""By the name under which a model's description has it."""


def read_config(described: Mapping[str, Any]) -> ModelConfig:
    """Read the sizes of a model of any family; raises InputError that names what is missing or unknown."""
    name = described.get("family")
    check_family(name, *FAMILIES)
    return FAMILIES[str(name)].config.from_dict(described)


def build(config: ModelConfig) -> Network:
    """The network of these sizes with PyTorch's starting weights."""
    family = FAMILIES[config.family]
    network: Network = getattr(importlib.import_module(family.module), family.network)(config)
    return network
