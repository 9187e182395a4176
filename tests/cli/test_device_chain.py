"""The whole way to a simulated Raspberry Pi: export, setup, gate, bench, record, Pareto row."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgevqa.devices import Target
from tests.cli.conftest import SMALLEST, Program, says
from tests.lab.devices import Board

RUNTIMES = {"onnxruntime": "onnx", "litert": "tflite", "tflite_runtime": "tflite"}
PROFILE = """
name = "simulated-pi"
description = "a Raspberry Pi 5 under qemu"
kind = "ssh"
host = "127.0.0.1"
machine = "aarch64"
runtimes = ["onnxruntime", "litert", "tflite_runtime"]
protocol = "smoke"
basis = "emulated"
host_checks = []
features = ["asimd", "asimddp"]
"""


def profile(board: Board, folder: Path) -> tuple[Target, Path]:
    target = board.target(folder)
    path = folder / "pi.toml"
    path.write_text(f'{PROFILE}ssh_config = "ssh_config"\nfolder = "{target.folder}"\n')
    return target, path


def test_faults_of_the_way_are_one_line_and_exit_3(board: Board, light_program: Program, tmp_path: Path) -> None:
    target, path = profile(board, tmp_path)
    wrong = light_program("doctor", "--target", str(path), cwd=tmp_path)
    says(wrong, 3, "target simulated-pi should be aarch64, but the device is x86_64")
    (tmp_path / "known_hosts").write_text("")
    for arguments in (("doctor",), ("device", "setup"), ("device", "clean")):
        failed = light_program(*arguments, "--target", str(path), cwd=tmp_path)
        says(failed, 3, "host key of simulated-pi (127.0.0.1) is not known")
    shutil.rmtree(board.path(target), ignore_errors=True)


@pytest.fixture
def older_board() -> Iterator[Board]:
    """A board with the processor of a Raspberry Pi 4."""
    found = Board("arm64")
    found.start("cortex-a72")
    yield found
    found.stop()


@pytest.mark.slow
def test_an_older_processor_is_seen_as_what_it_is(older_board: Board, light_program: Program, tmp_path: Path) -> None:
    target, path = profile(older_board, tmp_path)
    path.write_text(path.read_text().replace(', "litert", "tflite_runtime"', ""))
    report = light_program.json("doctor", "--target", str(path), cwd=tmp_path, code=3)
    assert "Raspberry Pi 4 Model B Rev 1.4 aarch64" in report["facts"]["machine"]
    assert "asimd" in report["facts"]["features"].split(", ") and "asimddp" not in report["facts"]["features"]
    assert "the feature dotprod (asimddp), which the profile expects" in report["missing"]
    shutil.rmtree(older_board.path(target), ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_whole_chain_on_a_simulated_raspberry_pi(arm64_board: Board, program: Program, tmp_path: Path) -> None:
    target, path = profile(arm64_board, tmp_path)
    made = program("export", *SMALLEST, "--runtime", ",".join(RUNTIMES), cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    lacking = program("bench", "--target", str(path), cwd=tmp_path)
    says(lacking, 3, "onnxruntime cannot be imported", "edgevqa device setup --target")
    brought = program("device", "setup", "--target", str(path), cwd=tmp_path)
    if "pip cannot download" in brought.stderr:
        pytest.skip(brought.stderr)
    assert brought.returncode == 0, brought.stderr
    assert brought.stdout.count("aarch64.whl") == 2 * len(RUNTIMES)
    assert "numpy-2." in brought.stdout and "numpy-1.26.4" in brought.stdout  # each in a folder of its own
    measured = program("bench", "--target", str(path), cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr + measured.stdout
    rows = [json.loads(line) for line in (tmp_path / "results" / "records.jsonl").read_text().splitlines()]
    assert [(row["runtime"], row["format"]) for row in rows] == list(RUNTIMES.items())
    for row in rows:
        assert (row["target"], row["basis"], row["gate"]) == ("simulated-pi", "emulated", "passed")
        assert row["n"] >= 64 or row["p50_ms"] is not None
        assert row["parity"] < 1e-4
        assert row["simulated_instructions"] is None and "kind emulated" in row["simulated_instructions_reason"]
    assert [row["runtime_version"] for row in rows] == ["1.31.1", "2.3.0", "2.14.0"]
    for environment in (tmp_path / "results" / "environments").iterdir():
        facts = json.loads(environment.read_text())["environment"]
        assert (facts["machine"], facts["board"]) == ("aarch64", "Raspberry Pi 5 Model B Rev 1.0")
    program("pareto", "--include-emulated", cwd=tmp_path)
    with (tmp_path / "results" / "pareto.csv").open() as stream:
        assert [line["basis"] for line in csv.DictReader(stream)] == ["emulated"] * len(RUNTIMES)
    cleaned = program("device", "clean", "--target", str(path), cwd=tmp_path)
    assert cleaned.returncode == 0, cleaned.stderr
    assert not arm64_board.path(target).exists()
