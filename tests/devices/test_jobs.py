"""Jobs on a device: real ones on this machine, and faults of a device that a mock plays."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.devices import Target
from edgevqa.devices.jobs import parse_result, probe, run_job, run_logits
from edgevqa.devices.local import LocalTransport
from edgevqa.devices.mock import Answer, MockTransport
from edgevqa.errors import DeviceError, InputError, MissingExtra, UsageError
from edgevqa.runtimes.runner import RESULT_MARK
from tests.runtimes import tiny_models

HERE = Target("here", "this machine", "local", ("onnxruntime", "litert"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.write_onnx(tmp_path / 'odd name; ".onnx')


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return tiny_models.write_questions(tmp_path / "q.npz")


def test_logits_of_the_device_are_those_of_the_model(model: Path, questions: Path) -> None:
    logits, values = run_logits(HERE, model, questions, "onnxruntime", threads=2)
    np.testing.assert_allclose(logits, tiny_models.expected(tiny_models.questions()), atol=1e-5)
    assert values["threads"] == 2


@pytest.mark.slow
def test_logits_from_tflite(tmp_path: Path, questions: Path) -> None:
    path = tiny_models.write_tflite(tmp_path / "model.tflite")
    logits, _values = run_logits(HERE, path, questions, "litert")
    np.testing.assert_allclose(logits, tiny_models.expected(tiny_models.questions()), atol=1e-5)


def test_probe_imports_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe(HERE, "onnxruntime")["runtimes"]["onnxruntime"]
    monkeypatch.setenv("EDGEVQA_TFLITE_RUNTIME_PYTHON", shutil.which("python3") or "")
    with pytest.raises(MissingExtra, match="tflite-runtime"):
        probe(HERE, "tflite_runtime")


def test_broken_files_are_named_as_the_user_knows_them(model: Path, questions: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cannot open .*broken\.onnx"):
        run_logits(HERE, broken, questions, "onnxruntime")
    with pytest.raises(InputError, match="does not exist"):
        run_logits(HERE, tmp_path / "absent.onnx", questions, "onnxruntime")
    with pytest.raises(InputError, match=r"odd name.*"):
        run_logits(HERE, model, model, "onnxruntime")
    with pytest.raises(UsageError, match="use onnxruntime"):
        run_logits(HERE, model, questions, "litert")


def test_settings_of_the_target_are_sent_unless_the_job_has_its_own() -> None:
    target = dataclasses.replace(HERE, threads=3, core_mask="0x3", python="/opt/python")
    transport = MockTransport(lambda call: Answer(stdout=RESULT_MARK + '{"ok": true}'))
    run_job(transport, target, {"mode": "probe"}, {})
    run_job(transport, target, {"mode": "probe", "threads": 1}, {})
    assert transport.calls[0].argv == ("/opt/python", "runner.py", "job.json")
    jobs = [json.loads(call.files["job.json"]) for call in transport.calls]
    assert jobs[0] == {"mode": "probe", "threads": 3, "core_mask": "0x3", "delegate": "cpu"}
    assert jobs[1]["threads"] == 1
    assert b"EDGEVQA-RESULT" in transport.calls[0].files["runner.py"]


def play(**answer: Any) -> Any:
    transport = MockTransport(lambda call: Answer(**answer))
    return run_job(transport, HERE, {"mode": "logits"}, {}, ["logits.npy"])


def test_garbage_around_the_result() -> None:
    good = RESULT_MARK + '{"ok": true, "n": 3}'
    for stdout in (
        good,
        f"I0000 warning: unfinished line{good}\n",
        f"{RESULT_MARK}nonsense\n\x00\x1b[0m\n{good}",
        f"{good}\nbye: segmentation of things\n",
    ):
        assert play(stdout=stdout).values["n"] == 3


@given(st.text(), st.text(alphabet=st.characters(exclude_characters="E")))
def test_result_is_found_in_any_output(before: str, after: str) -> None:
    assert parse_result(f'{before}\n{RESULT_MARK}{{"ok": false}}\n{after}') == {"ok": False}


@given(st.text())
def test_output_without_result_has_none(text: str) -> None:
    assert parse_result(text.replace(RESULT_MARK, "")) is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"exit_code": 1, "stderr": "line\nlast line\n\n"}, "exit code 1 .*last words: last line"),
        ({"exit_code": 0, "stdout": RESULT_MARK + "{"}, "without a result"),
        ({"exit_code": 0, "stdout": RESULT_MARK + '["ok"]'}, "without a result"),
        ({"exit_code": -9}, "memory"),
        ({"exit_code": 137}, "memory"),
        ({"exit_code": -11}, "signal 11"),
        ({"exit_code": 127, "stderr": "sh: python3: not found"}, "python3: not found"),
        (
            {"exit_code": 3, "stdout": RESULT_MARK + '{"ok": false, "kind": "run", "error": "sad"}'},
            "here: sad",
        ),
    ],
)
def test_a_runner_that_fails_is_one_clear_line(answer: dict[str, Any], words: str) -> None:
    with pytest.raises(DeviceError, match=words) as caught:
        play(**answer)
    assert "\n" not in str(caught.value)


def test_files_that_do_not_come_back_whole() -> None:
    good = RESULT_MARK + '{"ok": true}'
    with pytest.raises(DeviceError, match=r"did not write logits\.npy"):
        play(stdout=good).array("logits.npy")
    with pytest.raises(DeviceError, match="broken"):
        play(stdout=good, files={"logits.npy": b"\x93NUMPY torn"}).array("logits.npy")
    with pytest.raises(DeviceError, match="broken"):
        play(stdout=good, files={"logits.npy": b""}).array("logits.npy")


def test_a_runner_that_hangs_is_given_up(model: Path, questions: Path) -> None:
    times = {"warmup_queries": 0, "warmup_seconds": 0, "minimum_queries": 1, "minimum_seconds": 100}
    job = {
        "mode": "time",
        "runtime": "onnxruntime",
        "model": "m.onnx",
        "inputs": "q.npz",
        "samples": "s.npy",
        **times,
    }
    files = {"m.onnx": model, "q.npz": questions}
    with pytest.raises(DeviceError, match="did not end within 4 s"):
        run_job(LocalTransport(), HERE, {**job, "maximum_seconds": 100}, files, timeout_s=4)
