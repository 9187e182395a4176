"""The best measured file within limits, or the reason why there is none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edgevqa.devices.targets import Limits
from edgevqa.errors import GateFailed, Inconclusive, UsageError
from edgevqa.measure.protocols import PROTOCOLS
from edgevqa.measure.record import Record
from edgevqa.results.pareto import REPLACED, Row, describe, disqualified, pareto


@dataclass(frozen=True)
class Measure:
    """A figure that can be limited: the field of a record that holds it, and how people read it."""

    field: str
    label: str
    unit: str


MEASURES: dict[str, Measure] = {
    "p90_ms": Measure("p90_ms", "p90", "ms"),
    "file_mb": Measure("file_mb", "file", "MB"),
    "memory_mb": Measure("peak_rss_mb", "memory", "MB"),
    "energy_j": Measure("energy_gross_j", "energy", "J"),
}
"""Name of a limit -> what it limits."""


def given(limits: Limits) -> dict[str, float]:
    """The limits that are set, by name, in the order of MEASURES."""
    values = {name: getattr(limits, name) for name in MEASURES}
    return {name: value for name, value in values.items() if value is not None}


def limits_text(limits: Limits) -> str:
    """Limits for people: `p90 <= 60 ms, file <= 5 MB`."""
    texts = [f"{MEASURES[name].label} <= {limit:g} {MEASURES[name].unit}" for name, limit in given(limits).items()]
    return ", ".join(texts) or "no limit"


def excess(record: Record, limits: Limits) -> float | None:
    """How far a row goes towards its tightest limit: 1 is at it, above 1 over it, 0 without limits.

    None when the row holds all limits that can be checked, but lacks the figure of another.
    """
    values = {name: getattr(record, MEASURES[name].field) for name in given(limits)}
    known = [value / getattr(limits, name) for name, value in values.items() if value is not None]
    largest = max(known, default=0.0)
    return None if largest <= 1 and None in values.values() else float(largest)


def _missing(record: Record, limits: Limits) -> list[str]:
    """The limited figures that a row lacks, each with the reason where one is noted."""
    reasons = {"energy_j": record.energy_reason, "p90_ms": record.percentiles_reason}
    return [
        MEASURES[name].label + (f" ({reasons[name]})" if reasons.get(name) else "")
        for name in given(limits)
        if getattr(record, MEASURES[name].field) is None
    ]


@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes:
        record: the best row within the limits: most score, then least p90, then the smallest file.
        limits: the limits that it holds.
        within: how many rows hold them.
        considered: how many rows were gated, valid, scored and measured.
        unknown: rows that score better but lack a limited figure, so that nobody knows.
    """

    record: Record
    limits: Limits
    within: int
    considered: int
    unknown: tuple[Record, ...] = ()


def select(
    records: Sequence[Record],
    target: str,
    limits: Limits,
    protocol: str | None = None,
    model: str | None = None,
) -> Selection:
    """Choose the best file for a target.

    Args:
        records: all that was measured, oldest first.
        target: the target's name; rows of other targets are left aside.
        limits: what the file may cost.
        protocol: whose rows count; by default the one under which most files were measured on the target.
        model: whose files may be chosen; needed when the rows are about several tasks.

    Raises:
        UsageError: a limit is not above 0, or the rows are about tasks whose scores cannot be compared.
        Inconclusive: nothing usable was measured on the target, or a limited figure is missing.
        GateFailed: every measured file misses a limit; the message names the nearest.
    """
    for name, limit in given(limits).items():
        if not 0 < limit < math.inf:
            raise UsageError(f"the limit of {MEASURES[name].label} must be above 0, not {limit:g}")
    rows = [row for row in pareto(records) if row.record.target == target and row.why_not != REPLACED]
    rows = [row for row in rows if model in (None, row.record.model)]
    usable = [row for row in rows if not disqualified(row.record)]
    if not usable:
        raise Inconclusive(_nothing_usable(target, model, rows))
    tasks = {(row.group.task, row.group.scope): row.record.model for row in usable}
    if len(tasks) > 1:
        raise UsageError(
            f"scores of {' and '.join(sorted(task for task, _scope in tasks))} cannot be compared; "
            f"name one model with --model: {', '.join(sorted(set(tasks.values())))}"
        )
    chosen = protocol or _most_used([row.record.protocol for row in usable])
    candidates = [row.record for row in usable if row.record.protocol == chosen]
    if not candidates:
        there = ", ".join(sorted({row.record.protocol for row in usable}))
        raise Inconclusive(f"nothing was measured on {target} with the protocol {chosen}, only with {there}")
    return _choose(target, limits, candidates)


def _choose(target: str, limits: Limits, candidates: Sequence[Record]) -> Selection:
    within: list[Record] = []
    unknown: list[Record] = []
    over: list[tuple[float, Record]] = []
    for record in candidates:
        share = excess(record, limits)
        if share is not None and share > 1:
            over.append((share, record))
        else:
            (unknown if share is None or record.p90_ms is None else within).append(record)
    if within:
        best = max(within, key=_merit)
        better = tuple(record for record in unknown if _merit(record) > _merit(best))
        return Selection(best, limits, len(within), len(candidates), better)
    if unknown:
        lacking = Counter(text for record in unknown for text in _missing(record, limits) or ["p90"])
        raise Inconclusive(
            f"no file on {target} is known to hold {limits_text(limits)}: "
            f"{len(unknown)} of {len(candidates)} lack " + "; ".join(text for text, _count in lacking.most_common())
        )
    _share, nearest = min(over, key=lambda pair: (pair[0], -(pair[1].score_percent or 0.0)))
    figures = [
        f"{measure.label} {getattr(nearest, measure.field):.3g} {measure.unit}"
        for name, measure in MEASURES.items()
        if name in given(limits) and getattr(nearest, measure.field) is not None
    ]
    raise GateFailed(
        f"none of {len(candidates)} measured files on {target} holds {limits_text(limits)}; "
        f"the nearest is {describe(nearest)}: {', '.join(figures)}, {nearest.score_percent:.1f} %"
    )


def _merit(record: Record) -> tuple[float, float, float]:
    return (record.score_percent or 0.0, -(record.p90_ms or 0.0), -(record.file_mb or 0.0))


def _most_used(protocols: Sequence[str]) -> str:
    """The most frequent protocol, of equally frequent ones the longest."""
    counts = Counter(protocols)
    order = list(PROTOCOLS)
    return max(counts, key=lambda name: (counts[name], order.index(name) if name in order else -1))


def _nothing_usable(target: str, model: str | None, rows: Sequence[Row]) -> str:
    of = f" of {model}" if model else ""
    if not rows:
        return f"nothing{of} was measured on {target}; run `edgevqa bench --target {target}`"
    (reason, count), *_others = Counter(row.why_not for row in rows).most_common()
    return f"none of the {len(rows)} rows{of} on {target} can be chosen; {count} because: {reason}"
