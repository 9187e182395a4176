"""PyTorch to ONNX: one file, standard operators only, simplified where the result was checked.

The exporter is PyTorch's TorchScript one. On these models it gives the same graph as the torch.export-based one
(one LSTM operator, one LayerNormalization for each norm, the same nodes after onnxsim) ten to twenty times faster,
and the same bytes every time.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.errors import IntegrityError
from edgevqa.export.compact import compact_onnx
from edgevqa.export.packages import quiet, require

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Inputs = Mapping[str, NDArray[Any]]

OPSET = 18
STANDARD_DOMAINS = ("", "ai.onnx")
CONTRIB_PASSES = ("fuse_attention", "fuse_gqa", "fuse_gelu", "fuse_rms_norm", "fuse_rope")
"""Passes of onnxsim that write operators of ONNX Runtime's own domain, which no other runtime opens."""
SIMPLIFIED_TOLERANCE = 1e-5
"""Largest difference that simplifying may make, over the range of the logits."""


@dataclass(frozen=True)
class OnnxFile:
    """What an ONNX file is, read back from it: its opset and how often it has each operator.

    `notes` say in words what was not done.
    """

    opset: int
    operators: Mapping[str, int]
    notes: tuple[str, ...] = ()


def inspect_onnx(path: Path) -> OnnxFile:
    """Read opset and operators back from a file; raises IntegrityError when it is no ONNX file."""
    onnx = require("onnx")
    try:
        model = onnx.load(path, load_external_data=False)
        opset = {entry.domain: entry.version for entry in model.opset_import}[""]
    except Exception as error:
        raise IntegrityError(f"{path} is not a whole ONNX file: {error}") from error
    counts = Counter(node.op_type for node in model.graph.node)
    return OnnxFile(opset, dict(sorted(counts.items())))


def _logits(model: bytes, examples: Inputs) -> NDArray[np.float32]:
    import numpy as np

    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    count = len(next(iter(examples.values())))
    rows = [session.run(None, {name: examples[name][row : row + 1] for name in names})[0] for row in range(count)]
    return np.concatenate(rows)


def simplify(model: bytes, examples: Inputs) -> tuple[bytes, str | None]:
    """Simplify a model with onnxsim, and keep the result only if it is the same function in standard operators.

    Args:
        model: an ONNX file.
        examples: inputs stacked over some questions, on which both are run.

    Returns:
        the file to use, and why it was not simplified, or None.
    """
    import numpy as np

    onnx, onnxsim = require("onnx"), require("onnxsim")
    try:
        parsed = onnx.load_from_string(model)
        result, _ = onnxsim.simplify(parsed, check_n=0, skipped_optimizers=list(CONTRIB_PASSES))
        domains = {node.domain for node in result.graph.node}.difference(STANDARD_DOMAINS)
        if domains:
            return model, f"not simplified: onnxsim wrote operators of {', '.join(sorted(domains))}"
        for entry in [entry for entry in result.opset_import if entry.domain not in STANDARD_DOMAINS]:
            result.opset_import.remove(entry)
        del result.metadata_props[:]
        simplified: bytes = result.SerializeToString(deterministic=True)
        if len(simplified) > 1.5 * len(model):
            return (
                model,
                f"not simplified: onnxsim grew the file from {len(model)} to {len(simplified)} bytes",
            )
        before, after = _logits(model, examples), _logits(simplified, examples)
    except Exception as error:  # onnxsim fails in many ways on valid models; the unsimplified file is as right
        return model, f"not simplified: onnxsim failed with {type(error).__name__}: {str(error)[:200]}"
    difference = float(np.abs(before - after).max())
    if not difference <= SIMPLIFIED_TOLERANCE * float(np.ptp(before)):
        return model, f"not simplified: onnxsim changed the logits by {difference:.3g}"
    return simplified, None


def export_onnx(
    module: torch.nn.Module,
    examples: Inputs,
    path: Path,
    *,
    names: Sequence[str] | None = None,
    opset: int = OPSET,
    simplified: bool = True,
    named: bool = False,
) -> OnnxFile:
    """Write a module as a single ONNX file with fixed lengths, batch 1, and the output `logits`.

    Args:
        module: in evaluation mode; takes its inputs in the order of `names`.
        examples: inputs by name, stacked over at least one question; the first is traced.
        path: of the file.
        names: the inputs in the order of the module's forward; by default that of `examples`.
        opset: of the standard operators.
        simplified: whether to simplify with onnxsim.
        named: whether nodes and inner tensors keep their names.

    Raises:
        MissingExtra: a package of the extra `export` is not installed.
        IntegrityError: the file has another opset than asked for.
        OSError: the file cannot be written.
    """
    torch = require("torch")
    require("onnx")
    names = tuple(names or examples)
    traced = tuple(torch.from_numpy(examples[name][:1].copy()) for name in names)
    stream = io.BytesIO()
    with quiet(), torch.no_grad():
        torch.onnx.export(
            module,
            traced,
            stream,
            input_names=list(names),
            output_names=["logits"],
            opset_version=opset,
            dynamo=False,
        )
        content, note = stream.getvalue(), None
        if simplified:
            content, note = simplify(content, {name: examples[name][:8] for name in names})
    path.write_bytes(content)
    if not named:
        compact_onnx(path)
    found = inspect_onnx(path)
    if found.opset != opset:
        raise IntegrityError(f"{path} has opset {found.opset} instead of {opset}; choose another opset")
    return OnnxFile(found.opset, found.operators, (note,) if note else ())
