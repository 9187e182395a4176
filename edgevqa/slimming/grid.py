"""BST's grid of (width, depth) submodels (arXiv 2203.12814; layer order and filter as in the authors' code)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from edgevqa.errors import InputError, UsageError
from edgevqa.models.families import ModelConfig
from edgevqa.slimming.plan import SubmodelPlan
from edgevqa.slimming.rules import RULES, dimensions


@dataclass(frozen=True)
class Slimming:
    """How a model may be slimmed; travels in the checkpoint's config.

    Args:
        widths: fractions of the hidden size, ascending.
        depths: fractions of the layers, ascending.
        layer_order: for each list of layers, the layers by priority; a depth keeps the first of them.
        triangle: whether shallow-and-wide submodels are left out: the i-th width goes with the i-th depth or deeper.
    """

    widths: tuple[Fraction, ...]
    depths: tuple[Fraction, ...]
    layer_order: Mapping[str, tuple[int, ...]]
    triangle: bool = True

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable description that `from_dict` reads back."""
        return {
            "widths": [str(width) for width in self.widths],
            "depths": [str(depth) for depth in self.depths],
            "layer_order": {name: list(order) for name, order in self.layer_order.items()},
            "triangle": self.triangle,
        }

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Slimming:
        """Read what `to_dict` wrote; raises InputError when it is incomplete."""
        try:
            return cls(
                widths=tuple(Fraction(width) for width in described["widths"]),
                depths=tuple(Fraction(depth) for depth in described["depths"]),
                layer_order={name: tuple(order) for name, order in described["layer_order"].items()},
                triangle=bool(described["triangle"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise InputError(f"the slimming rules are incomplete or wrong: {error!r}") from error

    @property
    def layers(self) -> int:
        """Layers of each list of the full model."""
        return len(next(iter(self.layer_order.values())))


WIDTHS = (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(1))
DEPTHS = (Fraction(1, 6), Fraction(1, 3), Fraction(2, 3), Fraction(1))

MCAN_BST = Slimming(
    widths=WIDTHS,
    depths=DEPTHS,
    layer_order={"encoder": (0, 5, 1, 4, 2, 3), "decoder": (5, 0, 1, 4, 2, 3)},
)
"""The grid of MCAN_BST: 16 pairs, of which the triangle filter keeps 10."""


def ends_first(layers: int) -> tuple[int, ...]:
    """The order of MCAN_BST's encoder for any number of layers: first, last, second, last but one, the middle last."""
    return tuple(number // 2 if number % 2 == 0 else layers - 1 - number // 2 for number in range(layers))


def slimming_of(layers: int, family: str = "mcan") -> Slimming:
    """BST's grid for another number of layers: the same widths, and the depths that are nearest to the same fractions.

    With fewer than five layers some depths fall together; then there is no triangle filter, which pairs widths with
    depths. The decoder begins with its last layer, as that of MCAN_BST does; the other families have none.
    """
    counts = sorted({max(1, round(depth * layers)) for depth in DEPTHS})
    encoder = ends_first(layers)
    order = {"encoder": encoder, "decoder": (*reversed(encoder[:2]), *encoder[2:])}
    return Slimming(
        widths=WIDTHS,
        depths=tuple(Fraction(count, layers) for count in counts),
        layer_order={name: order[name] for name in RULES[family].layers},
        triangle=len(counts) == len(DEPTHS),
    )


def single_stream_bst(layers: int) -> Slimming:
    """The grid of UNITER_BST and CLIP-ViL_BST: widths, depths and filter of MCAN_BST over one list of layers.

    The authors published no code for these; `docs/families.md` says what was chosen, and why.
    """
    return Slimming(WIDTHS, DEPTHS, {"encoder": ends_first(layers)})


def grid_pairs(slimming: Slimming, *, filtered: bool = True) -> Iterator[tuple[Fraction, int]]:
    """The (width, number of layers) pairs, widths ascending, depths ascending; `filtered` applies the triangle.

    Raises:
        UsageError: a depth is no whole number of layers.
    """
    for depth in slimming.depths:
        if (depth * slimming.layers).denominator != 1:
            raise UsageError(f"the depth {depth} is no whole number of the {slimming.layers} layers")
    for row, width in enumerate(slimming.widths):
        for column, depth in enumerate(slimming.depths):
            if column >= row or not (filtered and slimming.triangle):
                yield width, int(depth * slimming.layers)


def _describe_grid(slimming: Slimming, *, filtered: bool) -> str:
    by_width: dict[Fraction, list[str]] = {}
    for width, depth in grid_pairs(slimming, filtered=filtered):
        by_width.setdefault(width, []).append(str(depth))
    return "; ".join(f"width {float(width):g} with depth {', '.join(depths)}" for width, depths in by_width.items())


def bst_plan(
    config: ModelConfig, slimming: Slimming, width: Fraction, depth: int, *, filtered: bool = True
) -> SubmodelPlan:
    """The plan of one (width, depth) pair: prefixes of every dimension, and the first layers of the priority order.

    Args:
        config: the full model's sizes.
        slimming: the grid.
        width: fraction of the hidden size.
        depth: layers of each list.
        filtered: whether pairs outside the triangle are refused.

    Raises:
        UsageError: the pair is not in the grid; the message lists the grid.
    """
    pairs = set(grid_pairs(slimming, filtered=filtered))
    if (width, depth) not in pairs:
        message = f"(width {float(width):g}, depth {depth}) is not a submodel of this model; "
        message += f"it has {_describe_grid(slimming, filtered=filtered)}"
        if filtered and (width, depth) in set(grid_pairs(slimming, filtered=False)):
            message += "; --any lifts the triangle filter, which left this pair out in training"
        raise UsageError(message)
    layers = {name: tuple(sorted(order[:depth])) for name, order in slimming.layer_order.items()}
    gone = {
        f"{name}.{index}."
        for name, order in slimming.layer_order.items()
        for index in order
        if index not in layers[name]
    }
    kept: dict[str, int | tuple[int, ...]] = {}
    for name, size in dimensions(config).items():
        units = width * size
        if units.denominator != 1:
            raise UsageError(f"width {width} leaves {float(units):g} of the {size} units of {name!r}")
        if not any(name.startswith(prefix) for prefix in gone):
            kept[name] = int(units)
    return SubmodelPlan(method="bst", layers=layers, kept=kept, width=width, depth=depth)


def grid(config: ModelConfig, slimming: Slimming, *, filtered: bool = True) -> list[SubmodelPlan]:
    """The plans of all pairs, smallest first."""
    return [
        bst_plan(config, slimming, width, depth, filtered=filtered)
        for width, depth in grid_pairs(slimming, filtered=filtered)
    ]


def full_plan(config: ModelConfig, slimming: Slimming) -> SubmodelPlan:
    """The plan that keeps everything."""
    return bst_plan(config, slimming, Fraction(1), slimming.layers)
