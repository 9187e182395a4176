"""Which runtime and which Python, and a model in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgevqa.errors import EnvironmentFailure, InputError, MissingExtra, UsageError
from edgevqa.runtimes import RUNTIMES, find_python, get_runtime, importable, runtimes_for
from edgevqa.runtimes.session import open_session
from tests.runtimes import tiny_models


def row(number: int) -> dict[str, np.ndarray]:
    return {name: value[number : number + 1] for name, value in tiny_models.questions().items()}


def test_onnx_session_answers(tmp_path: Path) -> None:
    session = open_session(tiny_models.write_onnx(tmp_path / "model.onnx"), "onnxruntime", 2)
    assert session.inputs["question"] == ((1, tiny_models.TOKENS), "int32")
    logits = session.run({**row(3), "unused": np.zeros(1)})
    assert logits.shape == (1, tiny_models.ANSWERS)
    np.testing.assert_allclose(logits, tiny_models.expected(row(3)), atol=1e-5)


@pytest.mark.slow
def test_tflite_session_answers_again_and_again(tmp_path: Path) -> None:
    session = open_session(tiny_models.write_tflite(tmp_path / "model.tflite"))
    assert session.runtime.name == "litert"
    for number in (2, 5, 2):
        np.testing.assert_allclose(session.run(row(number)), tiny_models.expected(row(number)), atol=1e-5)


def test_an_artifact_for_another_runtime(tmp_path: Path) -> None:
    path = tiny_models.write_onnx(tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="use onnxruntime"):
        open_session(path, "litert")
    with pytest.raises(UsageError, match="litert, tflite_runtime"):
        open_session(tmp_path / "model.tflite", "onnxruntime")
    with pytest.raises(UsageError, match="no artifact file"):
        open_session(tmp_path / "model.pt")
    with pytest.raises(UsageError, match="did you mean onnxruntime"):
        open_session(path, "onnxruntim")
    with pytest.raises(UsageError, match="at least 1"):
        open_session(path, threads=0)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_session(tmp_path / "model.onnx")
    whole = tiny_models.write_onnx(tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot open"):
        open_session(tmp_path / "model.onnx")
    (tmp_path / "model.tflite").write_bytes(b"not a flatbuffer at all" * 10)
    with pytest.raises(InputError, match="cannot open"):
        open_session(tmp_path / "model.tflite")


def test_wrong_inputs(tmp_path: Path) -> None:
    session = open_session(tiny_models.write_onnx(tmp_path / "model.onnx"))
    without = {name: value for name, value in row(0).items() if name != "regions"}
    with pytest.raises(InputError, match="regions"):
        session.run(without)
    with pytest.raises(InputError, match="instead of 1"):
        session.run(tiny_models.questions())
    with pytest.raises(InputError, match="cannot run"):
        session.run({**row(0), "question": np.full((1, tiny_models.TOKENS), 10**6, np.int32)})


def test_a_runtime_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", None)
    (tmp_path / "model.tflite").write_bytes(b"")
    with pytest.raises(MissingExtra, match=r"edgevqa\[tflite-runtime\]"):
        open_session(tmp_path / "model.tflite", "tflite_runtime")


def test_python_of_a_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_python("onnxruntime") == Path(sys.executable)
    monkeypatch.setenv("EDGEVQA_LITERT_PYTHON", str(tmp_path / "absent"))
    with pytest.raises(EnvironmentFailure, match="EDGEVQA_LITERT_PYTHON"):
        find_python("litert")
    monkeypatch.setenv("EDGEVQA_LITERT_PYTHON", sys.executable)
    assert find_python("litert") == Path(sys.executable)
    if importable(get_runtime("tflite_runtime")):
        pytest.skip("tflite-runtime is installed in this very environment")
    monkeypatch.delenv("EDGEVQA_TFLITE_RUNTIME_PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    python = tmp_path / ".venv-tflite-runtime" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert find_python("tflite_runtime") == python


def test_registry() -> None:
    assert [runtime.name for runtime in runtimes_for("tflite")] == ["litert", "tflite_runtime"]
    assert runtimes_for("pt") == ()
    assert {runtime.format for runtime in RUNTIMES.values()} == {"onnx", "tflite"}
