"""Take the names of inner tensors out of a file: up to a third of a small int8 file, and no runtime reads them.

Inputs and outputs keep their names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgevqa.export.packages import require

BUFFER_ALIGNMENT = 16
"""Of the weights in a TFLite file, as its schema demands; Python's flatbuffers aligns bytes to 4."""


def compact_onnx(path: Path) -> None:
    """Number the inner tensors of an ONNX file, drop the names of its nodes and what shape inference finds again.

    A file with inner graphs is left as it is.
    """
    onnx = require("onnx")
    model = onnx.load(path)
    graph = model.graph
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return
    numbers: dict[str, str] = {entry.name: entry.name for entry in (*graph.input, *graph.output)} | {"": ""}

    def number(name: str) -> str:
        return numbers.setdefault(name, f"t{len(numbers)}")

    for node in graph.node:
        node.name = node.doc_string = ""
        node.input[:] = [number(name) for name in node.input]
        node.output[:] = [number(name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = number(tensor.name)
        tensor.doc_string = ""
    del graph.value_info[:]
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString(deterministic=True))


def compact_tflite(path: Path) -> None:
    """Number the inner tensors of a TFLite file; inputs and outputs are called as in its signature."""
    import numpy as np

    flatbuffers, schema = require("flatbuffers"), require("ai_edge_litert.schema_py_generated")
    content = path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    for place, graph in enumerate(model.subgraphs):
        signatures = [signature for signature in model.signatureDefs or () if signature.subgraphIndex == place]
        kept = {
            entry.tensorIndex: entry.name
            for signature in signatures
            for entry in (*signature.inputs, *signature.outputs)
        }
        for index, tensor in enumerate(graph.tensors):
            tensor.name = kept.get(index, f"t{index}".encode())
    for buffer in model.buffers:
        if buffer.offset > 1:  # lies behind the flatbuffer, at a place that changes
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0

    class Aligned(flatbuffers.Builder):  # type: ignore[misc, name-defined]
        def CreateNumpyVector(self, values: Any) -> int:
            if values.dtype == np.uint8:
                self.Prep(BUFFER_ALIGNMENT, values.size)
            return int(super().CreateNumpyVector(values))

    builder = Aligned(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
