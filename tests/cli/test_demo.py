"""How `edgevqa demo` ends: by what came out of the chain, which is stood in for by finished records."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from edgevqa.measure.record import Record
from edgevqa.results.records import append
from edgevqa.results.summary import summarise
from tests.cli.conftest import call, says
from tests.results.conftest import forty_records


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """What the chain measures in this test."""
    records = forty_records()

    def demo(artifacts: Path, results: Path, **_rest: Any) -> Any:
        for record in records:
            append(results, record)
        return summarise(results)

    monkeypatch.setattr("edgevqa.pipeline.demo", demo)
    monkeypatch.chdir(tmp_path)
    return records


def test_a_good_chain_ends_with_what_to_ship(chain: list[Record]) -> None:
    result = call("demo")
    assert result.exit_code == 0, result.stderr
    assert "Ship " in result.stdout and "table: results/pareto.csv" in result.stdout
    assert Path("results/pareto.png").is_file()
    report = json.loads(call("demo", "--results", "other", "--json").stdout)
    assert len(report["rows"]) == 40 and report["groups"][0]["ship"] and report["groups"][0]["why"]


def test_a_failed_gate_makes_the_exit_code_1(chain: list[Record]) -> None:
    chain[3] = dataclasses.replace(
        chain[3], gate="failed", gate_reason="it answers otherwise", n=0, p90_ms=None, validity="invalid: gate failed"
    )
    says(call("demo"), 1, "1 of 40 failed the gate and were not timed; w0.25-d1 tflite-int8 in litert: gate failed: it")
    result = call("demo", "--results", "other", "--json")
    assert result.exit_code == 1 and len(json.loads(result.stdout)["rows"]) == 40


def test_nothing_that_counts_makes_the_exit_code_4(chain: list[Record]) -> None:
    chain[:] = [dataclasses.replace(record, protocol="smoke") for record in chain]
    says(call("demo"), 4, "no row can lie on a front; the first because: the smoke protocol")
