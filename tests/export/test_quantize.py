"""Schemes: which are chosen, and what their files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevqa.checkpoints import Checkpoint
from edgevqa.errors import UsageError
from edgevqa.export.exporter import export_submodel
from edgevqa.export.manifest import Artifact
from edgevqa.export.quantize import PRECISIONS, SCHEMES, calibration_hash, choose_schemes, schemes_for_gpu
from edgevqa.runtimes import RUNTIMES
from edgevqa.runtimes.session import open_session
from tests.export import toy

pytestmark = pytest.mark.slow
TOLERANCES = {"fp32": 1e-5, "fp16": 1e-2, "int8": 0.1}


def folders(*arguments: Any, **more: Any) -> list[str]:
    return [scheme.folder for scheme in choose_schemes(*arguments, **more)]


def test_the_defaults_have_plain_folders() -> None:
    both = ("onnx", "tflite")
    assert folders(both, ("fp32", "int8")) == ["onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8"]
    assert len({scheme.folder for scheme in SCHEMES}) == len(SCHEMES)


def test_each_runtime_gets_the_int8_file_that_is_right_there() -> None:
    both = ("onnx", "tflite")
    assert folders(both, ("int8",), runtimes=("tflite_runtime",)) == ["tflite-int8-weight-only"]
    assert folders(both, ("int8",), runtimes=("litert", "onnxruntime")) == ["onnx-int8", "tflite-int8"]
    everywhere = folders(("tflite",), ("fp32", "int8"), runtimes=("litert", "tflite_runtime"))
    assert everywhere == ["tflite-fp32", "tflite-int8", "tflite-int8-weight-only"]
    dynamic = choose_schemes(("tflite",), ("int8",))[0]
    assert "tflite_runtime" not in dynamic.runtimes, "it gives wrong logits there"


def test_what_is_the_best_of_no_runtime_is_made_only_when_named() -> None:
    made = {scheme for name in RUNTIMES for scheme in choose_schemes(("onnx", "tflite"), PRECISIONS, runtimes=(name,))}
    assert [scheme.name for scheme in SCHEMES if scheme not in made] == ["half-gpu", "reduced-range", "static"]
    assert folders(("onnx",), ("int8",), "reduced-range") == ["onnx-int8-reduced-range"]


def test_a_gpu_gets_what_it_takes_whole() -> None:
    assert schemes_for_gpu(("onnx", "tflite"), ("fp32", "fp16")) == ("half-gpu",)
    assert folders(("onnx", "tflite"), ("fp16",), "half-gpu") == ["onnx-fp16", "tflite-fp16-half-gpu"]
    with pytest.raises(UsageError, match="tflite int8 is for CPUs"):
        schemes_for_gpu(("tflite",), ("fp32", "int8"))


def test_a_named_scheme_replaces_the_default_where_it_exists() -> None:
    assert folders(("onnx", "tflite"), ("int8",), "weight-only") == ["onnx-int8", "tflite-int8-weight-only"]
    assert folders(("tflite",), ("fp32", "int8"), ("static",)) == ["tflite-fp32", "tflite-int8-static"]


@pytest.mark.parametrize(
    ("arguments", "more", "message"),
    [
        ((("onnx",), ("int4",)), {}, "no onnx int4; formats: onnx, tflite; precisions: fp32, fp16, int8"),
        ((("mnn",), ("fp32",)), {}, "no mnn fp32"),
        ((("onnx",), ("int8",), "magic"), {}, "no scheme 'magic'; known: auto, "),
        ((("onnx",), ("int8",), "static"), {}, "'static' does not exist for onnx in int8"),
        ((("onnx",), ("int8",)), {"runtimes": ("litert",)}, "none of the runtimes litert opens onnx"),
    ],
)
def test_what_does_not_exist_is_an_error(arguments: Any, more: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_schemes(*arguments, **more)


def test_every_file_answers_as_pytorch_does(artifacts: dict[str, Artifact], model: Checkpoint) -> None:
    assert set(artifacts) == {scheme.folder for scheme in SCHEMES}
    questions = toy.inputs(model.config, 30, seed=5)
    expected = toy.logits(model.submodel(toy.plan(model)), questions)
    for name, artifact in artifacts.items():
        session = open_session(artifact.file)
        assert {key: spec[1] for key, spec in session.inputs.items()} == {
            entry["name"]: entry["dtype"] for entry in artifact.manifest["inputs"]
        }, f"{name}: inputs are as the manifest says, floats even in int8 files"
        logits = np.concatenate(
            [session.run({key: a[row : row + 1] for key, a in questions.items()}) for row in range(30)]
        )
        error = np.abs(logits - expected).max() / np.ptp(expected)
        assert error <= TOLERANCES[artifact.manifest["precision"]], name
        if artifact.manifest["precision"] != "fp32":
            assert error > 0, f"{name} was not quantized"


def test_onnx_int8_holds_lstm_embedding_and_classifier_in_8_bits(artifacts: dict[str, Artifact]) -> None:
    import onnx

    artifact = artifacts["onnx-int8"]
    graph = onnx.load(artifact.file).graph
    matrices = [tensor for tensor in graph.initializer if sum(size > 1 for size in tensor.dims) > 1]
    kinds = [tensor.data_type for tensor in matrices]
    assert len(kinds) > 10 and set(kinds) == {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    assert kinds.count(onnx.TensorProto.UINT8) == 1, "the embedding, which is looked up and not multiplied"
    operators = artifact.manifest["operators"]
    assert operators["DynamicQuantizeLSTM"] == 1 and operators["MatMulInteger"] > 10 and "LSTM" not in operators


def test_smaller_precisions_are_smaller_files(artifacts: dict[str, Artifact]) -> None:
    size = {name: artifact.file.stat().st_size for name, artifact in artifacts.items()}
    assert size["onnx-int8"] < size["onnx-fp16"] < size["onnx-fp32"]
    assert size["tflite-int8"] < size["tflite-fp16"] < size["tflite-fp32"]


def test_inner_tensors_carry_no_long_names(artifacts: dict[str, Artifact]) -> None:
    for artifact in artifacts.values():
        content = artifact.file.read_bytes()
        assert b"edgevqa" not in content and b"encoder" not in content and b"question_mask" in content


def test_weights_in_tflite_files_are_aligned(artifacts: dict[str, Artifact]) -> None:
    from ai_edge_litert import schema_py_generated as schema

    for name in ("tflite-fp32", "tflite-fp16", "tflite-int8"):
        model = schema.Model.GetRootAs(artifacts[name].file.read_bytes())
        buffers = [model.Buffers(place) for place in range(model.BuffersLength())]
        starts = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()]
        assert starts and all(start % 16 == 0 for start in starts)


def test_equal_exports_are_equal_bytes(artifacts: dict[str, Artifact], model: Checkpoint, tmp_path: Path) -> None:
    """The calibrated file, too: it comes from the same questions."""
    again = export_submodel(
        model,
        toy.plan(model),
        precisions=("fp32", "fp16", "int8"),
        schemes=tuple(scheme.name for scheme in SCHEMES),
        out=tmp_path,
        calibration=toy.inputs(model.config, 20, seed=7),
    )
    for artifact in again:
        first = artifacts[artifact.folder.name]
        assert artifact.file.read_bytes() == first.file.read_bytes(), artifact.name
        assert artifact.manifest["reference_logits"] == first.manifest["reference_logits"]


def test_other_calibration_is_another_file(artifacts: dict[str, Artifact], model: Checkpoint) -> None:
    static = artifacts["tflite-int8-static"].manifest
    assert static["calibration_sha256"] == calibration_hash(toy.inputs(model.config, 20, seed=7))
    assert static["calibration_sha256"] != calibration_hash(toy.inputs(model.config, 20, seed=8))
    assert artifacts["tflite-int8"].manifest["calibration_sha256"] is None
