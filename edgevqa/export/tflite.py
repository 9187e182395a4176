"""PyTorch to TFLite with litert-torch: named inputs, pictures as NHWC, the output `logits`.

The LSTM comes out unrolled over the tokens of the question: TFLite's own LSTM operator is not delegated to XNNPACK,
which takes over the unrolled one whole.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.errors import IntegrityError
from edgevqa.export.compact import compact_tflite
from edgevqa.export.packages import quiet, require

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

PICTURE = "image"
"""The input that is NCHW in PyTorch and ONNX, and NHWC in TFLite."""


@dataclass(frozen=True)
class TFLiteFile:
    """What a TFLite file is, read back from it: its schema, operators, and the inputs and outputs of its signature."""

    schema: int
    operators: Mapping[str, int]
    inputs: frozenset[str]
    outputs: frozenset[str]


def inspect_tflite(path: Path) -> TFLiteFile:
    """Read schema, operators and signature back from a file; raises IntegrityError when it is no TFLite file."""
    schema = require("ai_edge_litert.schema_py_generated")
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    try:
        content = path.read_bytes()
        if content[4:8] != b"TFL3":
            raise ValueError("it does not begin as one")
        model = schema.Model.GetRootAs(content)
        codes = [model.OperatorCodes(place) for place in range(model.OperatorCodesLength())]
        kinds = [names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]
        counts: Counter[str] = Counter()
        for graph in (model.Subgraphs(place) for place in range(model.SubgraphsLength())):
            counts.update(kinds[graph.Operators(place).OpcodeIndex()] for place in range(graph.OperatorsLength()))
        signature = model.SignatureDefs(0)
        inputs = (signature.Inputs(place).Name() for place in range(signature.InputsLength()))
        outputs = (signature.Outputs(place).Name() for place in range(signature.OutputsLength()))
        return TFLiteFile(
            schema=int(model.Version()),
            operators=dict(sorted(counts.items())),
            inputs=frozenset(name.decode() for name in inputs),
            outputs=frozenset(name.decode() for name in outputs),
        )
    except Exception as error:
        raise IntegrityError(f"{path} is not a whole TFLite file: {error}") from error


def tflite_inputs(path: Path) -> dict[str, tuple[int, ...]]:
    """Name in the signature and shape of every input, in the order in which the file itself has them.

    Raises:
        MissingExtra: LiteRT is not installed here.
        IntegrityError: it is no TFLite file.
    """
    schema = require("ai_edge_litert.schema_py_generated")
    try:
        model = schema.Model.GetRootAs(path.read_bytes())
        signature = model.SignatureDefs(0)
        entries = (signature.Inputs(place) for place in range(signature.InputsLength()))
        names = {entry.TensorIndex(): entry.Name().decode() for entry in entries}
        graph = model.Subgraphs(signature.SubgraphIndex())
        places = [graph.Inputs(place) for place in range(graph.InputsLength())]
        return {names[place]: tuple(map(int, graph.Tensors(place).ShapeAsNumpy())) for place in places}
    except Exception as error:
        raise IntegrityError(f"{path} is not a whole TFLite file: {error}") from error


@functools.cache
def _named_class() -> type[torch.nn.Module]:
    nn = require("torch").nn

    class Named(nn.Module):  # type: ignore[misc, name-defined]
        """A module that takes its inputs by name, so that their names reach the file's signature."""

        def __init__(self, module: torch.nn.Module, names: Sequence[str]) -> None:
            super().__init__()
            self.module = module
            self.names = tuple(names)

        def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            ordered = [inputs[name] for name in self.names]
            if PICTURE in self.names:
                place = self.names.index(PICTURE)
                ordered[place] = ordered[place].permute(0, 3, 1, 2)
            return {"logits": self.module(*ordered)}

    return Named


@contextlib.contextmanager
def _one_decomposition() -> Iterator[None]:
    """Leave out the first of litert-torch's two decompositions of the graph, which the second repeats.

    That takes 40 % off a conversion and gives the same bytes. Where litert-torch is built otherwise, nothing changes.
    """
    try:
        from litert_torch._convert import core

        original = core.export_torch_signature
        fitting = "run_decompositions" in inspect.signature(original).parameters
    except (ImportError, AttributeError):
        fitting = False
    if not fitting:
        yield
        return
    core.export_torch_signature = functools.partial(original, run_decompositions=False)
    try:
        yield
    finally:
        core.export_torch_signature = original


def export_tflite(
    module: torch.nn.Module,
    examples: Mapping[str, NDArray[Any]],
    path: Path,
    *,
    names: Sequence[str] | None = None,
    named: bool = False,
) -> TFLiteFile:
    """Write a module as a TFLite file with fixed lengths, batch 1, and the output `logits`.

    Args:
        module: in evaluation mode; takes its inputs in the order of `names`.
        examples: inputs by name, stacked over at least one question; the first is traced.
        path: of the file.
        names: the inputs in the order of the module's forward; by default that of `examples`.
        named: whether inner tensors keep their names.

    Raises:
        MissingExtra: a package of the extra `export` is not installed.
        IntegrityError: the file lacks an input or the output.
        OSError: the file cannot be written.
    """
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    names = tuple(names or examples)
    with quiet():
        torch, litert_torch = require("torch"), require("litert_torch")
        traced = {name: torch.from_numpy(examples[name][:1].copy()) for name in names}
        if PICTURE in traced:
            traced[PICTURE] = traced[PICTURE].permute(0, 2, 3, 1).contiguous()
        with torch.no_grad(), _one_decomposition():
            converted = litert_torch.convert(_named_class()(module, names).eval(), sample_kwargs=traced)
            content = bytes(converted.model_content())
    path.write_bytes(content)
    if not named:
        compact_tflite(path)
    found = inspect_tflite(path)
    if found.inputs != set(names) or found.outputs != {"logits"}:
        raise IntegrityError(
            f"{path} has the inputs {sorted(found.inputs)} and outputs {sorted(found.outputs)} "
            f"instead of {sorted(names)} and logits"
        )
    return found
