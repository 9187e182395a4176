"""The committed counts of instructions: exports of today cost the same, and what differs is named."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgevqa.devices import Target
from edgevqa.devices.setup import PINS
from edgevqa.errors import GateFailed, Inconclusive
from edgevqa.measure.instructions import why_not_counted
from tests.lab.devices import Board

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "instructions.py"
ROWS = {"onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_of_instructions", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def baseline() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "instructions.json").read_text())
    return content


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_exports_of_today_cost_what_the_baseline_says(
    emulated: Target, child_environment: dict[str, str], tmp_path: Path
) -> None:
    reason = why_not_counted(emulated, 1)
    if reason:
        pytest.skip(reason)
    command = [sys.executable, str(SCRIPT), "--work", str(tmp_path), "--root", str(Board("arm64").folder / "root")]
    done = subprocess.run(command, env=child_environment, capture_output=True, text=True, timeout=2000)
    if done.returncode == 4:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split()[:3] for line in done.stdout.splitlines() if line.startswith("w")]
    assert len(rows) == 10 * len(ROWS) * 2
    assert done.stdout.endswith("all within 1 %\n")


def test_the_baseline_holds_every_row_and_is_of_the_locked_versions(baseline: dict[str, Any]) -> None:
    assert len(baseline["counts"]) == 10
    for kinds in baseline["counts"].values():
        assert kinds.keys() == ROWS
        for processors in kinds.values():
            assert processors.keys() == {"cortex-a72", "cortex-a76"}
            assert all(count > 100_000 for count in processors.values())
    lines = (ROOT / "requirements" / "lock.txt").read_text().splitlines()
    locked = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    named = baseline["versions"]
    for package in ("torch", "onnx", "onnxruntime", "onnxsim", "litert-torch", "litert-converter", "ai-edge-quantizer"):
        assert named[package] == locked[package], f"{package}: run benchmarks/instructions.py --write"
    for runtime in ("onnxruntime", "litert"):
        for pin in PINS[runtime].packages:
            package, _, version = pin.partition("==")
            assert named[f"device: {package}"] == version, f"{package}: run benchmarks/instructions.py --write"


def test_dot_products_make_int8_cheaper_in_the_baseline(baseline: dict[str, Any]) -> None:
    largest = baseline["counts"]["w1-d6"]
    for kind in ("onnx", "tflite"):
        without, with_them = (largest[f"{kind}-int8"][cpu] for cpu in ("cortex-a72", "cortex-a76"))
        assert with_them < 0.9 * without
        assert with_them < largest[f"{kind}-fp32"]["cortex-a76"]


def test_a_difference_of_more_than_one_percent_is_named(
    script: ModuleType, baseline: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = copy.deepcopy(baseline["counts"])
    script.compare(found, baseline, baseline["versions"])
    count = found["w0.5-d4"]["onnx-int8"]["cortex-a76"]
    found["w0.5-d4"]["onnx-int8"]["cortex-a76"] = int(count * 1.009)
    script.compare(found, baseline, baseline["versions"])
    for factor, words in ((1.02, "+2.00 %"), (0.97, "-3.00 %")):
        found["w0.5-d4"]["onnx-int8"]["cortex-a76"] = int(count * factor)
        with pytest.raises(GateFailed, match=r"w0\.5-d4 onnx-int8 on cortex-a76: ") as failed:
            script.compare(found, baseline, baseline["versions"])
        assert words in str(failed.value) and "w0.5-d6" not in str(failed.value)
        assert failed.value.exit_code == 1
    assert capsys.readouterr().out.count("w0.5-d4   onnx-int8    cortex-a76") == 4


def test_other_versions_and_unknown_rows_are_inconclusive(script: ModuleType, baseline: dict[str, Any]) -> None:
    found = copy.deepcopy(baseline["counts"])
    with pytest.raises(Inconclusive, match=r"qemu 9.9 instead of 7.2\. .* with --write") as other:
        script.compare(found, baseline, {**baseline["versions"], "qemu": "9.9"})
    assert other.value.exit_code == 4
    found["w9-d9"] = found["w1-d6"]
    with pytest.raises(Inconclusive, match=r"the baseline lacks w9-d9 onnx-fp32 on cortex-a72: unknown"):
        script.compare(found, baseline, baseline["versions"])


def test_an_unknown_submodel_is_refused(child_environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--work", str(tmp_path), "--submodel", "w2-d9"]
    done = subprocess.run(command, env=child_environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: scenes has no submodel w2-d9; it has w0.25-d1, ")
