"""Records as lines of JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.errors import InputError
from edgevqa.measure.record import Record, latest, read_records
from edgevqa.storage import append_line

LEAST: dict[str, Any] = {
    "run_id": "r1",
    "experiment_id": "e1",
    "environment_id": "v1",
    "tool_version": "0",
    "created": "2020-01-01",
    "model": "scenes",
    "submodel": "w0.25-d2",
    "artifact": "a",
    "artifact_sha256": "0",
    "format": "onnx",
    "precision": "fp32",
    "target": "x86",
    "basis": "measured",
    "runtime": "onnxruntime",
    "threads": 1,
    "protocol": "quick",
    "gate": "passed",
    "validity": "valid",
}


def record(**more: Any) -> Record:
    return Record(**{**LEAST, **more})


@given(st.text(), st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), st.lists(st.integers()))
def test_a_record_survives_its_line(text: str, number: float | None, counts: list[int]) -> None:
    written = record(validity=text, p90_ms=number, process_counts=tuple(counts))
    line = written.to_line()
    assert "\n" not in line
    assert Record.from_dict(json.loads(line)) == written


def test_what_is_not_measured_is_empty_with_a_reason() -> None:
    empty = record()
    assert (empty.p90_ms, empty.energy_gross_j, empty.energy_net_j, empty.mean_power_w) == (
        None,
        None,
        None,
        None,
    )
    assert empty.energy_reason
    assert not empty.is_valid
    assert record(n=5).is_valid
    assert record(n=5, validity="degraded: unknown clock").is_valid
    assert not record(n=5, validity="invalid: load").is_valid


def test_every_column_of_a_row_is_there() -> None:
    wanted = """model_sha256 submodel method parameters macs tokens regions scope format precision runtime
        runtime_version delegate coverage_percent partitions threads core_mask target basis protocol n min_ms
        p50_ms p90_ms p99_ms mean_ms std_ms first_inference_ms load_ms peak_rss_mb energy_gross_j energy_net_j
        energy_sensor mean_power_w file_mb score_percent score_error score_n parity gate percent_of_peak
        simulated_instructions clock_before_mhz clock_after_mhz temperature_before_c temperature_after_c
        validity environment_id experiment_id run_id tool_version schema_version samples"""
    assert set(wanted.split()) <= {item.name for item in dataclasses.fields(Record)}


def test_a_torn_line_is_passed_over_and_ended_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert read_records(path) == []
    append_line(path, record(run_id="r1").to_line())
    with path.open("a") as stream:
        stream.write(record(run_id="torn").to_line()[:100])
    assert [found.run_id for found in read_records(path)] == ["r1"]
    append_line(path, record(run_id="r2").to_line())
    assert [found.run_id for found in read_records(path)] == ["r1", "r2"]


def test_a_line_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(record().to_line() + '\n{"p90_ms": 1}\n')
    with pytest.raises(InputError, match=r"records\.jsonl, line 2: .*run_id"):
        read_records(path)
    path.write_text("[1, 2]\n")
    with pytest.raises(InputError, match="line 1"):
        read_records(path)


def test_lines_of_a_later_version_are_read() -> None:
    assert Record.from_dict({**record().to_dict(), "new_column": 5}) == record()


def test_the_last_record_of_an_experiment_counts() -> None:
    rows = [record(run_id="1"), record(run_id="2", experiment_id="e2"), record(run_id="3")]
    assert [row.run_id for row in latest(rows)] == ["3", "2"]
