"""Simulated instructions: what one query costs an emulated processor, a figure of its own that is no latency.

It is counted on emulated targets, in the queries that are timed there, by the plugin of `edgevqa.devices.instructions`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgevqa.devices import Target, Transport
from edgevqa.devices.emulated import find_emulator
from edgevqa.devices.instructions import COUNTS_NAME, plugin, read_counts
from edgevqa.devices.jobs import JobResult, run_job
from edgevqa.errors import DeviceError, EnvironmentFailure, InputError
from edgevqa.measure.protocols import Protocol

if TYPE_CHECKING:
    from edgevqa.measure.cells import ArtifactLike

LONGEST_S = 300.0


@dataclass(frozen=True)
class Instructions:
    """The median over the queries, and the largest difference between two of them in percent of it."""

    median: int
    spread_percent: float


def counted(result: JobResult, reason: str | None) -> dict[str, Any]:
    """What a process adds to a part: the instructions of each query, or None with the reason why they are not there."""
    queries: list[int] | None = None
    if reason is None:
        try:
            queries = read_counts(result.file(COUNTS_NAME))
        except (DeviceError, InputError) as error:
            reason = str(error)
    return {"instructions": queries, "instructions_reason": reason}


def summarise_instructions(queries: Sequence[int]) -> Instructions:
    """Sum up the instructions of n > 0 queries."""
    median = statistics.median(queries)
    return Instructions(round(median), 100 * (max(queries) - min(queries)) / median)


def count_instructions(
    artifact: ArtifactLike, runtime: str, target: Target, transport: Transport, queries: int
) -> Instructions:
    """Count an artifact's first reference questions on an emulated target, without gate and record.

    Raises:
        DeviceError: nothing is counted on such a target, or the emulator, the counter or the runtime lacks or fails.
    """
    reason = why_not_counted(target, 1)
    if reason is not None:
        raise DeviceError(f"{target.name}: {reason}")
    remote = "model" + artifact.file.suffix
    protocol = Protocol("count", queries, 0.0, LONGEST_S, warmup_queries=3, warmup_seconds=0.0)
    job: dict[str, Any] = {"mode": "time", "runtime": runtime, "model": remote, "inputs": "questions.npz"}
    job |= {"threads": 1, "samples": "samples.npy", "markers": True, **protocol.job()}
    files = {remote: artifact.file, "questions.npz": artifact.reference_inputs}
    result = run_job(transport, target, job, files, [COUNTS_NAME], protocol.timeout_s)
    return summarise_instructions(read_counts(result.file(COUNTS_NAME)))


def why_not_counted(target: Target, threads: int) -> str | None:
    """Why the instructions of a cell are not counted, or None where they are."""
    if target.kind != "emulated":
        return "they are counted on targets of the kind emulated only"
    if threads != 1:
        return f"how long {threads} threads wait for each other is chance; they are counted with 1 thread"
    try:
        plugin(find_emulator())
    except EnvironmentFailure as error:
        return str(error)
    return None
