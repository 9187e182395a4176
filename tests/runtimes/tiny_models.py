"""Tiny models with the inputs of an artifact, which the tests build themselves."""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

WORDS, TOKENS, REGIONS, FEATURES, HIDDEN, ANSWERS = 20, 4, 3, 6, 8, 5
COUNT = 7


@functools.cache
def weights() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    shapes = {"embedding": (WORDS, HIDDEN), "projection": (FEATURES, HIDDEN), "classifier": (HIDDEN, ANSWERS)}
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def questions(count: int = COUNT) -> dict[str, Any]:
    generator = np.random.default_rng(1)
    return {
        "question": generator.integers(0, WORDS, (count, TOKENS)).astype(np.int32),
        "question_mask": -generator.random((count, 1, 1, TOKENS)).astype(np.float32),
        "regions": generator.standard_normal((count, REGIONS, FEATURES)).astype(np.float32),
        "region_mask": -3 * generator.random((count, 1, 1, REGIONS)).astype(np.float32),
    }


def expected(inputs: dict[str, Any]) -> Any:
    """Logits (n, answers); every input changes them in its own way."""
    own = weights()
    words = (own["embedding"][inputs["question"]] + inputs["question_mask"][:, 0, 0, :, None]).mean(1)
    shares = np.exp(inputs["region_mask"][:, 0, 0])
    shares = shares / shares.sum(1, keepdims=True)
    picture = (shares[..., None] * (inputs["regions"] @ own["projection"])).sum(1)
    return (words * picture) @ own["classifier"]


def write_questions(path: Path, inputs: dict[str, Any] | None = None) -> Path:
    inputs = questions() if inputs is None else inputs
    count = len(next(iter(inputs.values())))
    np.savez(path, labels=np.zeros(count, np.int64), texts=np.array(["what is it"] * count), **inputs)
    return path


def write_onnx(path: Path, rename: dict[str, str] | None = None) -> Path:
    """The model as ONNX; its inputs are declared in another order than the questions have, on purpose."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    name = {key: key for key in questions()} | (rename or {})
    shapes = {
        "region_mask": (1, 1, 1, REGIONS),
        "question": (1, TOKENS),
        "regions": (1, REGIONS, FEATURES),
        "question_mask": (1, 1, 1, TOKENS),
    }
    constants = {
        **weights(),
        "words_shape": np.array([1, TOKENS, 1], np.int64),
        "regions_shape": np.array([1, REGIONS, 1], np.int64),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", name["question"]], ["words"]),
        helper.make_node("Reshape", [name["question_mask"], "words_shape"], ["words_mask"]),
        helper.make_node("Add", ["words", "words_mask"], ["masked"]),
        helper.make_node("ReduceMean", ["masked", "axis"], ["mean"], keepdims=0),
        helper.make_node("Reshape", [name["region_mask"], "regions_shape"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
        helper.make_node("MatMul", [name["regions"], "projection"], ["projected"]),
        helper.make_node("Mul", ["projected", "shares"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axis"], ["picture"], keepdims=0),
        helper.make_node("Mul", ["mean", "picture"], ["joined"]),
        helper.make_node("MatMul", ["joined", "classifier"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(
                name[key], TensorProto.INT32 if key == "question" else TensorProto.FLOAT, shape
            )
            for key, shape in shapes.items()
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, ANSWERS))],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def write_picture_onnx(path: Path, height: int, width: int) -> Path:
    """A model of a picture (1, height, width, 3): the mean of each colour is a logit."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["image", "axes"], ["logits"], keepdims=0)],
        "picture",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, height, width, 3))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, 3))],
        [numpy_helper.from_array(np.array([1, 2], np.int64), "axes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@functools.cache
def tflite_content() -> bytes:
    """The model as TFLite, converted once for all tests (some seconds)."""
    import litert_torch
    import torch

    own = {name: torch.tensor(value) for name, value in weights().items()}

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, value in own.items():
                self.register_parameter(name, torch.nn.Parameter(value))

        def forward(
            self,
            question: torch.Tensor,
            question_mask: torch.Tensor,
            regions: torch.Tensor,
            region_mask: torch.Tensor,
        ) -> dict[str, torch.Tensor]:
            words = torch.nn.functional.embedding(question, self.embedding) + question_mask[:, 0, 0, :, None]
            shares = torch.softmax(region_mask[:, 0, 0], -1)
            picture = (shares[..., None] * (regions @ self.projection)).sum(1)
            return {"logits": (words.mean(1) * picture) @ self.classifier}

    sample = {name: torch.tensor(value[:1]) for name, value in questions().items()}
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        litert_torch.convert(Tiny().eval(), sample_kwargs=sample).export(str(path))
        return path.read_bytes()


def write_tflite(path: Path) -> Path:
    path.write_bytes(tflite_content())
    return path
