"""The official tool: what is asked of it, and what is read from the formats that its two variants print.

The lines follow the tool's sources; no real binary was run, for no package registry has one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgevqa.devices import Target
from edgevqa.devices.benchmark_model import MIB, ToolInput, arguments, find_tool, parse_output, run_tool
from edgevqa.devices.mock import Answer, MockTransport
from edgevqa.errors import DeviceError, UsageError

PHONE = Target(
    name="phone", description="", kind="adb", runtimes=("litert",), machine="aarch64", delegate="gpu", threads=1
)
INPUTS = (ToolInput("question", (1, 14), b"\0" * 56), ToolInput("regions", (1, 9, 28), b"\0" * 1008))
PROTOCOL = {
    "warmup_queries": 3,
    "warmup_seconds": 0.5,
    "minimum_queries": 64,
    "minimum_seconds": 1.0,
    "maximum_seconds": 60.0,
}
RUNS = """\
INFO: Initialized session in 842.225ms.
INFO: Running benchmark for at least 3 iterations and at least 0.5 seconds but terminate if exceeding 60 seconds.
INFO: count=13 first=115098 curr=36666 min=32079 max=115098 avg=40199.8 std=21694

INFO: Running benchmark for at least 64 iterations and at least 1 seconds but terminate if exceeding 60 seconds.
INFO: count=64 first=35688 curr=33419 min=30394 max=42335 avg=35134.9 std=1733
"""
SUMMARY = """
INFO: Inference timings in us: Init: 842225, First inference: 115098, Warmup (avg): 40199.8, Inference (avg): 35134.9
INFO: Memory footprint delta from the start of the tool (MB): init=54.2852 overall=73.4102
"""
WHOLE = "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.\n"
REPLACING = "VERBOSE: Replacing {} out of {} node(s) with delegate (TfLiteGpuDelegateV2) node, yielding {} partitions"
ON_OPENCL = f"""\
INFO: Created TensorFlow Lite delegate for GPU.
{REPLACING.format(584, 584, 1)} for subgraph 0.
INFO: Initialized OpenCL-based API.
"""
PARTLY = f"""\
{REPLACING.format(579, 628, 3)} for the whole graph.
INFO: Initialized OpenCL-based API.
{WHOLE.strip().replace("completely", "partially").replace("delegate.", "delegate w/ 3 delegate kernels.")}
"""
REFUSED = """\
ERROR: Following operations are not supported by GPU delegate:
DEQUANTIZE: Operation is not supported.
579 operations will run on the GPU, and the remaining 49 operations will run on the CPU.
ERROR: Disallowed CPU fallback detected.
ERROR: Benchmarking failed.
"""
LITERT = """\
INFO: [gpu_registry.cc:138] Dynamically loaded GPU accelerator(libLiteRtOpenClAccelerator.so) registered.
WARN: Unconsumed cmdline flags: --input_layer=question --input_layer_shape=1,14 --num_threads=1
"""
LITERT_SUMMARY = """
INFO: [benchmark_litert_model.h:61]
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:62] Model initialization: 842.23 ms
INFO: [benchmark_litert_model.h:90] Overall footprint:    73.41 MB
"""


def test_the_timed_runs_are_read_not_the_warm_up() -> None:
    result = parse_output(ON_OPENCL + WHOLE + RUNS + SUMMARY)
    assert (result.count, result.minimum, result.mean, result.deviation) == (64, 30.394, 35.1349, 1.733)
    assert result.median is None, "older versions print none"
    assert (result.load, result.first, result.memory_mb) == (842.225, 115.098, 73.4102 * MIB)
    assert (result.delegate, result.whole, result.coverage_percent, result.partitions) == ("GPU (OpenCL)", True, 100, 1)
    assert result.real_inputs and result.adapter is None


def test_newer_versions_print_a_median_and_equal_runs_print_less() -> None:
    newer = RUNS.replace("std=1733", "std=1733 p5=30511 median=35002 p95=38100")
    assert parse_output(WHOLE + newer).median == 35.002
    equal = RUNS.replace("first=35688 curr=33419 min=30394 max=42335 avg=35134.9 std=1733", "curr=33130(all same)")
    result = parse_output(WHOLE + equal)
    assert (result.count, result.minimum, result.mean, result.deviation) == (64, 33.13, 33.13, 0)


def test_what_ran() -> None:
    result = parse_output(PARTLY + RUNS)
    assert (result.delegate, result.whole, result.coverage_percent, result.partitions) == (
        "GPU (OpenCL)", False, 92.2, 3,
    )  # fmt: skip
    not_at_all = (
        "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
    )
    assert (parse_output(not_at_all + RUNS).delegate, parse_output(not_at_all + RUNS).whole) == ("CPU", None)
    cpu = parse_output("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n" + RUNS)
    assert (cpu.delegate, cpu.whole) == ("XNNPACK", None)
    assert parse_output(RUNS).delegate is None


@pytest.mark.parametrize(
    "printed, reason",
    [
        (REFUSED, "takes 579 of 628 operators"),
        ("ERROR: Failed to apply GPU delegate.\nERROR: Benchmarking failed.\n", "Benchmarking failed"),
        ("CANNOT LINK EXECUTABLE: library libEGL.so not found\n", "libEGL.so"),
        ("ERROR: no \x1b[31mway\n", "no ?[31mway"),
        (RUNS.partition("INFO: count=64")[0], "did not measure"),
        ("", "it printed nothing"),
    ],
)
def test_a_failure_is_one_line_with_the_tools_own_reason(printed: str, reason: str) -> None:
    with pytest.raises(DeviceError, match="benchmark_model did not measure") as caught:
        parse_output(printed)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def ran(printed: str, target: Target = PHONE) -> tuple[MockTransport, object]:
    transport = MockTransport(lambda call: Answer(stdout=printed))
    model = Path(__file__)
    return transport, run_tool(transport, target, model, model, INPUTS, 2, PROTOCOL, 60)


def test_it_is_given_real_inputs_and_the_protocol() -> None:
    transport, _result = ran(WHOLE + RUNS)
    (call,) = transport.calls
    assert call.argv[0] == "./benchmark_model"
    assert {
        "--graph=model.tflite",
        "--num_threads=2",
        "--num_runs=64",
        "--warmup_runs=3",
        "--input_layer=question,regions",
        "--input_layer_shape=1,14:1,9,28",
        "--input_layer_value_files=question:input-0.bin,regions:input-1.bin",
        "--use_gpu=true",
        "--require_full_delegation=true",
    } <= set(call.argv)
    assert (len(call.files["input-0.bin"]), len(call.files["input-1.bin"])) == (56, 1008)
    lenient = dataclasses.replace(PHONE, allow_fallback=True)
    assert not [flag for flag in arguments(lenient, "m", 1, PROTOCOL, {}) if "require" in flag]
    in_fp32 = dataclasses.replace(PHONE, enforce_fp32=True, core_mask="0xf0")
    assert "--gpu_precision_loss_allowed=false" in arguments(in_fp32, "m", 1, PROTOCOL, {})
    assert ran(WHOLE + RUNS, in_fp32)[0].calls[0].argv[:3] == ("taskset", "f0", "./benchmark_model")


def test_the_cpu_is_never_taken_for_the_gpu() -> None:
    for printed in (RUNS, PARTLY + RUNS, "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n" + RUNS):
        with pytest.raises(DeviceError, match="was to use the GPU for the whole graph"):
            ran(printed)
        ran(printed, dataclasses.replace(PHONE, allow_fallback=True))


def test_litert_s_own_variant_makes_inputs_up_and_compiles_all_or_nothing() -> None:
    _transport, result = ran(LITERT + RUNS + LITERT_SUMMARY)
    assert (result.delegate, result.whole, result.real_inputs) == ("GPU", True, False)  # type: ignore[attr-defined]
    assert result.memory_mb == 73.41 * MIB  # type: ignore[attr-defined]


def test_where_the_tool_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EDGEVQA_BENCHMARK_MODEL", raising=False)
    assert find_tool(PHONE) is None
    cached = tmp_path / ".cache" / "litert-cli" / "binaries" / "arm64-v8a" / "benchmark_model"
    cached.parent.mkdir(parents=True)
    cached.write_text("")
    assert find_tool(PHONE) == cached
    for other in ({"delegate": "cpu"}, {"kind": "ssh"}, {"machine": "x86_64"}):
        assert find_tool(dataclasses.replace(PHONE, **other)) is None  # type: ignore[arg-type]
    named = tmp_path / "mine"
    monkeypatch.setenv("EDGEVQA_BENCHMARK_MODEL", str(named))
    with pytest.raises(UsageError, match=f"EDGEVQA_BENCHMARK_MODEL names {named}, which is no file"):
        find_tool(PHONE)
    named.write_text("")
    assert find_tool(PHONE) == named
    own = dataclasses.replace(PHONE, kind="ssh", benchmark_model="tool", source=tmp_path / "kiosk.toml")
    with pytest.raises(UsageError, match="`benchmark_model` of phone names"):
        find_tool(own)
    (tmp_path / "tool").write_text("")
    assert find_tool(own) == tmp_path / "tool"
