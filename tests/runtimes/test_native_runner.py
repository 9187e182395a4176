"""The runner in C: the same jobs, results and files as the one in Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevqa.runtimes.runner import RESULT_MARK
from tests.runtimes import native_builds, tiny_models
from tests.runtimes.test_runner import TIMES, job, maps, wait_for, wrong_count, wrong_name, wrong_shape, wrong_type
from tests.runtimes.test_runner import run as run_in_python


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_models.write_questions(tmp_path / "questions.npz")
    tiny_models.write_onnx(tmp_path / "model.onnx")
    return tmp_path


def run(folder: Path, job: dict[str, Any], **options: Any) -> tuple[int, dict[str, Any]]:
    (folder / "job.json").write_text(json.dumps(job))
    return start(folder, native_builds.runner(), **options)


def start(folder: Path, program: Path, **options: Any) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [str(program), "job.json"], cwd=folder, capture_output=True, text=True, timeout=120, **options
    )
    last = done.stdout.splitlines()[-1]
    assert last.startswith(RESULT_MARK), done.stdout + done.stderr
    return done.returncode, json.loads(last.removeprefix(RESULT_MARK))


def both(folder: Path, job: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """What both runners report of a job that both can do, and the logits that they write."""
    results, logits = [], []
    for runner in (run, run_in_python):
        code, result = runner(folder, job)
        assert code == 0, result
        results.append(result)
        if job["mode"] == "logits":
            logits.append(np.load(folder / "logits.npy"))
    return results[0], results[1], logits


def check_same(folder: Path, runtime: str, model: str, **more: Any) -> None:
    native, python, logits = both(folder, job("logits", runtime, model, **more))
    assert logits[0].dtype == logits[1].dtype == np.float32
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)
    assert native.keys() >= python.keys()
    for key in ("ok", "runtime", "runtime_version", "threads", "delegate", "machine", "n"):
        assert native[key] == python[key], key


def test_onnxruntime_gives_the_same_logits(folder: Path) -> None:
    check_same(folder, "onnxruntime", "model.onnx")
    np.testing.assert_allclose(np.load(folder / "logits.npy"), tiny_models.expected(tiny_models.questions()), atol=1e-5)


def test_onnxruntime_gives_the_same_logits_of_an_int8_file(folder: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(folder / "model.onnx", folder / "int8.onnx")
    check_same(folder, "onnxruntime", "int8.onnx", threads=2)


@pytest.mark.slow
def test_litert_gives_the_same_logits(folder: Path) -> None:
    from ai_edge_quantizer import quantizer, recipe

    path = tiny_models.write_tflite(folder / "model.tflite")
    check_same(folder, "litert", "model.tflite", threads=2)
    work = quantizer.Quantizer(str(path), recipe.dynamic_wi8_afp32())
    work.quantize().export_model(str(folder / "int8.tflite"), overwrite=True)
    check_same(folder, "litert", "int8.tflite")


def test_time_reports_the_same_keys(folder: Path) -> None:
    native, python, _logits = both(folder, job("time"))
    assert native.keys() >= python.keys()
    assert native["host_before"].keys() == python["host_before"].keys()
    unknown = {key for key, value in native["host_before"].items() if value is None}
    assert unknown == {key for key, value in python["host_before"].items() if value is None}
    _code, native = run(folder, job("time"))
    samples = np.load(folder / "samples.npy")
    assert native["n"] == len(samples) == TIMES["minimum_queries"]
    assert samples.dtype == np.int64 and (samples > 0).all()
    assert samples.sum() <= native["loop_ended_ns"] - native["loop_started_ns"]
    assert native["load_ms"] > 0 and native["first_inference_ms"] > 0 and native["import_ms"] > 0
    assert native["peak_rss_mb"] >= native["baseline_rss_mb"] > 0
    assert native["model_rss_mb"] == pytest.approx(native["peak_rss_mb"] - native["baseline_rss_mb"])
    assert native["host_after"]["own_s"] >= native["host_before"]["own_s"]


def test_time_goes_on_to_the_least_seconds_and_stops_at_the_most(folder: Path) -> None:
    _code, longer = run(folder, job("time", minimum_queries=1, minimum_seconds=0.3, markers=True))
    assert longer["loop_ended_ns"] - longer["loop_started_ns"] >= 0.3e9
    assert longer["n"] > 1
    _code, shorter = run(folder, job("time", minimum_queries=10**9, maximum_seconds=0.2))
    assert 0 < shorter["n"] < 10**9


def test_another_process_looks_meanwhile_if_a_core_is_to_spare(folder: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("there is one core only")
    timed = {"watch": True, "minimum_queries": 1, "minimum_seconds": 1.3}
    _code, result = run(folder, job("time", **timed, core_mask=hex(1 << cores[0])))
    seen = result["watched"]
    assert 2 <= seen["looks"] <= 6
    assert seen.keys() == {"looks", "clock_minimum_mhz", "temperature_maximum_c", "throttled"}
    assert (seen["clock_minimum_mhz"] is None) == (result["host_before"]["clock_mhz"] is None)
    assert (seen["temperature_maximum_c"] is None) == (result["host_before"]["temperature_c"] is None)
    _code, result = run(folder, job("time", **timed, threads=len(cores)))
    assert result["watched"] is None
    _code, result = run(folder, job("time"))
    assert result["watched"] is None


def test_probe_says_what_the_machine_is_as_the_other_one(folder: Path) -> None:
    native, python, _logits = both(folder, {"mode": "probe", "runtime": "onnxruntime"})
    assert native.keys() >= python.keys()
    assert native["runtimes"]["onnxruntime"] == python["runtimes"]["onnxruntime"]
    same = set(python) - {"python", "numpy", "runtimes", "host", "disk_free_mb", "wall_clock_s"}
    assert {key: native[key] for key in same} == {key: python[key] for key in same}
    assert abs(native["wall_clock_s"] - time.time()) < 60 and native["disk_free_mb"] > 0
    _code, found = run(folder, {"mode": "probe", "runtime": "litert"})
    assert found["runtimes"] == {"onnxruntime": None, "litert": "2.3.0", "tflite_runtime": None}
    assert (native["delegates"], found["delegates"]) == (["cpu"], ["cpu"])


def test_peak_is_a_product_of_matrices(folder: Path) -> None:
    native, python, _logits = both(folder, job("peak"))
    assert native.keys() == python.keys()
    assert native["gflops"] > 0.01
    _code, again = run(folder, job("peak", "litert"))
    assert again["gflops"] > 0.01


def test_pins_to_the_cores_of_the_mask(folder: Path) -> None:
    core = max(os.sched_getaffinity(0))
    _code, result = run(folder, job("time", core_mask=hex(1 << core)))
    assert result["host_before"]["cores"] == 1
    for mask in ("0x100000000000000000", "0x0", "many", "0x" + "f" * 1000):
        code, result = run(folder, job("time", core_mask=mask))
        assert (code, result["kind"]) == (3, "job") and "mask" in result["error"]


@pytest.mark.parametrize("mode", ["logits", "time"])
@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"model": "absent.onnx"}, "model", "does not exist"),
        ({"model": "questions.npz"}, "model", "cannot open questions.npz"),
        ({"model": None}, "job", "lacks 'model'"),
        ({"inputs": "absent.npz"}, "inputs", "absent.npz: No such file"),
        ({"inputs": "model.onnx"}, "inputs", "cannot read the questions"),
        ({"inputs": "."}, "inputs", "Is a directory"),
        ({"runtime": "nonesuch"}, "job", "nonesuch"),
        ({"runtime": None}, "job", "lacks 'runtime'"),
        ({"runtime": "tflite_runtime"}, "job", "litert opens the same files"),
        ({"threads": 0}, "job", "threads"),
        ({"threads": 1.5}, "job", "whole number"),
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
    assert words in result["error"] and "\n" not in result["error"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"mode"', '{"mode": "dance"}', '{"mode": 1}', "{" * 5000, '{"mode": "probe"} x', "\0"]
)
def test_a_job_that_is_no_job(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    code, result = start(tmp_path, native_builds.runner())
    assert (code, result["kind"]) == (3, "job")
    assert "job.json is not usable" in result["error"]
    program = str(native_builds.runner())
    assert subprocess.run([program], capture_output=True, timeout=60).returncode == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (wrong_name, "wants regions; the questions have question, question_mask, picture, region_mask"),
        (wrong_type, "'question' should be int32, the questions have int64"),
        (wrong_shape, "'regions' should have the shape [1, 3, 6], the questions have [1, 3, 5]"),
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


def test_a_picture_is_turned_into_the_layout_of_the_file(folder: Path) -> None:
    image = np.random.default_rng(0).random((3, 3, 4, 6)).astype(np.float32)
    tiny_models.write_picture_onnx(folder / "model.onnx", 4, 6)
    np.savez(folder / "questions.npz", image=image)
    code, _result = run(folder, job("logits"))
    assert code == 0
    np.testing.assert_allclose(np.load(folder / "logits.npy"), image.mean((2, 3)), atol=1e-6)


def test_a_runtime_that_is_not_there_or_another_library_is_named(folder: Path) -> None:
    alone = Path(shutil.copy(native_builds.runner(), folder / "edgevqa-runner"))
    (folder / "job.json").write_text(json.dumps(job("logits")))
    code, result = start(folder, alone)
    assert (code, result["kind"]) == (3, "missing_runtime")
    assert "onnxruntime cannot be opened here" in result["error"] and "No such file" in result["error"]
    (folder / "libonnxruntime.so").symlink_to(native_builds.runner().parent / "libLiteRt.so")
    code, result = start(folder, alone)
    assert (code, result["kind"]) == (3, "missing_runtime")
    assert "it lacks OrtGetApiBase" in result["error"]


def test_an_accelerator_that_is_not_there_is_no_silent_cpu(folder: Path) -> None:
    code, result = run(folder, job("logits", delegate="gpu", allow_fallback=True))
    assert code == 0
    assert result["delegate"] == "CPUExecutionProvider" and "not on 'gpu'" in result["fell_back"]
    code, result = run(folder, job("logits", "litert", "questions.npz", delegate="npu"))
    assert (code, result["kind"]) == (3, "delegate")


def test_a_full_disk_on_the_device_is_one_clear_line(folder: Path) -> None:
    (folder / "job.json").write_text(json.dumps(job("logits")))
    limited = ["sh", "-c", 'ulimit -f 0; trap "" XFSZ; exec "$@"', "sh", str(native_builds.runner()), "job.json"]
    done = subprocess.run(limited, cwd=folder, capture_output=True, text=True, timeout=60)
    assert '"kind": "write"' in done.stdout and "cannot write logits.npy: File too large" in done.stdout
    assert done.returncode == 3


def test_telemetry_is_off_before_the_library_is_opened(folder: Path) -> None:
    source = folder / "spy.c"
    source.write_text(
        "#include <stdio.h>\n#include <stdlib.h>\n__attribute__((constructor)) static void opened(void) {\n"
        '  fprintf(stderr, "telemetry %s\\n", getenv("ORT_DISABLE_TELEMETRY"));\n}\n'
    )
    command = [native_builds.compiler(), "-shared", "-fPIC", "-o", str(folder / "libonnxruntime.so"), str(source)]
    subprocess.run(command, check=True, timeout=60)
    alone = shutil.copy(native_builds.runner(), folder / "edgevqa-runner")
    (folder / "job.json").write_text(json.dumps({"mode": "probe", "runtime": "onnxruntime"}))
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([alone, "job.json"], cwd=folder, env=clean, capture_output=True, text=True, timeout=60)
    assert done.stderr == "telemetry 1\n"


def test_ends_with_the_process_that_started_it(folder: Path) -> None:
    import sys

    (folder / "job.json").write_text(json.dumps(job("time", minimum_seconds=60.0, maximum_seconds=60.0)))
    starter = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], env={**os.environ, 'EDGEVQA_PARENT': str(os.getpid())})\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", starter, str(native_builds.runner()), "job.json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for(lambda: b"onnxruntime" in maps(child))
        parent.kill()
        parent.wait()
        wait_for(lambda: not maps(child))


def test_the_script_for_an_ndk_finds_its_compiler(tmp_path: Path) -> None:
    """No NDK is at hand here: this tries the script with a stand-in for the compiler, not the program."""
    script = native_builds.NATIVE_SOURCES / "build_ndk.sh"
    tools = tmp_path / "toolchains" / "llvm" / "prebuilt" / "linux-x86_64" / "bin"
    tools.mkdir(parents=True)
    (tools / "x86_64-linux-android29-clang").symlink_to(native_builds.compiler())
    environment = {"PATH": os.environ["PATH"], "ABI": "x86_64", "ANDROID_NDK": str(tmp_path)}
    command = ["sh", str(script), str(tmp_path / "runner")]
    subprocess.run(command, env=environment, check=True, timeout=120)
    assert os.access(tmp_path / "runner", os.X_OK)
    for change, words, code in (({"ABI": "mips"}, "for the ABI mips", 2), ({"ANDROID_NDK": ""}, "there is no NDK", 3)):
        done = subprocess.run(command, env={**environment, **change}, capture_output=True, text=True, timeout=60)
        assert done.returncode == code and words in done.stderr


def test_another_compiler_is_as_content(tmp_path: Path) -> None:
    native_builds.compile_runner(tmp_path / "runner", cc="clang")
