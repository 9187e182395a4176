"""How a cell becomes a record."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import secrets
import statistics
from collections.abc import Sequence
from typing import Any

from edgevqa.devices import Target
from edgevqa.devices.jobs import runner_sha256
from edgevqa.errors import DeviceError, GateFailed, InputError
from edgevqa.measure.cells import ArtifactLike, Cell, Gate
from edgevqa.measure.host import Finding, HostState, assess, validity
from edgevqa.measure.instructions import summarise_instructions
from edgevqa.measure.parts import SAMPLES_NAME, Part
from edgevqa.measure.protocols import Protocol
from edgevqa.measure.record import Record
from edgevqa.measure.statistics import summarise

MODEL_FIELDS = (
    "model",
    "model_sha256",
    "submodel",
    "method",
    "width",
    "depth",
    "parameters",
    "macs",
    "tokens",
)
NOT_RUN = "not run"
SOFTWARE = "software"  # how the name of a GPU ends that is none
ACCELERATOR_FIELDS = (
    "delegate",
    "fully_accelerated",
    "coverage_percent",
    "partitions",
    "adapter",
    "arithmetic",
    "fell_back",
)
FILE_FIELDS = ("regions", "scope", "format", "precision", "scheme", "calibration_sha256")


def _number(value: Any, name: str) -> Any:
    """A field of a value that may be absent or a plain number itself."""
    return getattr(value, name, value if name in ("relative", "percent") else None)


def verdict_fields(gate: Gate, artifact: ArtifactLike, runtime: str, target: Target) -> dict[str, Any]:
    """What a record says about the gate."""
    try:
        verdict = gate(artifact, runtime, target)
    except DeviceError as error:  # that is the device's fault and says nothing about the file
        return {"gate": NOT_RUN, "gate_reason": str(error)}
    except (InputError, GateFailed) as error:
        return {"gate": "failed", "gate_reason": f"the gate could not be run: {error}"}
    return {
        "gate": str(verdict.status),
        "gate_reason": verdict.reason or None,
        "parity": _number(verdict.parity, "relative"),
        "score_kind": getattr(verdict.score, "kind", None),
        "score_percent": _number(verdict.score, "percent"),
        "score_error": _number(verdict.score, "standard_error"),
        "score_n": _number(verdict.score, "count"),
    }


def _tool_version() -> str:
    try:
        return importlib.metadata.version("edgevqa")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def base_record(cell: Cell, target: Target, protocol: Protocol) -> Record:
    """The record of a cell with all but its measurement."""
    manifest, task = cell.artifact.manifest, cell.artifact.manifest.get("task") or {}
    copied: dict[str, Any] = {key: manifest.get(key) for key in MODEL_FIELDS + FILE_FIELDS}
    now = datetime.datetime.now(datetime.UTC)
    return Record(
        run_id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        experiment_id=cell.experiment,
        environment_id=cell.environment.id,
        tool_version=_tool_version(),
        created=now.isoformat(timespec="seconds"),
        **copied,
        artifact=str(cell.artifact.folder),
        artifact_sha256=manifest["sha256"],
        format_version=manifest.get("opset", manifest.get("schema")),
        file_mb=manifest["file_bytes"] / 1e6,
        target=target.name,
        basis=target.basis,
        runtime=cell.runtime,
        runtime_version=cell.environment.facts["runtime_version"],
        runner_sha256=runner_sha256(target),
        requested_delegate=target.delegate,
        threads=cell.threads,
        core_mask=target.core_mask,
        protocol=protocol.name,
        task=f"{task['dataset']} v{task.get('version')}" if task.get("dataset") else None,
        validity="invalid: not measured",
        **cell.verdict,
    )


def findings_of(cell: Cell, target: Target, part: Part) -> tuple[Finding, ...]:
    """What the states of the machine say about one process."""
    before, after = (HostState.from_dict(part.values[key]) for key in ("host_before", "host_after"))
    missing = sorted(set(target.features) - set(cell.environment.facts.get("features") or ()))
    seen = [Finding("degraded", "features", f"the CPU lacks {', '.join(missing)}")] if missing else []
    adapter, fell_back = part.values.get("adapter"), part.values.get("fell_back")
    checks: Sequence[str] = target.host_checks
    if adapter is not None and adapter.endswith(SOFTWARE):
        seen.append(Finding("degraded", "adapter", f"the GPU is made in software: {adapter}"))
        checks = [check for check in checks if check != "load"]  # which is its own
    if fell_back is not None:
        seen.append(Finding("degraded", "delegate", f"not all on {target.delegate}: {fell_back}"))
    if (part.values.get("watched") or {}).get("throttled"):
        after = dataclasses.replace(after, throttled_now=True)
    return tuple(seen) + assess(before, after, cell.threads, checks)


def has_peak(cell: Cell, target: Target) -> bool:
    """Whether the speed of fp32 matrix products on the CPU is the right thing to compare a cell with."""
    manifest, on_cpu = cell.artifact.manifest, target.basis == "measured" and target.delegate == "cpu"
    return on_cpu and manifest["precision"] == "fp32" and bool(manifest.get("macs"))


def measured_record(cell: Cell, target: Target, protocol: Protocol, peak: float | None) -> Record:
    """The record of a cell whose processes are all done."""
    parts, base = cell.parts.in_order() if cell.parts else [], base_record(cell, target, protocol)
    summary = summarise([part.samples for part in parts], protocol)
    findings = [finding for part in parts for finding in findings_of(cell, target, part)]
    accelerator: dict[str, Any] = {key: parts[-1].values.get(key) for key in ACCELERATOR_FIELDS}
    last, before, after = parts[-1].values, parts[0].values["host_before"], parts[-1].values["host_after"]

    def middle(key: str) -> float | None:
        return float(statistics.median(part.values[key] for part in parts))

    def highest(key: str) -> float | None:
        values = [part.values[key] for part in parts if part.values[key] is not None]
        return max(values, default=None)

    watched = [part.values.get("watched") or {} for part in parts]
    clocks = [seen["clock_minimum_mhz"] for seen in watched if seen.get("clock_minimum_mhz") is not None]
    degrees = [seen["temperature_maximum_c"] for seen in watched if seen.get("temperature_maximum_c") is not None]
    share, reason = None, None
    if peak is not None:
        share = 100 * 2 * (base.macs or 0) / (summary.min_ms * 1e6) / peak
    elif has_peak(cell, target):
        reason = "the device did not say its peak"
    elif target.delegate != "cpu":
        reason = f"no peak is known for {target.delegate}"
    elif target.basis != "measured":
        reason = f"{target.basis}: its times say nothing"
    else:
        reason = f"no peak is known for {base.precision}" if base.macs else "the manifest has no MACs"
    counts = [count for part in parts for count in part.values["instructions"] or ()]
    instructions = summarise_instructions(counts) if counts else None
    return dataclasses.replace(
        base,
        **accelerator,
        runtime_version=last["runtime_version"],
        processes=len(parts),
        process_counts=tuple(len(part.samples) for part in parts),
        **vars(summary),
        first_inference_ms=middle("first_inference_ms"),
        load_ms=middle("load_ms"),
        import_ms=middle("import_ms"),
        peak_rss_mb=highest("peak_rss_mb"),
        model_rss_mb=highest("model_rss_mb"),
        percent_of_peak=share,
        percent_of_peak_reason=reason,
        simulated_instructions=instructions.median if instructions else None,
        simulated_instructions_spread_percent=instructions.spread_percent if instructions else None,
        simulated_instructions_reason=last["instructions_reason"],
        clock_before_mhz=before["clock_mhz"],
        clock_after_mhz=after["clock_mhz"],
        temperature_before_c=before["temperature_c"],
        temperature_after_c=after["temperature_c"],
        clock_minimum_mhz=min(clocks, default=None),
        temperature_maximum_c=max(degrees, default=None),
        validity=validity(findings),
        samples=f"{SAMPLES_NAME}/{base.run_id}.npy",
    )
