"""Devices that lie: nothing they say is used before it was checked."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevqa.devices import Target, open_transport, shell
from edgevqa.devices.jobs import JobResult, probe, run_job
from edgevqa.devices.local import LocalTransport
from edgevqa.devices.mock import Answer, MockTransport
from edgevqa.errors import DeviceError
from edgevqa.measure.bench import timed
from edgevqa.runtimes.runner import RESULT_MARK
from tests.lab.devices import Board, running, wait_for

HERE = Target("here", "this machine", "local", ("onnxruntime",))


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    """What this machine really says."""
    return dict(run_job(LocalTransport(), HERE, {"mode": "probe"}, {}).values)


def ask(values: dict[str, Any]) -> Any:
    return probe(HERE, None, MockTransport(lambda call: Answer(stdout=RESULT_MARK + json.dumps(values))))


def test_the_truth_is_believed(truth: dict[str, Any]) -> None:
    assert ask(truth) == truth
    assert ask({**truth, "new in a later version": [1]})["cores"] == truth["cores"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("machine", None),
        ("machine", "x86_64\x1b[2J"),
        ("board", "Raspberry\nPi"),
        ("board", "x" * 100_000),
        ("cpu_model", ["A76"]),
        ("features", "asimddp"),
        ("features", ["asimddp", 7]),
        ("cores", "4"),
        ("cores", True),
        ("cores", 10**12),
        ("core_mask", "0x0"),
        ("core_mask", "0x" + "f" * 10_000),
        ("core_mask", 3),
        ("core_maximum_mhz", {"0": 2400}),
        ("memory_mb", float("inf")),
        ("memory_mb", "8 GB"),
        ("runtimes", ["onnxruntime"]),
        ("runtimes", {"onnxruntime": {"version": "1"}}),
        ("sensors", ["temperature \x07"]),
        ("wall_clock_s", float("nan")),
        ("host", None),
        ("host", {"cores": 4}),
        ("host", {"monotonic_s": 1.0, "cores": 4, "governor": 5}),
        ("host", {"monotonic_s": 1.0, "cores": 4, "busy_s": "many"}),
    ],
)
def test_each_lie_is_named(truth: dict[str, Any], key: str, value: Any) -> None:
    with pytest.raises(DeviceError, match=f"here says nonsense: {key} is ") as caught:
        ask({**truth, key: value})
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_an_error_from_a_device_is_one_printable_line() -> None:
    said = {"ok": False, "kind": "run", "error": "one\ntwo \x1b[31m" + "x" * 10_000}
    with pytest.raises(DeviceError) as caught:
        ask(said)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def claims(samples: bytes, **more: Any) -> JobResult:
    state = {"monotonic_s": 1.0, "cores": 1}
    values = {"ok": True, "import_ms": 1.0, "load_ms": 1.0, "first_inference_ms": 1.0, "runtime_version": "1"}
    values |= {"delegate": "XNNPACK", "host_before": state, "host_after": state, **more}
    answer = Answer(stdout=RESULT_MARK + json.dumps(values), files={"samples.npy": samples})
    return run_job(MockTransport(lambda call: answer), HERE, {"mode": "time"}, {}, ["samples.npy"])


def test_samples_are_checked() -> None:
    good = npy(np.array([5, 7], np.int64))
    assert timed(claims(good), "here", {}).samples.tolist() == [5, 7]
    for array in (np.array([1.5]), np.array([], np.int64), np.array([-1]), np.zeros((2, 2), np.int64)):
        with pytest.raises(DeviceError, match=r"here says nonsense|broken"):
            timed(claims(npy(array)), "here", {})
    huge = good.replace(b"(2,)", b"(9999999999999,)").replace(b" " * 12, b"", 1)
    with pytest.raises(DeviceError, match="broken"):
        timed(claims(huge), "here", {})
    nonsense: tuple[tuple[str, Any], ...] = (
        ("load_ms", "fast"),
        ("delegate", None),
        ("host_after", []),
        ("peak_rss_mb", float("nan")),
        ("adapter", "\x1b[31mGPU"),
        ("fell_back", "two\nlines"),
    )
    for key, value in nonsense:
        with pytest.raises(DeviceError, match=f"here says nonsense: {key} is "):
            timed(claims(good, **{key: value}), "here", {})


def test_a_flood_is_cut_off(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = board.target(tmp_path)
    monkeypatch.setattr(shell, "MOST_OUTPUT_BYTES", 2_000_000)
    monkeypatch.setattr(shell, "MOST_FETCHED_BYTES", 1_000_000)
    transport = open_transport(target)
    flood = f"{target.folder} and on and on"
    with pytest.raises(DeviceError, match=r"board \(127\.0\.0\.1\) sent over 2 MB where far less was asked for"):
        transport.run(["yes", flood], {}, [], 100)
    wait_for(lambda: not running(f"yes {flood}"))
    with pytest.raises(DeviceError, match="sent over 1 MB"):
        transport.run(["truncate", "-s", "5M", "out"], {}, ["out"], 100)
    assert transport.run(["echo", "well"], {}, [], 60).stdout == "well\n"
    shutil.rmtree(board.path(target))
