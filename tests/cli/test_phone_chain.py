"""The whole way to a simulated phone without Python: bundle, export, setup, gate, bench, record, Pareto row."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from edgevqa.devices import Target
from edgevqa.storage import cache_folder
from tests.cli.conftest import SMALLEST, Program, says
from tests.lab.devices import Phone

PROFILE = """
name = "simulated-phone"
description = "a phone with this machine's architecture"
kind = "adb"
machine = "x86_64"
runtimes = ["onnxruntime"]
protocol = "smoke"
"""
CACHE = cache_folder()  # the phone's tests have another home


def profile(phone: Phone, folder: Path) -> tuple[Target, Path]:
    target = phone.target()
    path = folder / "phone.toml"
    path.write_text(f'{PROFILE}serial = "{phone.serial}"\nfolder = "{target.folder}"\n')
    return target, path


def test_a_bundle_that_cannot_be_built_is_one_line(light_program: Program, tmp_path: Path) -> None:
    says(
        light_program("device", "bundle", "--runtime", "tflite_runtime", cwd=tmp_path), 2, "only where there is Python"
    )
    says(light_program("device", "bundle", "--machine", "mips", cwd=tmp_path), 2, "'aarch64', 'x86_64'")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_chain_on_a_simulated_phone(phone: Phone, program: Program, tmp_path: Path) -> None:
    target, path = profile(phone, tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        there = {"EDGEVQA_CACHE": str(CACHE), "ANDROID_ADB_SERVER_PORT": str(phone.adb_port)}
        return program(*arguments, cwd=tmp_path, **there)

    made = run("export", *SMALLEST, "--format", "onnx")
    assert made.returncode == 0, made.stderr
    brought = run("device", "setup", "--target", str(path))
    if "pip cannot download" in brought.stderr:
        pytest.skip(brought.stderr)
    assert brought.returncode == 0, brought.stderr
    assert "sent (onnxruntime-" in brought.stdout
    measured = run("bench", "--target", str(path))
    assert measured.returncode == 0, measured.stderr + measured.stdout
    (row,) = [json.loads(line) for line in (tmp_path / "results" / "records.jsonl").read_text().splitlines()]
    assert (row["target"], row["basis"], row["gate"]) == ("simulated-phone", "measured", "passed")
    assert row["parity"] < 1e-4 and row["n"] >= 64
    assert row["runtime_version"] == "1.31.1" and row["peak_rss_mb"] > 1 and row["load_ms"] > 0
    (environment,) = (tmp_path / "results" / "environments").iterdir()
    facts = json.loads(environment.read_text())["environment"]
    assert (facts["machine"], facts["python"]) == ("x86_64", None)
    says(run("pareto"), 4, "no row can lie on a front")
    with (tmp_path / "results" / "pareto.csv").open() as stream:
        (line,) = csv.DictReader(stream)
    assert line["target"] == "simulated-phone"
    cleaned = run("device", "clean", "--target", str(path))
    assert cleaned.returncode == 0, cleaned.stderr
    assert not phone.path(target).exists()
