"""A submodel is a plan: which layers, heads, neurons and channels stay. Every method makes one; one slicer reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from edgevqa.errors import InputError

Kept = int | tuple[int, ...]
"""What stays of a dimension: its first so many units, or exactly these units, ascending."""


@dataclass(frozen=True)
class SubmodelPlan:
    """What stays of a model.

    Args:
        method: what made the plan ("bst", "optin", ...); behind the slicer only provenance.
        layers: for each list of layers that depth may shorten, the layers that stay, in the order in which they run.
        kept: for each named dimension of the full model, what stays; a dimension that is absent stays whole.
        width: the fraction of the hidden size, for methods that have one.
        depth: layers kept of each list, for methods that have one number for all.
        provenance: how the method came to it (limits, scores, calibration hash), JSON-serialisable.
    """

    method: str
    layers: Mapping[str, tuple[int, ...]]
    kept: Mapping[str, Kept] = field(default_factory=dict)
    width: Fraction | None = None
    depth: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable description that `from_dict` reads back."""
        return {
            "method": self.method,
            "layers": {name: list(layers) for name, layers in sorted(self.layers.items())},
            "kept": {name: kept if isinstance(kept, int) else list(kept) for name, kept in sorted(self.kept.items())},
            "width": None if self.width is None else str(self.width),
            "depth": self.depth,
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> SubmodelPlan:
        """Read what `to_dict` wrote; raises InputError when it is not a plan."""
        try:
            return cls(
                method=str(described["method"]),
                layers={name: tuple(map(int, layers)) for name, layers in described["layers"].items()},
                kept={
                    name: kept if isinstance(kept, int) else tuple(map(int, kept))
                    for name, kept in described["kept"].items()
                },
                width=None if described["width"] is None else Fraction(described["width"]),
                depth=described["depth"],
                provenance=dict(described["provenance"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise InputError(f"this is not a submodel plan: {error!r}") from error

    @property
    def hash(self) -> str:
        """sha256 of the plan without its provenance: equal for equal submodels."""
        described = self.to_dict()
        del described["provenance"]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """`w0.25-d2` for a (width, depth) pair, else the method and the first 8 digits of the hash."""
        if self.width is not None and self.depth is not None:
            return f"w{float(self.width):g}-d{self.depth}"
        return f"{self.method}-{self.hash[:8]}"
