"""Which measured files nothing else beats: Pareto fronts of score against latency, file size and memory.

Only rows that can be compared share a front: the same target, protocol, task, scope of the clock and basis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from edgevqa.data.score import ACCURACY
from edgevqa.measure.record import Record

COSTS: dict[str, str] = {"p90": "p90_ms", "size": "file_mb", "memory": "peak_rss_mb"}
"""Front -> the field of a record that it sets against the score; less is better."""

ON_CPU = (None, "CPUExecutionProvider", "XNNPACK", "built-in kernels", "CPU")
"""How records name what runs on a CPU, which goes without saying."""

PLUMBING_PROTOCOL = "smoke"
REPLACED = "a newer row replaces it"


@dataclass(frozen=True, order=True)
class Group:
    """What rows must share to be compared.

    Attributes:
        task: the questions that were scored (`scenes v1`); the model's name where none is known.
        scope: what the clock includes.
        score: the kind of the score.
    """

    target: str
    protocol: str
    task: str
    scope: str
    basis: str
    score: str = ACCURACY

    def __str__(self) -> str:
        words = [f"{self.task} on {self.target}", f"{self.protocol} protocol", self.basis]
        kind = [] if self.score == ACCURACY else [f"scored by {self.score}"]
        return ", ".join(words + ([self.scope] if self.scope else []) + kind)


@dataclass(frozen=True)
class Row:
    """A record with its place among the others.

    Attributes:
        record: the record itself.
        group: the rows it is compared with.
        fronts: on which of COSTS' fronts it lies, in their order.
        why_not: why it lies on none; empty when it does.
        counts: whether it took part; False also for a row that a newer one replaces.
        replaced: whether a newer row of the same file measured in the same way stands in its place.
    """

    record: Record
    group: Group
    fronts: tuple[str, ...]
    why_not: str
    counts: bool
    replaced: bool


def pareto(records: Sequence[Record], include_emulated: bool = False) -> tuple[Row, ...]:
    """Find the fronts of each group of comparable records.

    Args:
        records: the oldest first; of several rows of one measurement the last counts.
        include_emulated: whether emulated rows may lie on fronts, which are then their own.

    Returns:
        a row for every record, in the same order.
    """
    newest = _newest(records)
    groups = [group_of(record) for record in records]
    reasons = [
        (disqualified(record, include_emulated) or _withheld(record)) if index in newest else REPLACED
        for index, record in enumerate(records)
    ]
    places: dict[int, list[str]] = {index: [] for index, reason in enumerate(reasons) if not reason}
    beaten_by: dict[int, Record] = {}
    for group in set(groups):
        members = [index for index in places if groups[index] == group]
        for front, field in COSTS.items():
            known = [index for index in members if getattr(records[index], field) is not None]
            points = [(_score(records[index]), float(getattr(records[index], field))) for index in known]
            for index, stays in zip(known, not_dominated(points), strict=True):
                if stays:
                    places[index].append(front)
        for index in members:
            beaten_by[index] = _better([records[member] for member in members], records[index])
    return tuple(
        Row(
            record=record,
            group=groups[index],
            fronts=tuple(places.get(index, ())),
            why_not=reasons[index] or ("" if places[index] else f"beaten by {describe(beaten_by[index])}"),
            counts=index in places,
            replaced=index not in newest,
        )
        for index, record in enumerate(records)
    )


def not_dominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which (score, cost) points no other point beats.

    A point is beaten by one that is at least as good in both (more score, less cost) and better in one;
    equal points therefore stay together or fall together.
    """
    stays = [False] * len(points)
    best = -math.inf
    best_cost = -math.inf
    # By rising cost and, at equal cost, falling score: a point stays if it beats every cheaper one's score.
    for index in sorted(range(len(points)), key=lambda index: (points[index][1], -points[index][0])):
        score, cost = points[index]
        if score > best or (score == best and cost == best_cost):
            stays[index] = True
            best, best_cost = score, cost
    return stays


def group_of(record: Record) -> Group:
    """The group in which a record is compared."""
    return Group(
        target=record.target,
        protocol=record.protocol,
        task=record.task or record.model,
        scope=record.scope or "",
        basis=record.basis,
        score=record.score_kind or ACCURACY,
    )


def file_kind(record: Record) -> str:
    """Format, precision and, where the folder is named after it, variant: `tflite-int8-weight-only`."""
    kind = f"{record.format}-{record.precision}"
    folder = PurePath(record.artifact).name
    return folder if folder.startswith(f"{kind}-") else kind


def describe(record: Record) -> str:
    """A row in a few words, as `w0.25-d2 onnx-int8 in onnxruntime`."""
    threads = f", {record.threads} threads" if record.threads > 1 else ""
    cores = f" on cores {record.core_mask}" if record.core_mask else ""
    return f"{record.submodel} {file_kind(record)} in {record.runtime}{accelerator(record)}{threads}{cores}"


def accelerator(record: Record) -> str:
    """What a row's file ran on if it was no CPU, and that it was one although something else was asked for."""
    if record.fell_back is not None:
        return f" on {record.delegate} (fell back)"
    return f" on {record.adapter or record.delegate}" if record.delegate not in ON_CPU else ""


def _newest(records: Sequence[Record]) -> set[int]:
    """The indices that no later row replaces: one of the same file, or of a newer file in its place."""
    last: dict[tuple[object, ...], int] = {}
    for index, record in enumerate(records):
        for key in _identities(record):
            last[key] = index
    return {index for index, record in enumerate(records) if all(last[key] == index for key in _identities(record))}


def _identities(record: Record) -> tuple[tuple[object, ...], ...]:
    where = (record.target, record.basis, record.runtime, record.requested_delegate or "cpu")
    cell = (*where, record.threads, record.core_mask, record.protocol)
    return (("content", record.artifact_sha256, *cell), ("place", record.artifact, *cell))


def disqualified(record: Record, include_emulated: bool = False) -> str:
    """Why a row can lie on no front and be chosen by nobody, or nothing when it may."""
    if record.gate == "failed":
        return f"gate failed: {record.gate_reason or 'no reason was noted'}"
    if record.gate != "passed":
        return f"gate {record.gate}: {record.gate_reason or 'untrained weights or no questions'}"
    if not record.is_valid:
        return record.validity if record.validity.startswith("invalid") else "invalid: nothing was timed"
    if record.basis != "measured" and not (record.basis == "emulated" and include_emulated):
        return f"{record.basis}, not measured"
    if record.protocol == PLUMBING_PROTOCOL:
        return "the smoke protocol only shows that everything runs"
    if record.fell_back is not None:
        return f"not what was asked for ran, but {record.delegate}: {record.fell_back}"
    if record.score_percent is None:
        return "no score"
    return ""


def _withheld(record: Record) -> str:
    return "" if record.p90_ms is not None else f"withheld {record.percentiles_reason or 'p90'}"


def _score(record: Record) -> float:
    assert record.score_percent is not None
    return record.score_percent


def _better(candidates: Sequence[Record], record: Record) -> Record:
    """The fastest row that scores at least as well; of a beaten row, one that beats it."""
    return min(
        (other for other in candidates if _score(other) >= _score(record)),
        key=lambda other: (other.p90_ms or 0.0, -_score(other)),
    )
