"""The chain as users run it: export, evaluate, bench, pareto, each going on from the other's folder."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from edgevqa.checkpoints import load_checkpoint
from edgevqa.export.manifest import load_artifact
from edgevqa.gate.verdict import Verdict
from edgevqa.measure.record import Record
from tests.cli.conftest import BARE, HERE, Program, call

pytestmark = pytest.mark.slow
KINDS = ["onnx-fp32", "tflite-fp32"]


def folder_of(root: Path) -> Path:
    return root / "artifacts" / "scenes" / "w0.25-d2"


def test_a_bare_export_makes_both_formats_in_fp32_in_artifacts(exported: Path) -> None:
    report = json.loads((exported / "report.json").read_text())
    assert [entry["folder"] for entry in report] == [f"artifacts/scenes/w0.25-d2/{kind}" for kind in KINDS]
    for entry in report:
        assert {field.name for field in dataclasses.fields(Verdict)} <= entry.keys()
        assert entry["status"] == "passed"
        assert entry["parity"]["relative"] <= entry["parity"]["tolerance"] == 1e-4
        artifact = load_artifact(exported / entry["folder"], verify=True)
        assert artifact.manifest["precision"] == "fp32"
        assert "--width 0.25 --depth 2" in artifact.manifest["command"]
        assert (artifact.folder / f"gate-{entry['runtime']}-{entry['target']}.json").is_file()
    files = sorted(path.name for path in folder_of(exported).iterdir() if not path.name.startswith("."))
    assert files == KINDS


def test_exporting_again_makes_nothing_again(workplace: Path, program: Program) -> None:
    before = {path: path.stat().st_mtime_ns for path in workplace.rglob("*") if path.is_file()}
    done = program("export", *BARE, cwd=workplace)
    assert done.returncode == 0 and done.stdout.count("passed") == 2, done.stderr
    assert {path: path.stat().st_mtime_ns for path in workplace.rglob("*") if path.is_file()} == before


def test_bench_measures_both_without_torch(measured: Path) -> None:
    report = json.loads((measured / "report.json").read_text())
    assert [(row["format"], row["runtime"]) for row in report] == [("onnx", "onnxruntime"), ("tflite", "litert")]
    for row in report:
        assert row.keys() == {field.name for field in dataclasses.fields(Record)}
        assert row["n"] >= 64 and row["p50_ms"] > 0 and row["peak_rss_mb"] > 0 and row["load_ms"] > 0
        assert row["gate"] == "passed" and row["protocol"] == "smoke" and row["basis"] == "measured"
        assert row["energy_gross_j"] is None and row["energy_reason"]
        assert (measured / "results" / row["samples"]).is_file()
    lines = (measured / "results" / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == [row["run_id"] for row in report]


def test_a_second_bench_measures_nothing_new(measured: Path, tmp_path: Path, light_program: Program) -> None:
    folder = tmp_path / "work"
    shutil.copytree(measured, folder)
    before = {path: path.read_bytes() for path in (folder / "results").rglob("*") if path.is_file()}
    again = light_program.json("bench", "--protocol", "smoke", "--target", HERE, cwd=folder)["records"]
    first = json.loads((folder / "report.json").read_text())
    assert [row["run_id"] for row in again] == [row["run_id"] for row in first]
    assert {path: path.read_bytes() for path in (folder / "results").rglob("*") if path.is_file()} == before
    people = light_program("bench", "--protocol", "smoke", cwd=folder)
    assert people.returncode == 0 and "records: results/records.jsonl" in people.stdout
    assert people.stdout.count("w0.25-d2") == 2 and "left out" not in people.stderr
    some = ("bench", "--protocol", "smoke", "--runtime", "litert")
    skipped = light_program(*some, cwd=folder)
    assert skipped.returncode == 0
    assert "left out: 1 of 2 files, which are not for litert; --runtime onnxruntime takes them" in skipped.stderr
    (entry,) = light_program.json(*some, cwd=folder)["left_out"]
    assert entry == {"folder": "artifacts/scenes/w0.25-d2/onnx-fp32", "runtimes": ["onnxruntime"], "target": HERE}


def test_pareto_goes_on_from_bench(measured: Path, tmp_path: Path, light_program: Program) -> None:
    """The smoke protocol is for plumbing, so that no row may lie on a front: exit code 4, and a table all the same."""
    folder = tmp_path / "work"
    shutil.copytree(measured, folder)
    report = light_program.json("pareto", cwd=folder, code=4)
    assert report["csv"] == "results/pareto.csv" and len(report["rows"]) == 2 and len(report["groups"]) == 1
    assert report["groups"][0]["ship"] is None and report["problems"] == []
    assert "smoke" in report["rows"][0]["why_not"]
    with (folder / "results" / "pareto.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["runtime"] for row in rows} == {"onnxruntime", "litert"}
    assert {field.name for field in dataclasses.fields(Record)} <= rows[0].keys()
    people = light_program("pareto", cwd=folder)
    assert people.returncode == 4 and "left out: w0.25-d2" in people.stdout
    assert people.stderr.startswith("error: no row can lie on a front; the first because: the smoke protocol")


def test_evaluate_scores_on_a_sample_of_the_test_split_and_remembers(
    workplace: Path, program: Program, few_scenes: Path
) -> None:
    cache = {"EDGEVQA_CACHE": str(few_scenes)}
    report = program.json("evaluate", "--questions", 50, cwd=workplace, **cache)
    assert [entry["runtime"] for entry in report["verdicts"]] == ["onnxruntime", "litert"] and report["left_out"] == []
    for entry in report["verdicts"]:
        score = entry["score"]
        assert entry["status"] == "passed" and score["count"] == 50 and not score["full"]
        assert 0 <= score["percent"] <= 100 and score["standard_error"] >= 0
        # fp32 files answer as PyTorch does, whatever the weights are worth; one question may be a tie
        assert score["percent"] == pytest.approx(score["fp32_percent"], abs=2.01)
    before = {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()}
    people = program("evaluate", "artifacts/scenes/w0.25-d2", "--questions", 50, cwd=workplace, **cache)
    assert people.returncode == 0 and people.stdout.count("passed") == 2 and "50" in people.stdout
    assert {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()} == before


def test_evaluate_scores_a_checkpoint_without_any_file(tmp_path: Path, program: Program, few_scenes: Path) -> None:
    options = ("evaluate", "--runtime", "torch", "--split", "validation", "--scheduler", "none")
    cache = {"EDGEVQA_CACHE": str(few_scenes)}
    (row,) = program.json(*options, "--width", "1/4", "--depth", 2, cwd=tmp_path, **cache)["submodels"]
    assert (row["model"], row["submodel"], row["runtime"]) == ("scenes", "w0.25-d2", "torch")
    assert row["score"]["questions"] == "scenes/validation" and 0 < row["score"]["percent"] <= 100
    people = program(*options, "--questions", 20, cwd=tmp_path, **cache)
    assert people.returncode == 0 and people.stdout.count("scenes/w") == 10 and "majority floor" in people.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_fewer_words_is_scored_by_the_checkpoint_beside_it(
    tmp_path: Path, program: Program, few_scenes: Path
) -> None:
    cache = {"EDGEVQA_CACHE": str(few_scenes)}
    (tmp_path / "words.txt").write_text("how many red blue green circles squares are there left right of the\n")
    made = program("export", "--width", "1/4", "--depth", 1, "--format", "onnx", "--vocabulary", "words.txt",
                   cwd=tmp_path, **cache)  # fmt: skip
    assert made.returncode == 0 and "words stay; " in made.stderr, made.stderr
    (row,) = program.json("evaluate", "--questions", 40, cwd=tmp_path, **cache)["verdicts"]
    assert row["artifact"].startswith("scenes-") and row["status"] == "passed" and row["score"]["count"] == 40
    assert row["score"]["percent"] == pytest.approx(row["score"]["fp32_percent"])


def test_train_makes_a_checkpoint_that_the_other_commands_take(
    tmp_path: Path, program: Program, few_scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = ("--teacher-steps", 1, "--student-steps", 1, "--seed", 5)
    cache = {"EDGEVQA_CACHE": str(few_scenes)}
    report = program.json("train", "scenes", "--out", "toys", *steps, cwd=tmp_path, **cache)
    made = load_checkpoint(tmp_path / "toys")
    assert report["folder"] == "toys" and report["scores"] == dict(made.scores) and len(made.scores) == 10
    assert report["floors"] == dict(made.floors)
    assert made.training["command"] == "edgevqa train scenes --teacher-steps 1 --student-steps 1 --seed 5"
    assert made.training["student"]["seed"] == 5
    monkeypatch.chdir(tmp_path)
    info = call("info", "toys", "--json")
    assert {row["submodel"]: row["score"] for row in json.loads(info.stdout)["submodels"]} == report["scores"]
