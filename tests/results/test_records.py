"""Reading and writing records: what is broken is reported with its line, and the rest is read."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.errors import EnvironmentFailure, Inconclusive, InputError
from edgevqa.measure.record import RECORDS_NAME, SCHEMA_VERSION, Record
from edgevqa.results.records import append, parse, read


def write(folder: Path, *lines: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / RECORDS_NAME).write_bytes(b"".join(lines))
    return folder


def line(record: Record, **changed) -> bytes:
    return json.dumps({**record.to_dict(), **changed}).encode() + b"\n"


def test_what_is_appended_is_read_back(tmp_path, forty) -> None:
    for record in forty:
        append(tmp_path / "results", record)
    reading = read(tmp_path / "results")
    assert reading.records == tuple(forty) and reading.problems == ()


def test_a_torn_last_line_is_reported_and_the_next_record_is_whole(tmp_path, make_record) -> None:
    results = write(tmp_path / "r", line(make_record()), line(make_record())[:100])
    reading = read(results)
    assert len(reading.records) == 1
    assert reading.problems == (
        f"{results / RECORDS_NAME}, line 2 was left out: it was cut short; a run was killed while writing it",
    )
    append(results, make_record(run_id="next"))
    reading = read(results)
    assert [record.run_id for record in reading.records][1:] == ["next"]
    assert len(reading.problems) == 1 and "line 2 was left out: it is not JSON" in reading.problems[0]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"\n", "not JSON"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b"[1]\n", "not a JSON object"),
        (b"{}\n", "lacks run_id"),
        (b"x" * (2 << 20) + b"\n", "not JSON|cut short"),
    ],
)
def test_a_broken_line_is_reported_and_the_others_are_read(tmp_path, make_record, broken, reason) -> None:
    results = write(tmp_path / "r", line(make_record()), broken, line(make_record()))
    reading = read(results)
    assert len(reading.records) == 2 and len(reading.problems) == 1
    assert "line 2 was left out" in reading.problems[0]
    assert re.search(reason, reading.problems[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("p90_ms", "fast"),
        ("p90_ms", True),
        ("threads", 1.5),
        ("threads", None),
        ("target", 7),
        ("process_counts", [1, "two"]),
        ("fully_accelerated", "yes"),
        ("score_percent", float("nan")),
        ("file_mb", float("inf")),
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error(make_record, field, value) -> None:
    with pytest.raises(InputError, match=f"{field} is|NaN is no JSON|Infinity is no JSON"):
        parse(line(make_record(), **{field: value}))


def test_a_newer_schema_says_so_and_an_unknown_key_is_left_out(make_record) -> None:
    with pytest.raises(InputError, match="a newer edgevqa wrote it"):
        parse(line(make_record(), schema_version=SCHEMA_VERSION + 1))
    assert parse(line(make_record(), colour="blue")) == make_record()


@pytest.mark.parametrize(
    "field", [field.name for field in dataclasses.fields(Record) if field.default is dataclasses.MISSING]
)
def test_a_missing_field_is_named(make_record, field) -> None:
    values = make_record().to_dict()
    del values[field]
    with pytest.raises(InputError, match=field):
        parse(json.dumps(values).encode())


def test_whole_numbers_pass_where_fractions_are_expected(make_record) -> None:
    assert parse(line(make_record(), p90_ms=2)).p90_ms == 2


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_an_input_error(content: bytes) -> None:
    with pytest.raises(InputError):
        parse(content)


@given(st.data())
def test_any_json_value_in_any_field_is_a_record_or_an_input_error(data) -> None:
    names = list(typing.get_type_hints(Record))
    values: dict[str, object] = dict.fromkeys(names, "text")
    values[data.draw(st.sampled_from(names))] = data.draw(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
    )
    with pytest.raises(InputError):
        parse(json.dumps(values).encode())


def test_nothing_there_yet(tmp_path) -> None:
    with pytest.raises(InputError, match="there is no results folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(Inconclusive, match="nothing was measured"):
        read(tmp_path)
    with pytest.raises(Inconclusive, match="nothing was measured"):
        read(write(tmp_path / "empty"))


def test_a_folder_that_cannot_be_written(tmp_path, make_record) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentFailure, match="file"):
        append(tmp_path / "file", make_record())
