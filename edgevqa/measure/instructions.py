"""Simulated instructions: what one query costs an emulated processor, a figure of its own that is no latency.

It is counted on emulated targets, in the queries that are timed there, by the plugin of `edgevqa.devices.instructions`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgevqa.devices import Target
from edgevqa.devices.emulated import find_emulator
from edgevqa.devices.instructions import COUNTS_NAME, plugin, read_counts
from edgevqa.devices.jobs import JobResult
from edgevqa.errors import DeviceError, EnvironmentFailure, InputError


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
