"""Dimension rules: for every parameter of a family, which axis belongs to which named dimension.

A family is described by one entry of `RULES`. The rows of its tables read `parameter pattern: one word per axis`,
where a word is

    -               the axis is never sliced
    hidden          the axis is the dimension `hidden`
    {}.heads        the axis is a dimension of this layer; `{}` stands for the layer ("encoder.3")

Dimensions whose name ends in `heads` have `head_size` elements a unit, all others one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from edgevqa.errors import UsageError
from edgevqa.models.families import ModelConfig
from edgevqa.slimming.plan import Kept, SubmodelPlan

WHOLE = "-"
AnyConfig = TypeVar("AnyConfig", bound=ModelConfig)


@dataclass(frozen=True)
class Rules:
    """The dimension rules of a family.

    Args:
        sizes: the named dimensions outside the layers, and the fields of the family's sizes that hold them.
        layers: for each list that depth may shorten, the parameters of one of its layers; the sizes of the layers lie
            in a field of the list's name, and each of their fields is a dimension of the layer.
        outside: the parameters outside the layers; `*` is a number.
    """

    sizes: Mapping[str, str]
    layers: Mapping[str, Mapping[str, str]]
    outside: Mapping[str, str]


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


def _adapter(name: str) -> dict[str, str]:
    return {f"{name}.linear.weight": "hidden -", f"{name}.linear.bias": "hidden", **_norm(f"{name}.norm")}


def _convolutions(name: str) -> dict[str, str]:
    return {f"{name}.weight": "- - - -", f"{name}.bias": "-"}


def _pooling(name: str) -> dict[str, str]:
    return {
        f"{name}.inner.weight": "pooling hidden",
        f"{name}.inner.bias": "pooling",
        f"{name}.score.weight": "- pooling",
        f"{name}.score.bias": "-",
        f"{name}.merge.weight": "pooled hidden",
        f"{name}.merge.bias": "pooled",
    }


_ENCODER = {
    **_attention("attention", "{}.heads"),
    **_feed_forward("ffn"),
    **_norm("norms.0"),
    **_norm("norms.1"),
}

# Embedding, LSTM and stem are not slimmed (BST, arXiv 2203.12814): adapters lead from them into the residual stream.
_MCAN = Rules(
    sizes={"hidden": "hidden", "pooling": "pooling_hidden", "pooled": "pooled_size"},
    layers={
        "encoder": _ENCODER,
        "decoder": {
            **_attention("attention", "{}.self_heads"),
            **_attention("guided", "{}.guided_heads"),
            **_feed_forward("ffn"),
            **_norm("norms.0"),
            **_norm("norms.1"),
            **_norm("norms.2"),
        },
    },
    outside={
        "embedding.weight": "- -",
        "lstm.weight_ih_l0": "- -",
        "lstm.weight_hh_l0": "- -",
        "lstm.bias_ih_l0": "-",
        "lstm.bias_hh_l0": "-",
        **_adapter("language_adapter"),
        "stem.convolutions.*.weight": "- - - -",
        "stem.convolutions.*.bias": "-",
        "stem.position": "- -",
        "box_embedding.weight": "- -",
        "box_embedding.bias": "-",
        **_adapter("image_adapter"),
        **_pooling("question_pooling"),
        **_pooling("picture_pooling"),
        **_norm("norm", "pooled"),
        "classifier.weight": "- pooled",
        "classifier.bias": "-",
    },
)

# The same rule for BERT: embeddings and adapters feed the residual stream directly, so their outputs are slimmed.
_SINGLE_STREAM: Mapping[str, str] = {
    "text.words.weight": "- hidden",
    "text.positions.weight": "- hidden",
    "text.types.weight": "- hidden",
    **_norm("text.norm"),
    "pooler.weight": "pooled hidden",
    "pooler.bias": "pooled",
    "answer.inner.weight": "answer_hidden pooled",
    "answer.inner.bias": "answer_hidden",
    **_norm("answer.norm", "answer_hidden"),
    "answer.classifier.weight": "- answer_hidden",
    "answer.classifier.bias": "-",
}
_SINGLE_STREAM_SIZES = {"hidden": "hidden", "pooled": "pooled_size", "answer_hidden": "answer_hidden"}

RULES: Mapping[str, Rules] = {
    "mcan": _MCAN,
    "uniter": Rules(
        _SINGLE_STREAM_SIZES,
        {"encoder": _ENCODER},
        {
            **_SINGLE_STREAM,
            **_adapter("regions.features"),
            **_adapter("regions.boxes"),
            "regions.mask.weight": "- -",
            **_norm("regions.norm"),
        },
    ),
    "clip-vil": Rules(
        _SINGLE_STREAM_SIZES,
        {"encoder": _ENCODER},
        {
            **_SINGLE_STREAM,
            **_convolutions("trunk.convolutions.*"),
            **_convolutions("trunk.stages.*.*.reduce"),
            **_convolutions("trunk.stages.*.*.spatial"),
            **_convolutions("trunk.stages.*.*.expand"),
            **_convolutions("trunk.stages.*.*.shortcut"),
            "grid_positions.rows.weight": "- -",
            "grid_positions.columns.weight": "- -",
            **_adapter("features"),
            **_adapter("boxes"),
        },
    ),
}
"""By the name of the family."""


def dimensions(config: ModelConfig) -> dict[str, int]:
    """Every named dimension of a model and its number of units."""
    rules = RULES[config.family]
    sizes: dict[str, int] = {name: getattr(config, field) for name, field in rules.sizes.items()}
    for part in rules.layers:
        for index, layer in enumerate(getattr(config, part)):
            sizes |= {f"{part}.{index}.{name}": size for name, size in asdict(layer).items()}
    return sizes


def layer_lists(config: ModelConfig) -> dict[str, int]:
    """The lists of layers that depth may shorten, and how long each is."""
    return {part: len(getattr(config, part)) for part in RULES[config.family].layers}


def _axes(row: str, layer: str, head_size: int) -> tuple[Axis, ...]:
    axes = []
    for word in row.split():
        if word == WHOLE:
            axes.append(Axis(None))
        else:
            axes.append(Axis(word.format(layer), head_size if word.endswith("heads") else 1))
    return tuple(axes)


def parameter_axes(name: str, config: ModelConfig) -> tuple[Axis, ...]:
    """The dimensions of a parameter's axes; raises UsageError for a parameter that no rule covers."""
    rules = RULES[config.family]
    part, _, rest = name.partition(".")
    if part in rules.layers:
        index, _, inner = rest.partition(".")
        layer, row = f"{part}.{index}", rules.layers[part].get(inner)
    else:
        pattern = ".".join("*" if word.isdigit() else word for word in name.split("."))
        layer, row = "", rules.outside.get(pattern)
    if row is None:
        raise UsageError(f"no dimension rule covers the parameter {name!r}")
    return _axes(row, layer, config.head_size)


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


def check_plan(plan: SubmodelPlan, config: ModelConfig) -> None:
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


def slice_config(config: AnyConfig, plan: SubmodelPlan) -> AnyConfig:
    """The sizes of the submodel; raises UsageError when the plan does not fit the model."""
    check_plan(plan, config)
    rules = RULES[config.family]
    sizes = dimensions(config) | {name: _units(kept) for name, kept in plan.kept.items()}
    changes: dict[str, Any] = {field: sizes[name] for name, field in rules.sizes.items()}
    for part in rules.layers:
        layers = getattr(config, part)
        changes[part] = tuple(
            replace(layers[index], **{name: sizes[f"{part}.{index}.{name}"] for name in asdict(layers[index])})
            for index in plan.layers.get(part, range(len(layers)))
        )
    return replace(config, **changes)
