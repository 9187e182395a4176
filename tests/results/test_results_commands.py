"""`edgevqa pareto` and `edgevqa select`, run as commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgevqa.cli.main import main
from edgevqa.measure.record import RECORDS_NAME
from edgevqa.results.records import append


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_pareto_prints_table_and_sentence_and_writes_csv_and_plot(results: Path) -> None:
    done = run("pareto", "--results", results)
    assert done.exit_code == 0, done.output
    assert "scenes v1 on x86, quick protocol, measured, precomputed regions" in done.stdout
    assert done.stdout.count("onnxruntime") >= 20 and done.stdout.count("litert") >= 20
    assert "Ship artifacts/scenes/" in done.stdout
    assert done.stderr == ""
    assert {path.name for path in results.iterdir()} == {RECORDS_NAME, "pareto.csv", "pareto.png"}


def test_running_pareto_again_writes_the_same_bytes(results: Path) -> None:
    contents = []
    for _ in range(2):
        assert run("pareto", "--results", results).exit_code == 0
        contents.append([(results / name).read_bytes() for name in ("pareto.csv", "pareto.png")])
    assert contents[0] == contents[1]


def test_pareto_json_and_paths(results: Path, tmp_path: Path) -> None:
    csv, plot = tmp_path / "out" / "table.csv", tmp_path / "out" / "figure.svg"
    done = run("pareto", "--results", results, "--csv", csv, "--plot", plot, "--json")
    assert done.exit_code == 0 and csv.exists() and plot.read_text().startswith("<?xml")
    said = json.loads(done.stdout)
    assert len(said["rows"]) == 40 and said["problems"] == []
    (group,) = said["groups"]
    assert (group["target"], group["protocol"], group["plot"]) == ("x86", "quick", str(plot))
    assert group["ship"]["artifact"] in group["why"]
    assert not (results / "pareto.csv").exists()


def test_each_group_gets_a_table_and_a_plot(results: Path, make_record) -> None:
    append(results, make_record(target="arm64"))
    done = run("pareto", "--results", results)
    assert "scenes v1 on arm64" in done.stdout
    plots = sorted(path.name for path in results.glob("*.png"))
    assert plots == ["pareto-arm64-quick-scenes-v1-precomputed-regions.png", "pareto.png"]
    done = run("pareto", "--results", results, "--target", "arm64", "--json")
    said = json.loads(done.stdout)
    assert [group["target"] for group in said["groups"]] == ["arm64"] and len(said["rows"]) == 41


def test_a_broken_line_is_a_warning_not_the_end(results: Path) -> None:
    with (results / RECORDS_NAME).open("a") as stream:
        stream.write('{"schema_version": 1, "run')
    done = run("pareto", "--results", results)
    assert done.exit_code == 0
    assert "line 41 was left out: it was cut short" in done.stderr
    assert "line 41" in json.loads(run("pareto", "--results", results, "--json").stdout)["problems"][0]


def test_rows_left_out_say_why(results: Path, make_record) -> None:
    append(
        results,
        make_record(artifact="x", artifact_sha256="9" * 64, gate="failed", gate_reason="[bold]logits[/]"),
    )
    done = run("pareto", "--results", results)
    assert "left out: w0.5-d6 onnx-fp32 in onnxruntime: gate failed: [bold]logits[/]" in done.stdout


def test_nothing_that_counts_is_inconclusive(tmp_path: Path, make_record) -> None:
    append(tmp_path, make_record(gate="unscored", gate_reason="untrained weights"))
    done = run("pareto", "--results", tmp_path)
    assert done.exit_code == 4 and "gate unscored: untrained weights" in done.stderr
    assert (tmp_path / "pareto.csv").exists() and not (tmp_path / "pareto.png").exists()
    done = run("pareto", "--results", tmp_path, "--json")
    assert done.exit_code == 4 and json.loads(done.stdout)["groups"][0]["ship"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--results", "nowhere"], 2, "there is no results folder nowhere"),
        (["--target", "moon"], 4, "was measured on moon; measured targets: x86"),
        (["--plot", "figure.gif"], 2, "not as '.gif'"),
    ],
)
def test_pareto_says_what_is_wrong(results: Path, arguments, code, said) -> None:
    done = run("pareto", "--results", results, *arguments)
    assert done.exit_code == code and said in done.stderr and done.stderr.count("\n") == 1


def test_without_matplotlib_there_is_a_table_and_a_word_about_the_plot(results: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run("pareto", "--results", results)
    assert done.exit_code == 0 and "Ship" in done.stdout
    assert "no plot: matplotlib is not installed; it comes with: pip install 'edgevqa[report]'" in done.stderr
    done = run("pareto", "--results", results, "--plot", results / "wanted.png")
    assert done.exit_code == 3 and "edgevqa[report]" in done.stderr


def test_select_prints_the_artifact_first(results: Path) -> None:
    done = run("select", "--results", results, "--max-p90-ms", 1)
    assert done.exit_code == 0, done.output
    first, second, *_ = done.stdout.splitlines()
    said = json.loads(run("select", "--results", results, "--max-p90-ms", 1, "--json").stdout)
    assert first == said["record"]["artifact"] and said["record"]["p90_ms"] <= 1
    assert second.startswith(said["record"]["submodel"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--max-p90-ms", "0.0001"], 1, "the nearest is w0.25-d1"),
        (["--max-j", "1"], 4, "lack energy (no energy sensor is configured)"),
        (["--target", "moon"], 4, "nothing was measured on moon"),
        (["--max-mb", "0"], 2, "--max-mb"),
        (["--results", "nowhere"], 2, "there is no results folder"),
    ],
)
def test_select_says_why_not(results: Path, arguments, code, said) -> None:
    done = run("select", "--results", results, *arguments)
    assert done.exit_code == code and said in done.stderr and done.stdout == ""
    done = run("select", "--results", results, *arguments, "--json")
    assert done.exit_code == code and said in json.loads(done.stdout)["error"]


def test_select_needs_a_target_where_there_are_several(results: Path, make_record) -> None:
    append(results, make_record(target="arm64"))
    done = run("select", "--results", results)
    assert done.exit_code == 2 and "name a target with --target; measured were: arm64, x86" in done.stderr
    assert run("select", "--results", results, "--target", "arm64").exit_code == 0


def test_select_holds_the_limits_of_the_profile(results: Path, make_record, tmp_path: Path, monkeypatch) -> None:
    profiles = tmp_path / "config" / "targets"
    profiles.mkdir(parents=True)
    (profiles / "kiosk.toml").write_text(
        'name = "kiosk"\ndescription = "A kiosk"\nkind = "local"\nruntimes = ["onnxruntime"]\n[limits]\np90_ms = 1.0\n'
    )
    monkeypatch.setenv("EDGEVQA_CONFIG", str(tmp_path / "config"))
    append(results, make_record(target="kiosk", p90_ms=1.1))
    done = run("select", "--results", results, "--target", "kiosk")
    assert done.exit_code == 1 and "holds p90 <= 1 ms" in done.stderr
    assert run("select", "--results", results, "--target", "kiosk", "--max-p90-ms", 2).exit_code == 0


def test_select_takes_a_profile_by_path_and_says_when_there_is_none(results: Path, make_record, tmp_path: Path) -> None:
    append(results, make_record(target="kiosk", p90_ms=1.1))
    done = run("select", "--results", results, "--target", "kiosk")
    assert done.exit_code == 0 and "there is no profile of kiosk here, so only the options limit" in done.stderr
    profile = 'name = "kiosk"\ndescription = ""\nkind = "local"\nruntimes = ["onnxruntime"]\n[limits]\np90_ms = {}\n'
    path = tmp_path / "mine.toml"
    path.write_text(profile.format(1.0))
    done = run("select", "--results", results, "--target", path)
    assert done.exit_code == 1 and "none of 1 measured files on kiosk holds p90 <= 1 ms" in done.stderr
    (results / "targets").mkdir()
    (results / "targets" / "kiosk.toml").write_text(profile.format(1.05))
    done = run("select", "--results", results, "--target", "kiosk", "--json")
    assert done.exit_code == 1 and "holds p90 <= 1.05 ms" in json.loads(done.stdout)["error"]
