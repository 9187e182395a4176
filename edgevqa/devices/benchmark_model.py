"""The official `benchmark_model` of TFLite and LiteRT, where the user has it: it opens a phone's own GPU driver.

It prints aggregates, so a row that comes from it lacks what only single samples tell, and no logits at all: whether the
file answers rightly must be proved otherwise. Both of its variants are understood, TensorFlow Lite's (`Explicitly
applied GPU delegate ...`) and LiteRT's (`BENCHMARK RESULTS`), by the lines that they share.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevqa.devices.base import TEMPORARY_PREFIX, Transport
from edgevqa.devices.shell import last_line
from edgevqa.devices.targets import Target
from edgevqa.errors import DeviceError, UsageError
from edgevqa.runtimes.runner import GPULog

NAME = "benchmark_model"
VARIABLE = "EDGEVQA_BENCHMARK_MODEL"
LITERT_CLI_CACHE = Path("~/.cache/litert-cli/binaries")
ABIS: Mapping[str, str] = {"aarch64": "arm64-v8a", "x86_64": "x86_64"}
MIB = 1.048576  # the tool's MB are 2^20 bytes


def find_tool(target: Target) -> Path | None:
    """The tool for a target, or None: then the runner is used.

    A profile's `benchmark_model` counts for every kind of device. Without it, EDGEVQA_BENCHMARK_MODEL and then
    litert-cli's cache are looked at for the GPU of a phone, which the runner cannot open.

    Raises:
        UsageError: what the profile or the variable names is not there.
    """
    if target.benchmark_model is not None:
        return _existing(target.beside(target.benchmark_model), f"`benchmark_model` of {target.name}")
    if target.kind != "adb" or target.delegate != "gpu":
        return None
    if named := os.environ.get(VARIABLE):
        return _existing(Path(named).expanduser(), VARIABLE)
    abi = ABIS.get(target.machine or "")
    cached = LITERT_CLI_CACHE.expanduser() / abi / NAME if abi else None
    return cached if cached is not None and cached.is_file() else None


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        raise UsageError(f"{what} names {path}, which is no file")
    return path


@dataclass(frozen=True)
class ToolInput:
    """An input of a file as the tool wants it: values of one question in the file's own layout."""

    name: str
    shape: tuple[int, ...]
    content: bytes


@dataclass(frozen=True)
class ToolResult:
    """What the tool printed, times in ms; None is what it did not.

    Attributes:
        count: timed runs, of which `minimum`, `mean`, `deviation` and, in newer versions, `median` are.
        load, first: of the session and of the first run, which is the first of the warm-up.
        memory_mb: what the process grew by until its end.
        delegate: what ran; None where the tool does not say.
        whole: whether that was the whole graph.
        coverage_percent, partitions: the share of operators, in so many pieces.
        adapter: the GPU, where it is named.
        real_inputs: whether it took the inputs that it was given; else they were random.
    """

    count: int
    minimum: float
    mean: float
    deviation: float
    median: float | None
    load: float | None
    first: float | None
    memory_mb: float | None
    delegate: str | None
    whole: bool | None
    coverage_percent: float | None
    partitions: int | None
    adapter: str | None
    real_inputs: bool


def arguments(
    target: Target, model: str, threads: int, protocol: Mapping[str, float], inputs: Mapping[str, ToolInput]
) -> list[str]:
    """The tool's arguments; `protocol` is what the runner's job says, `inputs` are by the name of their file there.

    A variant that does not know an argument says so and goes on.
    """
    flags = {
        "graph": model,
        "num_threads": threads,
        "num_runs": int(protocol["minimum_queries"]),
        "min_secs": protocol["minimum_seconds"],
        "max_secs": protocol["maximum_seconds"],
        "warmup_runs": int(protocol["warmup_queries"]),
        "warmup_min_secs": protocol["warmup_seconds"],
        "input_layer": ",".join(entry.name for entry in inputs.values()),
        "input_layer_shape": ":".join(",".join(map(str, entry.shape)) for entry in inputs.values()),
        "input_layer_value_files": ",".join(f"{entry.name}:{file}" for file, entry in inputs.items()),
    }
    if target.delegate == "gpu":
        flags |= {"use_gpu": "true", "gpu_precision_loss_allowed": "false" if target.enforce_fp32 else "true"}
        if not target.allow_fallback:
            flags |= {"require_full_delegation": "true", "use_cpu": "false"}
    return [f"--{name}={value}" for name, value in flags.items()]


def parse_output(text: str) -> ToolResult:
    """Read what the tool printed.

    Raises:
        DeviceError: it did not measure; the reason is its own.
    """
    after = text.rpartition("Running benchmark for at least")[2]
    timed = _statistics(after)
    if timed is None or "Benchmarking failed" in text:
        raise DeviceError(f"{NAME} did not measure: {_why(text)}")
    warm_up = _statistics(text[: len(text) - len(after)])
    log = GPULog(text)
    delegate, whole = _delegate(text, log)
    replaced = [
        tuple(map(int, found))
        for found in re.findall(
            r"Replacing (\d+) out of (\d+) node\(s\) with delegate .*?yielding (\d+) partitions", text
        )
    ]
    taken, nodes, pieces = replaced[0] if replaced else (*(log.counts or (0, 0)), None)
    load, memory = (
        re.search(r"Initialized session in ([\d.]+)ms", text),
        re.search(r"overall=([\d.]+)|Overall footprint: +([\d.]+) MB", text),
    )
    first = None if warm_up is None else warm_up.get("first", warm_up.get("curr"))
    return ToolResult(
        count=int(timed["count"]),
        minimum=timed.get("min", timed.get("curr", 0.0)) / 1e3,
        mean=timed.get("avg", timed.get("curr", 0.0)) / 1e3,
        deviation=timed.get("std", 0.0) / 1e3,
        median=timed["median"] / 1e3 if "median" in timed else None,
        load=float(load.group(1)) if load else None,
        first=first / 1e3 if first is not None else None,
        memory_mb=float(memory.group(1) or memory.group(2)) * MIB if memory else None,
        delegate=delegate,
        whole=whole,
        coverage_percent=100.0 if whole else round(100 * taken / nodes, 2) if nodes else None,
        partitions=1 if whole else pieces,
        adapter=log.adapter,
        real_inputs=re.search(r"[Uu]nconsumed[^\n]*input_layer", text) is None,
    )


def _statistics(text: str) -> dict[str, float] | None:
    """The last line of statistics, such as `count=50 first=119614 ... avg=115246 std=1329`, in microseconds."""
    lines = re.findall(r"count=\d+ [^\n]*", text)
    if not lines:
        return None
    return {name: float(value) for name, value in re.findall(r"(\w+)=([\d.e+]+)", lines[-1])}


def _delegate(text: str, log: GPULog) -> tuple[str | None, bool | None]:
    """What ran, and whether it was the whole graph."""
    applied = re.search(r"Explicitly applied (\w+) delegate, and the model graph will be (completely|partially)", text)
    api = re.search(r"Initialized (\w+)-based API", text)
    if applied:
        name = applied.group(1) + (f" ({api.group(1)})" if api and applied.group(1) == "GPU" else "")
        return name, applied.group(2) == "completely"
    if re.search(r"Though \w+ delegate is explicitly applied, the model graph will not be", text):
        return "CPU", None
    if "BENCHMARK RESULTS" in text and re.search(r"GPU accelerator\([^)]*\) registered", text):
        return "GPU", None if log.counts is None else False
    return ("XNNPACK", None) if "XNNPACK delegate for CPU" in text else (None, None)


def _why(text: str) -> str:
    """The tool's own reason for a failure."""
    log = GPULog(text)
    errors = [line.partition("ERROR: ")[2] for line in text.splitlines() if "ERROR: " in line]
    if "Disallowed CPU fallback detected" in text or log.counts is not None:
        return log.why_not("the GPU does not take the whole graph")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return last_line((errors or lines or ["it printed nothing"])[-1])


def run_tool(
    transport: Transport,
    target: Target,
    tool: Path,
    model: Path,
    inputs: Sequence[ToolInput],
    threads: int,
    protocol: Mapping[str, float],
    timeout_s: float,
) -> ToolResult:
    """Time a model with the tool on a device.

    Args:
        transport: the way there.
        target: says what to compute with.
        tool: the program, for the device's architecture.
        model: the TFLite file.
        inputs: of one question, in the order of the file.
        threads: of the CPU.
        protocol: how long, as keys of the runner's job.
        timeout_s: for all of it.

    Raises:
        DeviceError: the device or the tool failed, or something else than the target's delegate ran although that was
            not allowed.
    """
    files: dict[str, Path] = {NAME: tool, "model.tflite": model}
    named = {f"input-{place}.bin": entry for place, entry in enumerate(inputs)}
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        for name, entry in named.items():
            (Path(folder) / name).write_bytes(entry.content)
            files[name] = Path(folder) / name
        pinned = ["taskset", target.core_mask.removeprefix("0x")] if target.core_mask else []
        argv = [*pinned, f"./{NAME}", *arguments(target, "model.tflite", threads, protocol, named)]
        completed = transport.run(argv, files, (), timeout_s)
    text = completed.stdout + "\n" + completed.stderr
    try:
        result = parse_output(text)
    except DeviceError as error:
        code = f" (exit code {completed.exit_code})" if completed.exit_code else ""
        raise DeviceError(f"{target.name}: {error}{code}") from None
    strict = target.delegate == "gpu" and not target.allow_fallback
    if strict and (result.delegate, result.whole) == ("GPU", None):
        # LiteRT's variant does not compile then what the GPU does not take whole
        result = dataclasses.replace(result, whole=True, coverage_percent=100.0, partitions=1)
    if strict and not result.whole:
        said = f"{result.delegate} ran" if result.delegate else "it does not say what ran"
        raise DeviceError(f"{target.name}: {NAME} was to use the GPU for the whole graph: {said}")
    return result


def describe(result: ToolResult) -> dict[str, Any]:
    """What a record says about the accelerator."""
    return {
        "delegate": result.delegate,
        "fully_accelerated": result.whole,
        "coverage_percent": result.coverage_percent,
        "partitions": result.partitions,
        "adapter": result.adapter,
    }
