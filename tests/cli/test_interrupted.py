"""Killed at any moment, and two at once: nothing that was finished is lost, nothing broken is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgevqa.errors import EnvironmentFailure
from edgevqa.export.manifest import find_artifacts, load_artifact
from edgevqa.storage import folder_lock
from tests.cli.conftest import HERE, SMALLEST, Program, call, says

pytestmark = pytest.mark.slow
PATIENCE = 300.0


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Look until something happened; fails when the program ended before."""
    until = time.monotonic() + PATIENCE
    while not happened():
        if process.poll() is not None:
            pytest.fail(f"it ended before: {process.communicate()}")
        if time.monotonic() > until:
            pytest.fail("it did not happen")
        time.sleep(0.005)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def wait_until_free(folder: Path) -> None:
    """Look until no process holds a folder: children must end with their parent."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with folder_lock(folder, "a test"):
                return
        except EnvironmentFailure:
            assert time.monotonic() < until, "a child outlived its parent"
            time.sleep(0.05)


def test_a_killed_export_goes_on_and_leaves_nothing_broken(tmp_path: Path, program: Program) -> None:
    folder = tmp_path / "artifacts" / "scenes" / "w0.25-d1"
    running = program.start("export", *SMALLEST, cwd=tmp_path)
    try:
        # the first of two files is done, the second is being made
        wait_for(lambda: (folder / "onnx-fp32" / "manifest.json").exists(), running)
    finally:
        kill(running)
    wait_until_free(folder)
    (first,) = find_artifacts(tmp_path / "artifacts", verify=True)
    assert first.folder.name == "onnx-fp32"
    stamp = first.file.stat().st_mtime_ns

    again = program("export", *SMALLEST, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    found = {artifact.folder.name: artifact for artifact in find_artifacts(tmp_path / "artifacts", verify=True)}
    assert found.keys() == {"onnx-fp32", "tflite-fp32"}
    assert found["onnx-fp32"].file.stat().st_mtime_ns == stamp, "what was finished is not made again"
    assert list(tmp_path.rglob(".tmp-*")) == []


def test_a_killed_bench_goes_on_and_measures_nothing_twice(
    exported: Path, tmp_path: Path, light_program: Program
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "work"))
    records = folder / "results" / "records.jsonl"
    running = light_program.start("bench", "--protocol", "smoke", cwd=folder)
    try:
        wait_for(lambda: records.exists() and records.read_text().endswith("\n"), running)
    finally:
        kill(running)
    wait_until_free(folder / "results" / "parts" / HERE)
    first = records.read_text()
    # the same as a machine that lost its power in the middle of a line
    records.write_text(first + first[: len(first) // 2])

    rows = light_program.json("bench", "--protocol", "smoke", cwd=folder)["records"]
    assert [row["n"] >= 64 for row in rows] == [True, True]
    assert rows[0] == json.loads(first.splitlines()[0])
    report = light_program.json("pareto", cwd=folder, code=4)
    assert len(report["rows"]) == 2
    assert len(report["problems"]) == 1 and "line 2 was left out" in report["problems"][0]


def test_ctrl_c_ends_an_export_with_its_children(tmp_path: Path, program: Program) -> None:
    folder = tmp_path / "artifacts" / "scenes" / "w0.25-d1"
    running = program.start("export", *SMALLEST, "--format", "onnx", cwd=tmp_path)
    try:
        wait_for(lambda: (folder / ".lock").exists(), running)
        os.kill(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=PATIENCE)
    finally:
        kill(running)
    assert (running.returncode, out) == (130, "")
    assert err.strip() == "interrupted; what was finished is kept, the same command goes on from there"
    wait_until_free(folder)
    assert find_artifacts(tmp_path / "artifacts") == []


def test_two_exports_into_one_folder_at_once(tmp_path: Path, program: Program) -> None:
    options = ("export", *SMALLEST, "--format", "onnx")
    running = [program.start(*options, cwd=tmp_path) for _ in range(2)]
    ends = [process.communicate(timeout=PATIENCE) for process in running]
    codes = sorted(process.returncode for process in running)
    assert codes in ([0, 0], [0, 3]), ends
    for process, (_out, err) in zip(running, ends, strict=True):
        if process.returncode:
            assert "another edgevqa process is using" in err and err.count("\n") == 1, err
    (made,) = find_artifacts(tmp_path / "artifacts", verify=True)
    assert load_artifact(made.folder).manifest["submodel"] == "w0.25-d1"
    assert list(tmp_path.rglob(".tmp-*")) == []


def test_an_export_into_a_folder_that_another_one_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with folder_lock(tmp_path / "artifacts" / "scenes" / "w0.25-d1", "a test"):
        result = call("export", *SMALLEST, "--format", "onnx")
    says(result, 3, "another edgevqa process is using", "w0.25-d1", "wait for it or choose another folder")
    assert find_artifacts(tmp_path / "artifacts") == []


def test_a_bench_into_results_that_another_one_holds(workplace: Path) -> None:
    with folder_lock(workplace / "results" / "parts" / HERE, "a test"):
        result = call("bench", "--protocol", "smoke", "--target", HERE)
    says(result, 3, "another edgevqa process is using", "wait for it or choose another folder")
    assert not (workplace / "results" / "records.jsonl").exists()
