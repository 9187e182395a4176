"""The packages of the extra `export`: imported when needed, and kept from talking."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from edgevqa.errors import MissingExtra

PACKAGES: Mapping[str, Mapping[str, str]] = {
    "onnx": {"torch": "torch", "onnx": "onnx", "onnxsim": "onnxsim", "onnxruntime": "onnxruntime"},
    "tflite": {
        "torch": "torch",
        "litert-torch": "litert_torch",
        "litert-converter": "litert_converter",
        "ai-edge-quantizer": "ai_edge_quantizer",
    },
}
"""What a file of each format depends on: the package and its module."""


def require(module: str) -> Any:
    """Import a module of the extra `export`; raises MissingExtra with its package."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra((error.name or module).partition(".")[0], "export") from None


def versions(file_format: str) -> dict[str, str]:
    """The versions that an exported file depends on, by package; no package is imported.

    Raises:
        MissingExtra: one is not installed.
    """
    found = {}
    for package, module in PACKAGES[file_format].items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(package, "export")
        found[package] = importlib.metadata.version(package).partition("+")[0]
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back warnings, log messages below ERROR and everything printed from Python while the block runs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
