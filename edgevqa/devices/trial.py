"""Is there what a delegate needs? It is asked to compute a model of one addition."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgevqa.devices.base import TEMPORARY_PREFIX, Transport
from edgevqa.devices.jobs import run_logits
from edgevqa.devices.targets import Target
from edgevqa.runtimes import get_runtime

TIMEOUT_S = 120.0
# x (1, 4) float32 -> logits = x + x: what litert's schema and onnx's helpers wrote, in base 64
TINY_MODELS: Mapping[str, str] = {
    "onnx": (
        "CAg6SgoTCgF4CgF4EgZsb2dpdHMiA0FkZBIEdGlueVoTCgF4Eg4KDAgBEggKAggBCgIIBGIYCgZsb2dpdHMSDgoMCAESCAoCCAEK"
        "AggEQgQKABAR"
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
        DeviceError: the delegate, or what it needs, is not there.
        MissingExtra: the runtime is not installed on this machine.
    """
    import numpy as np

    kind = get_runtime(runtime).format
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        model, inputs = Path(folder) / f"tiny.{kind}", Path(folder) / "questions.npz"
        model.write_bytes(base64.b64decode(TINY_MODELS[kind]))
        np.savez(inputs, x=np.ones((1, 4), np.float32))
        _logits, facts = run_logits(target, model, inputs, runtime, transport=transport, timeout_s=TIMEOUT_S)
    adapter: str | None = facts.get("adapter")
    return adapter
