"""What people see of emulated rows: counts of instructions, and no time or memory beside them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgevqa.cli.bench import show
from edgevqa.cli.main import main
from edgevqa.measure.record import Record
from edgevqa.results.records import append

EMULATED = {
    "target": "arm64-emulated",
    "basis": "emulated",
    "protocol": "smoke",
    "p50_ms": 123.25,
    "p90_ms": 234.5,
    "simulated_instructions": 1_319_635,
    "simulated_instructions_spread_percent": 0.81,
}


@pytest.fixture
def emulated(make_record: Callable[..., Record]) -> Record:
    return make_record(**EMULATED)


def test_bench_shows_instructions_instead_of_times(
    emulated: Record, make_record: Callable[..., Record], capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "there is no gcc here to compile the counter of instructions (Debian: gcc libc6-dev)"
    other = make_record(
        **{**EMULATED, "simulated_instructions": None, "simulated_instructions_reason": reason, "threads": 2}
    )
    show([emulated, other])
    said = capsys.readouterr()
    assert "simulated instructions" in said.out and "1,319,635" in said.out
    assert not set(said.out.split()) & {"123", "234", "235", "90", "20"}
    assert "emulated: times and memory say nothing and are not shown" in said.err
    assert f"no simulated instructions: {reason}" in said.err
    show([make_record()])
    said = capsys.readouterr()
    assert "simulated" not in said.out + said.err and {"1", "1.1", "20", "90"} <= set(said.out.split())


def test_pareto_shows_them_in_a_table_of_their_own(emulated: Record, results: Path) -> None:
    append(results, emulated)
    plain = CliRunner().invoke(main, ["pareto", "--results", str(results)])
    assert plain.exit_code == 0 and "1,319,635" not in plain.stdout
    asked = CliRunner().invoke(main, ["pareto", "--results", str(results), "--include-emulated"])
    assert asked.exit_code == 0, asked.output
    title = asked.stdout.index("simulated instructions of a query, scenes v1 on arm64-emulated")
    table = asked.stdout[title:]
    assert "1,319,635" in table and "0.81" in table and "p90" not in table
    assert "1,319,635" not in asked.stdout[:title]
    with (results / "pareto.csv").open() as stream:
        (row,) = [row for row in csv.DictReader(stream) if row["basis"] == "emulated"]
    assert (row["simulated_instructions"], row["fronts"]) == ("1319635", "")
    said = CliRunner().invoke(main, ["pareto", "--results", str(results), "--include-emulated", "--json"])
    rows = [row["simulated_instructions"] for row in json.loads(said.stdout)["rows"]]
    assert rows.count(1_319_635) == 1 and rows.count(None) == 40
