"""The runner as a device runs it: a program with a job file."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevqa.errors import EnvironmentFailure
from edgevqa.runtimes import RUNNER, find_python
from edgevqa.runtimes.runner import RESULT_MARK, THREAD_VARIABLES
from tests.runtimes import tiny_models

TIMES = {
    "warmup_queries": 2,
    "warmup_seconds": 0.0,
    "minimum_queries": 20,
    "minimum_seconds": 0.0,
    "maximum_seconds": 20.0,
}


def run(folder: Path, job: dict[str, Any], python: str = sys.executable, **options: Any) -> tuple[int, dict[str, Any]]:
    (folder / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [python, str(RUNNER), "job.json"], cwd=folder, capture_output=True, text=True, timeout=120, **options
    )
    last = done.stdout.splitlines()[-1]
    assert last.startswith(RESULT_MARK), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(last.removeprefix(RESULT_MARK))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_models.write_questions(tmp_path / "questions.npz")
    tiny_models.write_onnx(tmp_path / "model.onnx")
    return tmp_path


def job(mode: str, runtime: str = "onnxruntime", model: str = "model.onnx", **more: Any) -> dict[str, Any]:
    files = {"inputs": "questions.npz", "output": "logits.npy", "samples": "samples.npy"}
    return {
        "mode": mode,
        "runtime": runtime,
        "model": model,
        "threads": 1,
        "delegate": "cpu",
        **files,
        **TIMES,
        **more,
    }


def tflite_python() -> str:
    try:
        return str(find_python("tflite_runtime"))
    except EnvironmentFailure as error:
        pytest.skip(f"no Python with tflite-runtime: {error}")


def check_logits(folder: Path, result: dict[str, Any]) -> None:
    logits = np.load(folder / "logits.npy")
    assert result["ok"]
    assert result["n"] == tiny_models.COUNT
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, tiny_models.expected(tiny_models.questions()), atol=1e-5)


def test_onnxruntime_answers_by_input_name(folder: Path) -> None:
    code, result = run(folder, job("logits"))
    assert code == 0
    check_logits(folder, result)
    assert result["delegate"] == "CPUExecutionProvider"
    assert result["runtime_version"].count(".") >= 1


@pytest.mark.slow
def test_litert_answers_by_input_name_and_reports_its_delegate(folder: Path) -> None:
    tiny_models.write_tflite(folder / "model.tflite")
    code, result = run(folder, job("logits", "litert", "model.tflite"))
    assert code == 0
    check_logits(folder, result)
    assert result["delegate"] == "XNNPACK"
    assert result["partitions"] >= 1
    assert 0 < result["coverage_percent"] <= 100
    assert result["fully_accelerated"] == (result["coverage_percent"] == 100)


@pytest.mark.slow
def test_tflite_runtime_answers_in_its_own_python(folder: Path) -> None:
    python = tflite_python()
    tiny_models.write_tflite(folder / "model.tflite")
    code, result = run(folder, job("logits", "tflite_runtime", "model.tflite"), python)
    assert code == 0
    check_logits(folder, result)
    assert result["numpy"].startswith("1.")


def test_markers_change_nothing_where_nobody_counts(folder: Path) -> None:
    code, result = run(folder, job("time", markers=True))
    assert code == 0
    assert result["n"] == len(np.load(folder / "samples.npy")) == TIMES["minimum_queries"]


def test_time_reports_samples_memory_and_the_state_of_the_machine(folder: Path) -> None:
    code, result = run(folder, job("time"))
    samples = np.load(folder / "samples.npy")
    assert code == 0
    assert result["n"] == len(samples) == TIMES["minimum_queries"]
    assert samples.dtype == np.int64
    assert (samples > 0).all()
    assert samples.sum() <= result["loop_ended_ns"] - result["loop_started_ns"]
    assert result["load_ms"] > 0
    assert result["first_inference_ms"] > 0
    assert result["import_ms"] > 0
    assert result["peak_rss_mb"] >= result["baseline_rss_mb"] > 0
    assert result["model_rss_mb"] == pytest.approx(result["peak_rss_mb"] - result["baseline_rss_mb"])
    assert result["host_after"]["own_s"] >= result["host_before"]["own_s"]
    assert result["host_after"]["monotonic_s"] > result["host_before"]["monotonic_s"]


def test_time_goes_on_to_the_least_seconds_and_stops_at_the_most(folder: Path) -> None:
    _code, longer = run(folder, job("time", minimum_queries=1, minimum_seconds=0.3))
    assert (longer["loop_ended_ns"] - longer["loop_started_ns"]) >= 0.3e9
    assert longer["n"] > 1
    _code, shorter = run(folder, job("time", minimum_queries=10**9, maximum_seconds=0.2))
    assert 0 < shorter["n"] < 10**9


def test_pins_to_the_cores_of_the_mask(folder: Path) -> None:
    core = max(os.sched_getaffinity(0))
    _code, result = run(folder, job("time", core_mask=hex(1 << core)))
    assert result["host_before"]["cores"] == 1
    code, result = run(folder, job("time", core_mask="0x100000000000000000"))
    assert code == 3
    assert "mask" in result["error"]


def test_peak_and_probe(folder: Path) -> None:
    _code, result = run(folder, job("peak"))
    assert result["gflops"] > 0.01
    code, result = run(folder, {"mode": "probe"})
    assert code == 0
    assert result["runtimes"]["onnxruntime"]
    assert result["cores"] == os.cpu_count()
    assert int(result["core_mask"], 16) > 0
    assert result["memory_mb"] > 0


@pytest.mark.parametrize("mode", ["logits", "time"])
@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"model": "absent.onnx"}, "model", "does not exist"),
        ({"model": "questions.npz"}, "model", "cannot open questions.npz"),
        ({"inputs": "absent.npz"}, "inputs", "absent.npz"),
        ({"inputs": "model.onnx"}, "inputs", "cannot read the questions"),
        ({"runtime": "nonesuch"}, "job", "nonesuch"),
        ({"threads": 0}, "job", "threads"),
        ({"threads": "many"}, "job", "not usable"),
        ({"delegate": "gpu"}, "delegate", "gpu"),
        ({"output": "absent/logits.npy", "samples": "absent/samples.npy"}, "write", "cannot write"),
    ],
)
def test_failures_are_results_of_their_kind(
    folder: Path, mode: str, change: dict[str, Any], kind: str, words: str
) -> None:
    code, result = run(folder, job(mode, **change))
    assert code == 3
    assert (result["ok"], result["kind"]) == (False, kind)
    assert words in result["error"]


def test_a_job_that_is_no_job(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{")
    done = subprocess.run(
        [sys.executable, str(RUNNER), "job.json"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert '"kind": "job"' in done.stdout
    assert subprocess.run([sys.executable, str(RUNNER)], capture_output=True, timeout=60).returncode == 2


def wrong_name(inputs: dict[str, Any]) -> dict[str, Any]:
    return {("picture" if name == "regions" else name): value for name, value in inputs.items()}


def wrong_type(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "question": inputs["question"].astype(np.int64)}


def wrong_shape(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "regions": inputs["regions"][:, :, :-1]}


def wrong_count(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "regions": inputs["regions"][:-1]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (wrong_name, "wants regions"),
        (wrong_type, "should be int32"),
        (wrong_shape, "should have the shape"),
        (wrong_count, "number of rows"),
    ],
)
def test_wrong_questions_are_named(
    folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]], words: str
) -> None:
    tiny_models.write_questions(folder / "questions.npz", change(tiny_models.questions()))
    code, result = run(folder, job("logits"))
    assert (code, result["kind"]) == (3, "inputs")
    assert words in result["error"]


def test_pickled_questions_are_refused(folder: Path) -> None:
    np.savez(folder / "questions.npz", question=np.array([{"a": 1}], dtype=object))
    code, result = run(folder, job("logits"))
    assert (code, result["kind"]) == (3, "inputs")


def test_a_runtime_that_is_not_installed_is_named(folder: Path) -> None:
    python = shutil.which("python3.11") or sys.executable
    (folder / "tflite_runtime.py").write_text("raise ImportError('broken on purpose')")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    code, result = run(folder, job("logits", "tflite_runtime"), python, env=environment)
    assert (code, result["kind"]) == (3, "missing_runtime")
    assert "tflite-runtime" in result["error"]


def test_a_picture_is_turned_into_the_layout_of_the_file(folder: Path) -> None:
    image = np.random.default_rng(0).random((3, 3, 4, 6)).astype(np.float32)
    tiny_models.write_picture_onnx(folder / "model.onnx", 4, 6)
    np.savez(folder / "questions.npz", image=image)
    _code, result = run(folder, job("logits"))
    assert result["ok"]
    np.testing.assert_allclose(np.load(folder / "logits.npy"), image.mean((2, 3)), atol=1e-6)


def test_a_full_disk_on_the_device_is_one_clear_line(folder: Path) -> None:
    (folder / "job.json").write_text(json.dumps(job("logits")))
    limited = (
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, sys.executable, str(RUNNER), "job.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert '"kind": "write"' in done.stdout
    assert "cannot write logits.npy" in done.stdout


def test_sets_threads_and_turns_telemetry_off(folder: Path) -> None:
    spy = folder / "onnxruntime.py"
    names = [*THREAD_VARIABLES, "ORT_DISABLE_TELEMETRY"]
    spy.write_text(f"import os\nraise ImportError(' '.join(os.environ[name] for name in {names!r}))")
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "64"}
    _code, result = run(folder, job("logits", threads=2), env=environment)
    assert result["error"].endswith("2 2 2 2 1")


def test_ends_with_the_process_that_started_it(folder: Path) -> None:
    (folder / "job.json").write_text(json.dumps(job("time", minimum_seconds=60.0, maximum_seconds=60.0)))
    starter = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], env={**os.environ, 'EDGEVQA_PARENT': str(os.getpid())})\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter, sys.executable, str(RUNNER), "job.json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for(lambda: b"onnxruntime" in maps(child))
        parent.kill()
        parent.wait()
        wait_for(lambda: not alive(child))


def maps(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/maps").read_bytes()
    except OSError:
        return b""


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    import time

    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited for 30 s in vain")


def test_stands_alone_and_runs_on_python_3_9(folder: Path) -> None:
    tree = ast.parse(RUNNER.read_text(), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([item.name for item in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert imported <= set(sys.stdlib_module_names) | {"numpy"}
    python = shutil.which("python3.9")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip("there is no python3.9 to run it with")
    code, result = run(folder, {"mode": "probe"}, python)
    assert code == 0
    assert result["python"].startswith("3.9.")


def test_a_watch_looks_until_its_input_ends() -> None:
    command = [sys.executable, str(RUNNER), "--watch", "0", "0"]
    done = subprocess.run(command, input="\n", capture_output=True, text=True, timeout=60, check=True)
    seen = json.loads(done.stdout)
    assert seen.keys() == {"looks", "clock_minimum_mhz", "temperature_maximum_c", "throttled"} and seen["looks"] == 1
