"""Is there what a delegate needs? It is asked to compute a model of one operator."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgevqa.devices.base import TEMPORARY_PREFIX, Transport
from edgevqa.devices.jobs import run_logits
from edgevqa.devices.targets import Target
from edgevqa.errors import DeviceError
from edgevqa.runtimes import get_runtime

TIMEOUT_S = 120.0
# x (1, 4) float32 -> logits = 2 x: in ONNX a product with a constant matrix, which every provider has, in TFLite x + x;
# what onnx's helpers and LiteRT's schema wrote, in base 64
TINY_MODELS: Mapping[str, str] = {
    "onnx": (
        "CAg6mgEKFgoBeAoBdxIGbG9naXRzIgZNYXRNdWwSBHRpbnkqSwgECAQQAUIBd0pAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAABAAAAA"
        "AAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAQFoTCgF4Eg4KDAgBEggKAggBCgIIBGIYCgZsb2dpdHMSDgoMCAES"
        "CAoCCAEKAggEQgQKABAR"
    ),
    "tflite": (
        "HAAAAFRGTDMUABgAFAAQAAwAAAAIAAAAAAAEABQAAAAUAAAAkAAAAJgAAABsAQAAAwAAAAEAAAAQAAAAAAAKABAADAAIAAQACgAA"
        "AAwAAAAcAAAAQAAAAA8AAABzZXJ2aW5nX2RlZmF1bHQAAQAAAAwAAAAIAAwACAAEAAgAAAABAAAABAAAAAYAAABsb2dpdHMAAAEA"
        "AAAMAAAAAAAGAAgABAAGAAAABAAAAAEAAAB4AAAAAQAAAAQAAAAc////AQAAABAAAAAMABQAEAAMAAgABAAMAAAAEAAAAFAAAABU"
        "AAAAWAAAAAEAAAAUAAAAAAAOABQAAAAQAAwACwAEAA4AAAAQAAAAAAAACwwAAAAQAAAAdP///wEAAAABAAAAAgAAAAAAAAAAAAAA"
        "AQAAAAEAAAABAAAAAAAAAAIAAAA4AAAABAAAANz///8IAAAAEAAAAAYAAABsb2dpdHMAAAIAAAABAAAABAAAAAwADAAIAAAAAAAE"
        "AAwAAAAIAAAADAAAAAEAAAB4AAAAAgAAAAEAAAAEAAAAAQAAAAgAAAAEAAQABAAAAA=="
    ),
}


def try_delegate(target: Target, runtime: str, transport: Transport) -> str | None:
    """Compute something on a target's delegate; returns the name and type of the adapter, where that is known.

    Raises:
        DeviceError: the delegate, or what it needs, is not there, or computes something else.
        MissingExtra: the runtime is not installed on this machine.
    """
    import numpy as np

    kind = get_runtime(runtime).format
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        model, inputs = Path(folder) / f"tiny.{kind}", Path(folder) / "questions.npz"
        model.write_bytes(base64.b64decode(TINY_MODELS[kind]))
        np.savez(inputs, x=np.ones((1, 4), np.float32))
        logits, facts = run_logits(target, model, inputs, runtime, transport=transport, timeout_s=TIMEOUT_S)
    if not np.allclose(logits, 2):
        raise DeviceError(f"{target.name}: {target.delegate} of {runtime} says that 2 times 1 is {logits.flat[0]:g}")
    adapter: str | None = facts.get("adapter")
    return adapter
