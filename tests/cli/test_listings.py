"""Commands that only look: models, info, targets, doctor. None of them needs torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgevqa.checkpoints import bundled_names, load_checkpoint
from edgevqa.devices.targets import Target, find_profiles
from edgevqa.slimming.counting import count
from tests.cli.conftest import HERE, Program, says

ELSEWHERE = {"x86": "arm64", "arm64": "x86"}[HERE]


def test_models_lists_what_is_bundled(light_program: Program, tmp_path: Path) -> None:
    rows = light_program.json("models", cwd=tmp_path)
    assert [row["name"] for row in rows] == bundled_names() and "scenes" in bundled_names()
    for row in rows:
        checkpoint = load_checkpoint(row["name"])
        assert row["submodels"] == 10 and row["parameters"] == count(checkpoint.config).parameters
        assert row["full"] == checkpoint.scores["w1-d6"] and row["majority_floor"] == checkpoint.floors["majority"]
        assert row["picture"] in ("region", "pixel") and row["words"] > 10 and row["answers"] > 2
    people = light_program("models", cwd=tmp_path)
    assert people.returncode == 0 and all(name in people.stdout for name in bundled_names())


def test_info_counts_every_submodel(light_program: Program, tmp_path: Path) -> None:
    report = light_program.json("info", cwd=tmp_path)
    checkpoint = load_checkpoint("scenes")
    assert report["model"] == "scenes" and report["dataset"] == dict(checkpoint.dataset or {})
    assert report["floors"] == dict(checkpoint.floors)
    rows = {row["submodel"]: row for row in report["submodels"]}
    assert len(rows) == 10 and [*rows][::9] == ["w0.25-d1", "w1-d6"]
    full, counts = rows["w1-d6"], count(checkpoint.config)
    assert (full["parameters"], full["macs"], full["flops"]) == (counts.parameters, counts.macs, 2 * counts.macs)
    assert sum(full["parameters_by_part"].values()) == counts.parameters
    assert sum(full["macs_by_part"].values()) == counts.macs
    assert full["fp32_mb"] == pytest.approx(4 * counts.parameters / 1e6)
    assert rows["w0.25-d2"]["heads"] == 2 and rows["w0.25-d2"]["layers"] == 2
    assert {row["submodel"]: row["score"] for row in rows.values()} == dict(checkpoint.scores)
    people = light_program("info", "scenes", "--any", cwd=tmp_path)
    assert people.returncode == 0 and people.stdout.count("\n w") == 16 and f"{counts.parameters:,}" in people.stdout


def test_targets_lists_and_shows_profiles(light_program: Program, tmp_path: Path) -> None:
    listed = light_program.json("targets", cwd=tmp_path)
    assert {row["name"] for row in listed} == set(find_profiles())
    for row in listed:
        assert row.keys() == {field.name for field in dataclasses.fields(Target)}
    assert light_program.json("targets", "x86", cwd=tmp_path) in listed
    people = light_program("targets", "x86", cwd=tmp_path)
    assert people.returncode == 0 and "onnxruntime, litert" in people.stdout
    says(light_program("targets", "x68", cwd=tmp_path), 2, "unknown target 'x68'; did you mean x86?")


def test_a_users_own_profile_is_found_and_a_wrong_one_explained(light_program: Program, tmp_path: Path) -> None:
    settings = tmp_path / "settings" / "targets"
    settings.mkdir(parents=True)
    (settings / "desk.toml").write_text(
        'name = "desk"\ndescription = "mine"\nkind = "local"\nruntimes = ["onnxruntime"]\n'
    )
    environment = {"EDGEVQA_CONFIG": str(tmp_path / "settings")}
    assert light_program.json("targets", "desk", cwd=tmp_path, **environment)["runtimes"] == ["onnxruntime"]
    (tmp_path / "mine.toml").write_text('name = "mine"\nthread = 2\n')
    says(light_program("targets", "./mine.toml", cwd=tmp_path), 2, "unknown key 'thread'; did you mean threads?")


def test_doctor_looks_at_this_machine(light_program: Program, tmp_path: Path) -> None:
    done = light_program("doctor", cwd=tmp_path)
    assert done.returncode in (0, 3) and f"{HERE} (local)" in done.stdout, done.stderr
    report = light_program.json("doctor", "--target", HERE, cwd=tmp_path, code=done.returncode)
    assert report["target"] == HERE and bool(report["missing"]) == (done.returncode == 3)
    assert "onnxruntime" in report["facts"]["runtimes"] and report["facts"]["processor"].endswith("cores")
    assert isinstance(report["ready"], bool) and isinstance(report["findings"], list)


def test_doctor_says_what_is_missing(light_program: Program, tmp_path: Path) -> None:
    profile = tmp_path / "other.toml"
    profile.write_text('name = "other"\ndescription = "x"\nkind = "local"\nruntimes = ["onnxruntime", "litert"]\n')
    for name in ("litert", "onnxruntime"):
        variable = f"EDGEVQA_{name.upper()}_PYTHON"
        done = light_program("doctor", "--target", str(profile), cwd=tmp_path, **{variable: "/no/such/python"})
        assert done.returncode == 3 and done.stderr == ""
        assert f"missing        {name}: {variable} names /no/such/python, which is not a program" in done.stdout


def test_doctor_does_not_pretend_to_be_another_machine(light_program: Program, tmp_path: Path) -> None:
    done = light_program("doctor", "--target", ELSEWHERE, cwd=tmp_path)
    assert done.returncode == 3 and f"target {ELSEWHERE} is" in done.stderr and "no host is configured" in done.stderr
