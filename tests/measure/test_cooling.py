"""Waiting for a warm device, and looking at it from outside while it is timed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from edgevqa.devices.jobs import run_job
from edgevqa.devices.local import LocalTransport
from edgevqa.measure import cooling
from edgevqa.measure.cells import Cell
from edgevqa.measure.cooling import Cooling
from edgevqa.measure.parts import Part
from edgevqa.measure.protocols import PROTOCOLS
from edgevqa.measure.rows import findings_of
from tests.measure.test_bench import HERE, SHORT, make


def test_it_waits_until_the_device_is_as_cool_as_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cooling, "LOOK_EVERY_S", 0.01)
    readings, said = iter([50.0, 58.0, 55.0, 52.0, 60.0]), []
    cool_down = Cooling(30, lambda: next(readings), said.append)
    cool_down()
    assert said == []
    cool_down()
    assert [text.partition(";")[0] for text in said] == [
        "cooling down: 58 °C, 50 °C at the start",
        "cooling down: 55 °C, 50 °C at the start",
    ]
    assert next(readings) == 60.0


def test_it_gives_up_in_time_and_asks_no_device_without_a_sensor() -> None:
    readings = iter([50.0])
    hot = Cooling(0.05, lambda: next(readings, 90.0), lambda text: None)
    hot()
    hot()
    asked = []
    without = Cooling(1e9, lambda: asked.append(1), lambda text: None)
    without()
    without()
    assert asked == [1]
    Cooling(0, lambda: 1 / 0, lambda text: None)()


def test_only_long_protocols_look_and_wait() -> None:
    assert [name for name, one in PROTOCOLS.items() if one.watch and one.cool_seconds] == ["standard", "sustained"]
    assert "watch" not in PROTOCOLS["quick"].job() and PROTOCOLS["standard"].job()["watch"] is True


def test_a_run_that_is_looked_at(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("with one core nothing looks")
    artifact = make(tmp_path, "a")
    job = {"mode": "time", "runtime": "onnxruntime", "model": "m.onnx", "inputs": "q.npz", "samples": "s.npy"}
    files = {"m.onnx": artifact.file, "q.npz": artifact.reference_inputs}
    protocol = dataclasses.replace(SHORT, watch=True)
    values = run_job(LocalTransport(), HERE, {**job, **protocol.job()}, files, ["s.npy"]).values
    assert values["watched"]["looks"] >= 1 and values["n"] >= 70
    assert (values["watched"]["temperature_maximum_c"] is None) == (values["host_after"]["temperature_c"] is None)
    cores = len(os.sched_getaffinity(0))
    if cores == os.cpu_count():
        all_busy = run_job(LocalTransport(), HERE, {**job, **protocol.job(), "threads": cores}, files, ["s.npy"]).values
        assert all_busy["watched"] is None, "no core is taken from the model"


def test_throttling_that_was_seen_meanwhile_spoils_a_row() -> None:
    state = {"monotonic_s": 1.0, "cores": 1, "throttled_now": False}
    cell = Cell.__new__(Cell)
    cell.threads = 1
    cell.environment = type("Nowhere", (), {"facts": {}})  # type: ignore[assignment]
    target = dataclasses.replace(HERE, host_checks=("throttling",))

    def found(**watched: object) -> list[str]:
        values = {"host_before": state, "host_after": state, "watched": watched or None}
        return [finding.level for finding in findings_of(cell, target, Part(values, None))]  # type: ignore[arg-type]

    assert found() == [] and found(throttled=False) == [] and found(throttled=True) == ["invalid"]
