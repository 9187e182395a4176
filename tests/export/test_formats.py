"""ONNX and TFLite files: the same function as in PyTorch, with the promised inputs, in the same bytes every time."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgevqa.checkpoints import Checkpoint
from edgevqa.errors import IntegrityError
from edgevqa.export import tflite
from edgevqa.export.manifest import Artifact
from edgevqa.export.onnx import export_onnx, inspect_onnx, simplify
from edgevqa.export.tflite import export_tflite, inspect_tflite
from edgevqa.runtimes.session import open_session
from tests.export import toy


def answers(path: Path, questions: dict[str, Any]) -> Any:
    session = open_session(path)
    count = len(questions["question"])
    return np.concatenate(
        [session.run({name: a[row : row + 1] for name, a in questions.items()}) for row in range(count)]
    )


def assert_same_function(path: Path, model: Checkpoint, plan: Any) -> None:
    questions = toy.inputs(model.config, 20, seed=3)
    expected = toy.logits(model.submodel(plan), questions)
    assert np.ptp(expected) > 0.1
    assert np.abs(answers(path, questions) - expected).max() < 1e-5 * np.ptp(expected)


def test_onnx_is_the_same_function_in_native_operators(model: Checkpoint, tmp_path: Path) -> None:
    plan = toy.plan(model, "1/2", 2)
    module = model.submodel(plan)
    questions = toy.inputs(model.config, 9)
    file = export_onnx(module, questions, tmp_path / "a.onnx")
    assert file.opset == 18 and not file.notes
    assert file.operators["LSTM"] == 1
    norms = sum(isinstance(part, torch.nn.LayerNorm) for part in module.modules())
    assert file.operators["LayerNormalization"] == norms
    assert_same_function(tmp_path / "a.onnx", model, plan)
    assert [item.name for item in tmp_path.iterdir()] == ["a.onnx"], "the weights lie in the same file"
    export_onnx(module, questions, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_onnx_of_a_pixel_model_uses_standard_operators_only(pixel_model: Checkpoint, tmp_path: Path) -> None:
    import onnx

    plan = toy.plan(pixel_model)
    export_onnx(pixel_model.submodel(plan), toy.inputs(pixel_model.config, 9), tmp_path / "a.onnx")
    loaded = onnx.load(tmp_path / "a.onnx")
    assert {node.domain for node in loaded.graph.node} <= {"", "ai.onnx"}
    assert [entry.domain for entry in loaded.opset_import] == [""]
    shapes = {item.name: [size.dim_value for size in item.type.tensor_type.shape.dim] for item in loaded.graph.input}
    assert shapes == {"question": [1, 6], "question_mask": [1, 1, 1, 6], "image": [1, 3, 16, 16]}
    assert_same_function(tmp_path / "a.onnx", pixel_model, plan)


def test_an_unsimplified_onnx_file_is_the_same_function(model: Checkpoint, tmp_path: Path) -> None:
    plan = toy.plan(model)
    file = export_onnx(model.submodel(plan), toy.inputs(model.config, 2), tmp_path / "a.onnx", simplified=False)
    assert sum(file.operators.values()) > 0
    assert_same_function(tmp_path / "a.onnx", model, plan)


def test_the_opset_is_read_back_from_the_file(model: Checkpoint, tmp_path: Path) -> None:
    module = model.submodel(toy.plan(model))
    assert export_onnx(module, toy.inputs(model.config, 2), tmp_path / "a.onnx", opset=17).opset == 17
    assert inspect_onnx(tmp_path / "a.onnx").opset == 17


def test_simplifying_falls_back_to_the_file_as_it_is() -> None:
    content, note = simplify(b"this is no ONNX file", {})
    assert content == b"this is no ONNX file"
    assert note is not None and note.startswith("not simplified: onnxsim failed")


def test_simplifying_is_undone_when_the_file_grows() -> None:
    """A large tensor that the graph computes would be folded into the file."""
    from onnx import TensorProto, helper, numpy_helper

    shape = numpy_helper.from_array(np.array([300, 300], np.int64), "shape")
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["big"]), helper.make_node("Gather", ["big", "x"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.INT32, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 300])
    graph = helper.make_graph(nodes, "g", [x], [y], [shape])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    kept, note = simplify(content, {"x": np.ones((2,), np.int32)})
    assert kept == content and note is not None and "grew the file" in note


@pytest.mark.slow
def test_tflite_is_the_same_function_with_named_inputs(model: Checkpoint, artifacts: dict[str, Artifact]) -> None:
    path = artifacts["tflite-fp32"].file
    file = inspect_tflite(path)
    assert file.inputs == {"question", "question_mask", "regions", "region_mask", "boxes"}
    assert file.outputs == {"logits"} and file.schema == 3
    assert open_session(path).inputs["question"] == ((1, toy.LENGTH), "int32")
    assert_same_function(path, model, toy.plan(model))


@pytest.mark.slow
def test_tflite_takes_pictures_as_nhwc_and_the_short_conversion_gives_the_bytes_of_the_long_one(
    pixel_model: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy.plan(pixel_model)
    module, questions = pixel_model.submodel(plan), toy.inputs(pixel_model.config, 2)
    export_tflite(module, questions, tmp_path / "short.tflite")
    assert open_session(tmp_path / "short.tflite").inputs["image"][0] == (1, 16, 16, 3)
    assert_same_function(tmp_path / "short.tflite", pixel_model, plan)
    monkeypatch.setattr(tflite, "_one_decomposition", contextlib.nullcontext)
    export_tflite(module, questions, tmp_path / "long.tflite")
    assert (tmp_path / "short.tflite").read_bytes() == (tmp_path / "long.tflite").read_bytes()


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x1c\0\0\0TFL3" + bytes(40)])
def test_broken_files_are_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)
    for inspect in (inspect_onnx, inspect_tflite):
        with pytest.raises(IntegrityError, match="broken is not a whole"):
            inspect(path)
