"""Dimension rules: for every parameter of a family, which axis belongs to which named dimension.

A family is described by one table. Its rows read `parameter pattern: one word per axis`, where a word is

    -               the axis is never sliced
    hidden          the axis is the dimension `hidden`
    {}.heads        the axis is a dimension of this layer; `{}` stands for the layer ("encoder.3")

Dimensions whose name ends in `heads` have `head_size` elements a unit, all others one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from edgevqa.errors import UsageError
from edgevqa.models.config import DecoderLayerSize, EncoderLayerSize, MCANConfig
from edgevqa.slimming.plan import Kept, SubmodelPlan

WHOLE = "-"


@dataclass(frozen=True)
class Axis:
    """One axis of one parameter: its dimension (None: never sliced) and the elements of one unit."""

    dimension: str | None
    unit: int = 1


def _attention(name: str, heads: str) -> dict[str, str]:
    projections = {f"{name}.{part}": heads for part in ("query", "key", "value")}
    return {
        **{f"{part}.weight": f"{heads} hidden" for part in projections},
        **{f"{part}.bias": heads for part in projections},
        f"{name}.merge.weight": f"hidden {heads}",
        f"{name}.merge.bias": "hidden",
    }


def _feed_forward(name: str) -> dict[str, str]:
    return {
        f"{name}.inner.weight": "{}.ffn hidden",
        f"{name}.inner.bias": "{}.ffn",
        f"{name}.outer.weight": "hidden {}.ffn",
        f"{name}.outer.bias": "hidden",
    }


def _norm(name: str, dimension: str = "hidden") -> dict[str, str]:
    return {f"{name}.weight": dimension, f"{name}.bias": dimension}


def _pooling(name: str) -> dict[str, str]:
    return {
        f"{name}.inner.weight": "pooling hidden",
        f"{name}.inner.bias": "pooling",
        f"{name}.score.weight": "- pooling",
        f"{name}.score.bias": "-",
        f"{name}.merge.weight": "pooled hidden",
        f"{name}.merge.bias": "pooled",
    }


MCAN_LAYERS: Mapping[str, Mapping[str, str]] = {
    "encoder": {
        **_attention("attention", "{}.heads"),
        **_feed_forward("ffn"),
        **_norm("norms.0"),
        **_norm("norms.1"),
    },
    "decoder": {
        **_attention("attention", "{}.self_heads"),
        **_attention("guided", "{}.guided_heads"),
        **_feed_forward("ffn"),
        **_norm("norms.0"),
        **_norm("norms.1"),
        **_norm("norms.2"),
    },
}
"""Parameters of one layer of each list that depth may shorten."""

MCAN_OUTSIDE: Mapping[str, str] = {
    "embedding.weight": "- -",
    "lstm.weight_ih_l0": "- -",
    "lstm.weight_hh_l0": "- -",
    "lstm.bias_ih_l0": "-",
    "lstm.bias_hh_l0": "-",
    "language_adapter.linear.weight": "hidden -",
    "language_adapter.linear.bias": "hidden",
    **_norm("language_adapter.norm"),
    "stem.convolutions.*.weight": "- - - -",
    "stem.convolutions.*.bias": "-",
    "stem.position": "- -",
    "box_embedding.weight": "- -",
    "box_embedding.bias": "-",
    "image_adapter.linear.weight": "hidden -",
    "image_adapter.linear.bias": "hidden",
    **_norm("image_adapter.norm"),
    **_pooling("question_pooling"),
    **_pooling("picture_pooling"),
    **_norm("norm", "pooled"),
    "classifier.weight": "- pooled",
    "classifier.bias": "-",
}
"""Parameters outside the layers; `*` is a number. Embedding, LSTM and stem are not slimmed (BST, arXiv 2203.12814)."""


def dimensions(config: MCANConfig) -> dict[str, int]:
    """Every named dimension of a model and its number of units."""
    sizes = {"hidden": config.hidden, "pooling": config.pooling_hidden, "pooled": config.pooled_size}
    for index, encoder in enumerate(config.encoder):
        sizes |= {f"encoder.{index}.heads": encoder.heads, f"encoder.{index}.ffn": encoder.ffn}
    for index, decoder in enumerate(config.decoder):
        sizes |= {
            f"decoder.{index}.self_heads": decoder.self_heads,
            f"decoder.{index}.guided_heads": decoder.guided_heads,
            f"decoder.{index}.ffn": decoder.ffn,
        }
    return sizes


def layer_lists(config: MCANConfig) -> dict[str, int]:
    """The lists of layers that depth may shorten, and how long each is."""
    return {"encoder": len(config.encoder), "decoder": len(config.decoder)}


def _axes(row: str, layer: str, head_size: int) -> tuple[Axis, ...]:
    axes = []
    for word in row.split():
        if word == WHOLE:
            axes.append(Axis(None))
        else:
            axes.append(Axis(word.format(layer), head_size if word.endswith("heads") else 1))
    return tuple(axes)


def _outside_row(name: str) -> str:
    pattern = ".".join("*" if part.isdigit() and name.startswith("stem.") else part for part in name.split("."))
    if pattern not in MCAN_OUTSIDE:
        raise UsageError(f"no dimension rule covers the parameter {name!r}")
    return MCAN_OUTSIDE[pattern]


def parameter_axes(name: str, config: MCANConfig) -> tuple[Axis, ...]:
    """The dimensions of a parameter's axes; raises UsageError for a parameter that no rule covers."""
    part, _, rest = name.partition(".")
    if part not in MCAN_LAYERS:
        return _axes(_outside_row(name), "", config.head_size)
    index, _, inner = rest.partition(".")
    try:
        row = MCAN_LAYERS[part][inner]
    except KeyError:
        raise UsageError(f"no dimension rule covers the parameter {name!r}") from None
    return _axes(row, f"{part}.{index}", config.head_size)


def kept_names(names: Iterable[str], plan: SubmodelPlan) -> Iterator[tuple[str, str]]:
    """Pairs (name in the full model, name in the submodel) of the parameters that stay."""
    renumbered = {
        f"{part}.{old}": f"{part}.{new}" for part, layers in plan.layers.items() for new, old in enumerate(layers)
    }
    for name in names:
        part, _, rest = name.partition(".")
        if part not in plan.layers:
            yield name, name
            continue
        index, _, inner = rest.partition(".")
        if (target := renumbered.get(f"{part}.{index}")) is not None:
            yield name, f"{target}.{inner}"


def _units(kept: Kept) -> int:
    return kept if isinstance(kept, int) else len(kept)


def check_plan(plan: SubmodelPlan, config: MCANConfig) -> None:
    """Raise UsageError when a plan names layers, dimensions or units that the model does not have."""
    lengths = layer_lists(config)
    for part, layers in plan.layers.items():
        length = lengths.get(part)
        if length is None:
            raise UsageError(f"the plan names layers {part!r}; the model has {', '.join(lengths)}")
        if not layers or len(set(layers)) != len(layers) or min(layers) < 0 or max(layers) >= length:
            raise UsageError(f"the plan keeps the {part} layers {list(layers)}; the model has 0 to {length - 1}")
    sizes = dimensions(config)
    for name, kept in plan.kept.items():
        size = sizes.get(name)
        if size is None:
            raise UsageError(f"the plan names the dimension {name!r}, which the model does not have")
        if isinstance(kept, int):
            valid = 0 < kept <= size
        else:
            valid = bool(kept) and list(kept) == sorted(set(kept)) and kept[0] >= 0 and kept[-1] < size
        if not valid:
            raise UsageError(f"the plan keeps {kept} of the dimension {name!r}, which has {size} units")
        if name == "hidden" and _units(kept) < size and not getattr(config, "language_adapter", True):
            raise UsageError("the plan slices 'hidden', which is the LSTM's size in a model without language adapter")


def slice_config(config: MCANConfig, plan: SubmodelPlan) -> MCANConfig:
    """The sizes of the submodel; raises UsageError when the plan does not fit the model."""
    check_plan(plan, config)
    sizes = dimensions(config) | {name: _units(kept) for name, kept in plan.kept.items()}
    return replace(
        config,
        hidden=sizes["hidden"],
        pooling_hidden=sizes["pooling"],
        pooled_size=sizes["pooled"],
        encoder=tuple(
            EncoderLayerSize(sizes[f"encoder.{index}.heads"], sizes[f"encoder.{index}.ffn"])
            for index in plan.layers.get("encoder", range(len(config.encoder)))
        ),
        decoder=tuple(
            DecoderLayerSize(
                sizes[f"decoder.{index}.self_heads"],
                sizes[f"decoder.{index}.guided_heads"],
                sizes[f"decoder.{index}.ffn"],
            )
            for index in plan.layers.get("decoder", range(len(config.decoder)))
        ),
    )
