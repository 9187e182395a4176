"""edgevqa: from a slimmable VQA model to the file that answers best within a device's limits.

Importing this package loads nothing heavy; the public functions are fetched on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> (module, attribute there). Fetched lazily, so that `import edgevqa` stays light.
_PUBLIC = {
    "bench": ("edgevqa.pipeline", "bench"),
    "bench_fleet": ("edgevqa.pipeline", "bench_fleet"),
    "evaluate": ("edgevqa.pipeline", "evaluate"),
    "evaluate_checkpoint": ("edgevqa.pipeline", "evaluate_checkpoint"),
    "export_submodels": ("edgevqa.pipeline", "export"),
    "load": ("edgevqa.checkpoints", "load_checkpoint"),
    "pareto": ("edgevqa.pipeline", "pareto"),
    "read_records": ("edgevqa.results.records", "read"),
    "recommend": ("edgevqa.results.recommend", "recommend"),
    "select": ("edgevqa.results.select", "select"),
    "slice": ("edgevqa.slimming.slicer", "slice_model"),
}

__all__ = [
    "__version__",
    "bench",
    "bench_fleet",
    "evaluate",
    "evaluate_checkpoint",
    "export_submodels",
    "load",
    "pareto",
    "read_records",
    "recommend",
    "select",
    "slice",
]


def __getattr__(name: str) -> Any:
    """Fetch a public function from its room."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    """The names that a user can reach."""
    return sorted({*globals(), *__all__})
