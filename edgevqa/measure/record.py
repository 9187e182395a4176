"""A record: one measured row, with everything that is needed to defend it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevqa.errors import InputError

SCHEMA_VERSION = 1
RECORDS_NAME = "records.jsonl"
NO_SENSOR = "no energy sensor is configured"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row: times in ms, memory and files in MB (1e6 bytes), energy in J; None is empty.

    Attributes:
        experiment_id: the same for every measurement of one artifact in one runtime with the same threads,
            protocol, target and environment; of several rows with the same one the last counts.
        run_id: unique to one measurement; a row that is written again with a newer verdict keeps it.
        tokens: length of the question plus the visual tokens.
        scope: what the clock includes, `precomputed regions` or `picture to answer`.
        basis: `measured`, `emulated` or `predicted`.
        requested_delegate: what the target asked for; None in old rows is `cpu`. `delegate` is what really ran, and
            `coverage_percent` the share of operators that it took, in so many `partitions`.
        adapter: the GPU's own name and type, so that one made in software is seen to be one.
        arithmetic: the precision of the accelerator's arithmetic, where it is known.
        fell_back: why something else than the whole delegate of the target ran, where that was allowed.
        processes: how many fresh processes the samples come from; `process_counts` says how many from each.
        p50_ms: the median; `p90_ms` and `p99_ms` are MLPerf's early-stopping estimates.
        process_spread_ms: standard deviation between the medians of the processes.
        buckets_p50_ms: the median of each minute of a sustained run.
        peak_rss_mb: peak memory of the process; `model_rss_mb` is what loading and running the model added.
        score_kind: what the score is, `accuracy` or `VQA accuracy`.
        parity: largest logit difference over the logit range; `gate` passed, unscored or failed.
        simulated_instructions: of an emulated processor for one query, the median over the queries;
            `simulated_instructions_spread_percent` is the largest difference between two queries.
        clock_minimum_mhz, temperature_maximum_c: seen from outside while it was timed, by protocols that look.
        percent_of_peak: FLOP/s at the fastest query over those of a large fp32 matrix product.
        validity: `valid`, `degraded: why` or `invalid: why`.
        samples: the file of raw samples, (n,) int64 ns, relative to the folder of the results.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    experiment_id: str
    environment_id: str
    tool_version: str
    created: str

    model: str
    model_sha256: str | None = None
    submodel: str
    method: str | None = None
    width: float | str | None = None
    depth: int | str | None = None
    parameters: int | None = None
    macs: int | None = None
    tokens: int | None = None
    regions: int | None = None
    scope: str | None = None

    artifact: str
    artifact_sha256: str
    format: str
    format_version: int | str | None = None
    precision: str
    scheme: str | None = None
    calibration_sha256: str | None = None
    file_mb: float | None = None

    target: str
    basis: str
    runtime: str
    runtime_version: str | None = None
    runner_sha256: str | None = None
    requested_delegate: str | None = None
    delegate: str | None = None
    fully_accelerated: bool | None = None
    coverage_percent: float | None = None
    partitions: int | None = None
    adapter: str | None = None
    arithmetic: str | None = None
    fell_back: str | None = None
    threads: int
    core_mask: str | None = None
    protocol: str
    processes: int = 0

    n: int = 0
    min_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    std_ms: float | None = None
    process_spread_ms: float | None = None
    percentiles_reason: str | None = None
    buckets_p50_ms: tuple[float, ...] | None = None
    first_inference_ms: float | None = None
    load_ms: float | None = None
    import_ms: float | None = None
    peak_rss_mb: float | None = None
    model_rss_mb: float | None = None

    energy_gross_j: float | None = None
    energy_net_j: float | None = None
    energy_sensor: str | None = None
    mean_power_w: float | None = None
    energy_reason: str | None = NO_SENSOR

    task: str | None = None
    score_kind: str | None = None
    score_percent: float | None = None
    score_error: float | None = None
    score_n: int | None = None
    parity: float | None = None
    gate: str
    gate_reason: str | None = None

    percent_of_peak: float | None = None
    percent_of_peak_reason: str | None = None
    simulated_instructions: int | None = None
    simulated_instructions_spread_percent: float | None = None
    simulated_instructions_reason: str | None = None
    clock_before_mhz: float | None = None
    clock_after_mhz: float | None = None
    temperature_before_c: float | None = None
    temperature_after_c: float | None = None
    clock_minimum_mhz: float | None = None
    temperature_maximum_c: float | None = None
    validity: str
    samples: str | None = None
    process_counts: tuple[int, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether the row was measured and no fault was seen; a degraded row is valid."""
        return self.n > 0 and not self.validity.startswith("invalid")

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object, in the order of the fields."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}

    def to_line(self) -> str:
        """As one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """From a JSON object; keys that this version does not know are left out.

        Raises:
            InputError: a key that every record has is missing.
        """
        fields = {item.name: item for item in dataclasses.fields(cls)}
        required = [name for name, item in fields.items() if item.default is dataclasses.MISSING]
        missing = [name for name in required if name not in values]
        if missing:
            raise InputError(f"a record lacks {', '.join(missing)}")
        known: dict[str, Any] = {}
        for name in fields.keys() & values.keys():
            known[name] = tuple(values[name]) if isinstance(values[name], list) else values[name]
        return cls(**known)


def read_records(path: Path) -> list[Record]:
    """Every record of a `records.jsonl`, the oldest first; none when there is no such file.

    A line that a killed run left unfinished is passed over.

    Raises:
        InputError: the file cannot be read, or a whole line is no record.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        try:
            records.append(Record.from_dict(values))
        except (InputError, TypeError, AttributeError) as error:
            raise InputError(f"{path}, line {number}: not a record: {error}") from error
    return records


def latest(records: Iterable[Record]) -> list[Record]:
    """The last record of each experiment, in the order in which the experiments first appeared."""
    return list({record.experiment_id: record for record in records}.values())
