"""Rows that the official `benchmark_model` measures, where a target is timed by it instead of by the runner."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgevqa.devices import Target, Transport, open_transport
from edgevqa.devices.benchmark_model import NAME, ToolInput, ToolResult, describe, run_tool
from edgevqa.devices.cores import resolve_mask
from edgevqa.devices.jobs import probe
from edgevqa.errors import DeviceError, InputError, IntegrityError, UsageError
from edgevqa.export.tflite import tflite_inputs
from edgevqa.measure.bench import PARTS_NAME
from edgevqa.measure.cells import ArtifactLike, Cell, Gate, experiment_id, why_not_on
from edgevqa.measure.environment import environment_of
from edgevqa.measure.host import Finding, HostState, assess, validity
from edgevqa.measure.profiles import keep_profile
from edgevqa.measure.protocols import Protocol, get_protocol
from edgevqa.measure.record import RECORDS_NAME, Record, read_records
from edgevqa.measure.rows import base_record, verdict_fields
from edgevqa.progress import Progress, Silent
from edgevqa.runtimes import runner
from edgevqa.storage import append_line, folder_lock, sha256_file

JUDGE = "litert"  # the runtime whose verdict about the same file on the same device counts
PROVED = f"by the runner on the same device and delegate, for {NAME} prints no logits"
UNPROVED = f"{NAME} prints no logits, and no runner proved this file there"


def measure_with_tool(
    artifacts: Sequence[ArtifactLike],
    target: Target,
    tool: Path,
    *,
    gate: Gate,
    results: Path,
    protocol: Protocol | str | None = None,
    threads: Sequence[int] | None = None,
    progress: Progress | None = None,
    transport: Transport | None = None,
) -> list[Record]:
    """Time every TFLite artifact with the tool; what was measured already in the same way is not measured again.

    A row's gate is what the runner finds about the same file on the same device and delegate; where it cannot run
    there, the row is `unscored` with the reason: timed, and never on a front.

    Args:
        artifacts: see `edgevqa.export.manifest.Artifact`.
        target: where, and on what.
        tool: the program for the target's architecture.
        gate: judges an artifact in a runtime on a target.
        results: the folder of the results.
        protocol: how long and how often; the target's by default.
        threads: numbers of threads of the CPU; the target's by default.
        progress: told about every process.
        transport: a way to the target that is open already.

    Returns:
        one record for each artifact and number of threads.

    Raises:
        UsageError: no artifact is for it.
        DeviceError: the target cannot be reached.
        MissingExtra: LiteRT, which reads the files' inputs, is not installed here.
    """
    chosen = protocol if isinstance(protocol, Protocol) else get_protocol(protocol or target.protocol)
    fitting = [one for one in artifacts if one.manifest["format"] == "tflite" and not why_not_on(one, target)]
    if not fitting:
        raise UsageError(f"no artifact for {NAME} on {target.delegate} among {len(artifacts)}; it takes TFLite files")
    transport, progress = transport or open_transport(target), progress or Silent()
    named = {"runtime": NAME, "runtime_version": f"sha256 {sha256_file(tool)[:16]}"}
    there = probe(target, None, transport)
    target, environment = resolve_mask(target, there), environment_of(there, named, results)
    counts = tuple(threads or (target.threads,))
    records = []
    with folder_lock(results / PARTS_NAME / target.name, "bench"):
        keep_profile(target, results)
        environment.save()
        known = {record.experiment_id: record for record in read_records(results / RECORDS_NAME)}
        progress.start(f"measuring on {target.name} with {NAME}", len(fitting) * len(counts))
        try:
            for artifact in fitting:
                verdict = _verdict(gate, artifact, target)
                for count in counts:
                    experiment = experiment_id(artifact, target, environment, count, chosen)
                    cell = Cell(artifact, NAME, count, environment, experiment, verdict, known.get(experiment))
                    records.append(_record(cell, target, chosen, tool, transport, results))
                    progress.step(cell.name)
        finally:
            progress.finish()
    return records


def _verdict(gate: Gate, artifact: ArtifactLike, target: Target) -> Mapping[str, Any]:
    found = verdict_fields(gate, artifact, JUDGE, target)
    if found["gate"] in ("passed", "unscored", "failed"):
        return {**found, "gate_reason": found["gate_reason"] or PROVED}
    return {"gate": "unscored", "gate_reason": f"{UNPROVED}: {found['gate_reason']}"}


def _record(cell: Cell, target: Target, protocol: Protocol, tool: Path, transport: Transport, results: Path) -> Record:
    """The row of a cell: the one that is there, or a new one, which is added to the results."""
    old = cell.record
    base = dataclasses.replace(base_record(cell, target, protocol), runner_sha256=sha256_file(tool))
    if cell.verdict["gate"] == "failed":
        record = dataclasses.replace(base, validity=f"invalid: gate failed: {cell.verdict['gate_reason']}")
    elif old is not None and old.is_valid and old.gate != "failed":
        record = dataclasses.replace(old, artifact=base.artifact, **cell.verdict)
        if record == old:
            return old
    else:
        try:
            record = _measured(base, cell, target, protocol, tool, transport)
        except (DeviceError, InputError) as error:
            record = dataclasses.replace(base, validity=f"invalid: not measured: {error}")
            if old is not None and (old.n, old.validity, old.artifact) == (0, record.validity, record.artifact):
                return old
    append_line(results / RECORDS_NAME, record.to_line())
    return record


def first_question(artifact: ArtifactLike) -> list[ToolInput]:
    """The first reference question as the tool wants it.

    Raises:
        InputError: the file and the questions do not fit.
        MissingExtra: LiteRT is not installed here.
    """
    shapes = tflite_inputs(artifact.file)
    types = {entry["name"]: entry["dtype"] for entry in artifact.manifest["inputs"]}
    try:
        arrays, _count = runner.load_questions(str(artifact.reference_inputs))
        fitted = runner.select({name: (shape, types[name]) for name, shape in shapes.items()}, arrays)
    except (runner.RunnerError, KeyError) as error:
        raise InputError(f"{artifact.file} and its reference questions do not fit: {error}") from error
    return [ToolInput(name, shape, fitted[name][:1].tobytes()) for name, shape in shapes.items()]


def _measured(base: Record, cell: Cell, target: Target, protocol: Protocol, tool: Path, transport: Transport) -> Record:
    if sha256_file(cell.artifact.file) != cell.artifact.manifest["sha256"]:
        raise IntegrityError(f"{cell.artifact.file} has changed since its export; export it again")
    inputs = first_question(cell.artifact)
    before = _host(target, transport)
    found = [
        run_tool(transport, target, tool, cell.artifact.file, inputs, cell.threads, protocol.job(), protocol.timeout_s)
        for _process in range(protocol.processes)
    ]
    findings = list(assess(before, _host(target, transport), cell.threads, target.host_checks))
    last, fell_back = found[-1], None
    if not last.real_inputs:
        findings.append(Finding("degraded", "inputs", f"this {NAME} takes no inputs, and made some up"))
    if target.delegate == "gpu" and not last.whole:
        fell_back = f"{NAME} ran on {last.delegate or 'something that it does not name'}"
        findings.append(Finding("degraded", "delegate", f"not all on gpu: {fell_back}"))
    medians = [one.median for one in found if one.median is not None]
    return dataclasses.replace(
        base,
        **describe(last),
        fell_back=fell_back,
        arithmetic="fp32" if target.enforce_fp32 else None,
        processes=len(found),
        process_counts=tuple(one.count for one in found),
        n=sum(one.count for one in found),
        **_pooled(found),
        p50_ms=medians[0] if len(medians) == len(found) == 1 else None,
        process_spread_ms=statistics.stdev(medians) if len(medians) > 1 else None,
        percentiles_reason=f"p90 and p99: {NAME} prints no samples; it asked one question again and again",
        first_inference_ms=_middle([one.first for one in found]),
        load_ms=_middle([one.load for one in found]),
        model_rss_mb=max((one.memory_mb for one in found if one.memory_mb is not None), default=None),
        percent_of_peak_reason=f"{NAME} measures no peak",
        validity=validity(tuple(findings)),
    )


def _host(target: Target, transport: Transport) -> HostState:
    """The state of the device, as far as it can be read."""
    return HostState.from_dict(probe(target, None, transport)["host"])


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistics.median(known)) if known else None


def _pooled(found: Sequence[ToolResult]) -> dict[str, Any]:
    """Least, mean and standard deviation of all processes' runs together."""
    count = sum(one.count for one in found)
    mean = sum(one.count * one.mean for one in found) / count
    square = sum(one.count * (one.deviation**2 + one.mean**2) for one in found) / count
    return {
        "min_ms": min(one.minimum for one in found),
        "mean_ms": mean,
        "std_ms": math.sqrt(max(square - mean**2, 0.0)),
    }
