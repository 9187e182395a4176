"""What a runtime computes with: delegates that are there, that are not, and that take a part of a model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgevqa.runtimes.runner import PROVIDERS, GPULog, OnnxRuntime, RunnerError, Settings
from tests.lab.devices import gpu_environment
from tests.runtimes import tiny_models
from tests.runtimes.test_runner import check_logits, job, run

NO_GPU = {"VK_ICD_FILENAMES": "/nonexistent", "VK_DRIVER_FILES": "/nonexistent", "LD_LIBRARY_PATH": ""}

PARTIAL = """\
I0000 00:00:17.8 4038 environment.cc:532] Selected adapter: Some GPU 7, arch=x, vendor=y, backend=Vulkan, \
adapterType=Discrete GPU
ERROR: Following operations are not supported by GPU delegate:
DEQUANTIZE:
EMBEDDING_LOOKUP: Empty quantization params.
579 operations will run on the GPU, and the remaining 49 operations will run on the CPU.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_models.write_questions(tmp_path / "questions.npz")
    tiny_models.write_onnx(tmp_path / "model.onnx")
    tiny_models.write_tflite(tmp_path / "model.tflite")
    return tmp_path


def delegated(folder: Path, runtime: str, delegate: str, environment: dict[str, str], **more: Any) -> dict[str, Any]:
    suffix = "onnx" if runtime == "onnxruntime" else "tflite"
    described = job("logits", runtime, f"model.{suffix}", delegate=delegate, **more)
    code, result = run(folder, described, sys.executable, env={**os.environ, **environment})
    assert (code == 0) == result["ok"]
    return result


def test_what_the_gpus_log_tells() -> None:
    log = GPULog(PARTIAL)
    assert log.adapter == "Some GPU 7, Discrete GPU"
    assert log.counts == (579, 628)
    assert log.why_not("?") == (
        "LiteRT's GPU delegate takes 579 of 628 operators (92.2 %); "
        "not these: DEQUANTIZE, EMBEDDING_LOOKUP: Empty quantization params."
    )
    hostile = GPULog("Selected adapter: a \x1b[31mGPU, arch=x, adapterType=Discrete\n")
    assert hostile.adapter is not None and hostile.adapter.isprintable()
    nothing = GPULog("INFO: all is well\n")
    assert (nothing.adapter, nothing.counts) == (None, None)
    assert nothing.why_not("status 1").endswith("cannot take this model: status 1")
    assert "finds no GPU" in GPULog("INTERNAL: No adapters found\n").why_not("status 1")


def test_a_provider_that_is_not_there_is_an_error_unless_a_fall_back_is_allowed(folder: Path) -> None:
    import onnxruntime

    (missing, *_) = [name for name, kind in PROVIDERS.items() if kind not in onnxruntime.get_available_providers()]
    result = delegated(folder, "onnxruntime", missing, {})
    assert result["kind"] == "delegate"
    assert result["error"].startswith(f"no {missing} here; this onnxruntime has cpu")
    result = delegated(folder, "onnxruntime", missing, {}, allow_fallback=True)
    check_logits(folder, result)
    assert result["delegate"] == "CPUExecutionProvider"
    assert result["fell_back"].startswith(f"no {missing} here")


def test_an_unknown_delegate_names_the_nearest_and_what_is_there(folder: Path) -> None:
    result = delegated(folder, "onnxruntime", "webgppu", {}, allow_fallback=True)
    assert result["kind"] == "delegate"
    assert "did you mean webgpu; this onnxruntime has cpu" in result["error"]


def test_without_a_gpu_nothing_falls_back_silently(folder: Path) -> None:
    result = delegated(folder, "litert", "gpu", NO_GPU)
    assert result["kind"] == "delegate" and "finds no GPU" in result["error"] and "\n" not in result["error"]
    result = delegated(folder, "litert", "gpu", NO_GPU, allow_fallback=True)
    check_logits(folder, result)
    assert result["delegate"] == "XNNPACK" and result["adapter"] is None
    assert "finds no GPU" in result["fell_back"]


def test_the_gpu_computes_all_of_it_and_is_named(folder: Path) -> None:
    for more in ({}, {"enforce_fp32": True}):
        result = delegated(folder, "litert", "gpu", gpu_environment(), **more)
        check_logits(folder, result)
        assert (result["delegate"], result["fully_accelerated"], result["coverage_percent"]) == ("GPU", True, 100)
        assert result["adapter"].startswith("SwiftShader") and result["adapter"].endswith(", software")
        assert result["fell_back"] is None
    assert result["arithmetic"] == "fp32"


def test_a_gpu_is_timed_like_a_cpu(folder: Path) -> None:
    described = job("time", "litert", "model.tflite", delegate="gpu")
    code, result = run(folder, described, env={**os.environ, **gpu_environment()})
    assert code == 0 and result["n"] == 20 and result["delegate"] == "GPU"


def test_vulkan_names_the_gpu_and_its_kind() -> None:
    code = "from edgevqa.runtimes.runner import vulkan_adapter; print(vulkan_adapter())"
    for environment, expected in ((gpu_environment(), "SwiftShader Device"), (NO_GPU, "None")):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.startswith(expected), done
        assert expected == "None" or done.stdout.endswith(", software\n")


class Session:
    """ONNX Runtime's, of a provider that this machine lacks: it takes what `on_cpu` does not name."""

    on_cpu: tuple[str, ...] = ()
    first = PROVIDERS["webgpu"]

    def __init__(self, model: str, options: Any, providers: list[str], enable_fallback: int) -> None:
        assert not enable_fallback, "the wrapper would take the CPU instead, without an error"

    def get_providers(self) -> list[str]:
        return [self.first]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        nodes = [SimpleNamespace(op_type=kind) for kind in self.on_cpu]
        cpu = SimpleNamespace(ep_name=PROVIDERS["cpu"], get_nodes=lambda: nodes)
        return [cpu, SimpleNamespace(ep_name=self.first, get_nodes=list)]

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x", shape=[1, 4], type="tensor(float)")]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="logits")]


def opened(**session: Any) -> Any:
    """The adapter on a provider that is played."""
    import onnxruntime

    module = SimpleNamespace(
        SessionOptions=onnxruntime.SessionOptions,
        ExecutionMode=onnxruntime.ExecutionMode,
        get_available_providers=lambda: [PROVIDERS["webgpu"], PROVIDERS["cpu"]],
        InferenceSession=type("Played", (Session,), session),
    )
    return lambda whole: OnnxRuntime(module, "model.onnx", Settings(1, "webgpu", whole))


def test_a_provider_that_leaves_a_part_to_the_cpu_or_is_replaced_by_it() -> None:
    facts = opened()(True).facts()
    assert (facts["delegate"], facts["fully_accelerated"], facts["coverage_percent"]) == (
        "WebGpuExecutionProvider", True, 100,
    )  # fmt: skip
    partly = opened(on_cpu=("Gather", "LSTM", "Gather"))
    with pytest.raises(RunnerError, match="webgpu leaves 3 operators to the CPU: 2 Gather, 1 LSTM"):
        partly(True)
    facts = partly(False).facts()
    assert (facts["fully_accelerated"], facts["coverage_percent"]) == (False, None), "of how many is not told"
    with pytest.raises(RunnerError, match="asked for WebGpuExecutionProvider, got CPUExecutionProvider"):
        opened(first=PROVIDERS["cpu"])(True)
