"""What cannot be done is one clear line and an exit code, and nothing is lost or half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgevqa.checkpoints.native import BUNDLED
from tests.cli.conftest import SMALLEST, call, says
from tests.conftest import fill, seal

Empty = Callable[[], list[str]]
GRID = "it has width 0.25 with depth 1, 2, 4, 6; width 0.5 with depth 2, 4, 6; width 0.75 with depth 4, 6; width 1 with"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--width 0.3", f"(width 0.3, depth 6) is not a submodel of this model; {GRID}"),
        ("--width 0.3 --any", "width 0.5 with depth 1, 2, 4, 6"),
        ("--width 1 --depth 1", "; --any lifts the triangle filter, which left this pair out in training"),
        ("--width 1/4 --depth 3", f"(width 0.25, depth 3) is not a submodel of this model; {GRID}"),
        ("--width 25%", "'25%' is not a width: give a fraction of the full width, such as 0.25 or 1/4"),
        ("--width 2", "the width 2 is out of range"),
        ("--depth 9", "the depth 9 is out of range: the model has 6 layers"),
        ("--depth 0.5", "'0.5' is not a depth (a decimal fraction is ambiguous here): give a count of layers"),
        ("--depth 1/4", "the depth 1/4 is no whole number of layers: the model has 6"),
        ("--grid --width 1", "--grid is every submodel; leave out --width and --depth, or --grid"),
        ("--grid --depth 6", "--grid is every submodel"),
        ("--format torchscript", "there is no torchscript fp32; formats: onnx, tflite"),
        ("--precision int4", "there is no onnx int4; formats: onnx, tflite; precisions: fp32, fp16, int8"),
        ("--precision ,", "--precision needs at least one name"),
        ("--scheme magic", "there is no scheme 'magic'; known: auto, float"),
        ("--scheme static --format onnx", "the scheme 'static' does not exist for onnx in fp32"),
        ("--runtime onnxrt", "unknown runtime 'onnxrt'"),
        ("--runtime onnxruntime,lightrt", "unknown runtime 'lightrt' (known: onnxruntime, litert, tflite_runtime)"),
        ("--target x68", "unknown target 'x68'; did you mean x86?"),
        ("--model moon", "'moon' is neither a bundled model ("),
        ("--model .", "'.' is neither a bundled model ("),
        ("--depht 2", "No such option '--depht'"),
    ],
)
def test_exports_that_make_no_sense(empty: Empty, options: str, said: str) -> None:
    says(call("export", *options.split()), 2, said)
    assert empty() == []


def test_an_export_for_a_device_that_is_not_here_is_refused_before_the_work(empty: Empty, tmp_path: Path) -> None:
    profile = tmp_path / "board.toml"
    profile.write_text(
        'name = "board"\ndescription = "x"\nkind = "local"\nmachine = "riscv64"\nruntimes = ["onnxruntime"]\n'
    )
    result = call("export", "--target", profile)
    assert result.exit_code == 3 and "target board is riscv64, this machine is" in result.stderr
    assert empty() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--target arm6", "unknown target 'arm6'; did you mean arm64?"),
        ("--target ./none.toml", "the target profile none.toml does not exist"),
        ("--protocol qick", "unknown protocol 'qick' (known: smoke, quick, standard, sustained); did you mean quick?"),
        ("--runtime onnx", "unknown runtime 'onnx'"),
        ("--threads many", "--threads takes whole numbers such as 1 or 1,2, or sweep, not 'many'"),
        ("--threads 0", "threads 0: "),
        ("--threads 99999", "offers 1 to"),
    ],
)
@pytest.mark.slow
def test_benches_that_make_no_sense(workplace: Path, options: str, said: str) -> None:
    says(call("bench", *options.split()), 2, said)
    assert not (workplace / "results" / "records.jsonl").exists()


@pytest.mark.parametrize("command", ["bench", "evaluate"])
def test_folders_without_artifacts(empty: Empty, command: str) -> None:
    says(call(command), 2, "there are no artifacts in artifacts; make some with: edgevqa export --grid")
    says(call(command, "elsewhere"), 2, "there are no artifacts in elsewhere")
    assert empty() == []


def test_commands_that_need_results(empty: Empty) -> None:
    says(call("pareto"), 2, "there is no results folder results; `edgevqa bench` makes one")
    says(call("select"), 2, "there is no results folder results")
    assert empty() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["moons"], "there is no dataset 'moons'; there are scenes, scenes-pixels and easy-vqa"),
        (["--device", "tpu"], "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
        (["--seed", "-1"], "-1 is not in the range"),
        (["--teacher-steps", "0"], "0 is not in the range"),
    ],
)
def test_trainings_that_make_no_sense(empty: Empty, options: list[str], said: str) -> None:
    says(call("train", *options), 2, said)
    assert empty() == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it can be done")
def test_training_on_a_gpu_that_is_not_there(empty: Empty) -> None:
    says(call("train", "--device", "cuda"), 2, "PyTorch sees no GPU here; use --device cpu")
    assert empty() == []


def test_training_into_a_folder_of_something_else(empty: Empty) -> None:
    Path("my-scenes").mkdir()
    Path("my-scenes/holiday.jpg").write_bytes(b"precious")
    says(call("train", "scenes"), 2, "my-scenes holds something that is no checkpoint; it is not replaced")
    assert empty() == ["my-scenes", "my-scenes/holiday.jpg"]


def broken_checkpoint(folder: Path, kind: str) -> str:
    """Break the weights of a checkpoint; returns what an error should say."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    shape = list(weights["classifier.weight"].shape)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
        return f"{path} is not a whole safetensors file"
    if kind == "missing":
        del weights["classifier.weight"]
        said = f"{path} lacks the tensor 'classifier.weight', which should have the shape {shape}"
    else:
        weights["classifier.weight"] = torch.zeros(shape[0], 3)
        said = f"the tensor 'classifier.weight' has the shape [{shape[0]}, 3]; by config.json it should have {shape}"
    save_file(weights, path)
    return said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["truncated", "missing", "wrong shape"])
def test_an_export_from_broken_weights(empty: Empty, tmp_path: Path, kind: str) -> None:
    folder = Path(shutil.copytree(BUNDLED / "scenes", tmp_path / "broken"))
    said = broken_checkpoint(folder, kind)
    says(call("export", "--model", folder, *SMALLEST, "--format", "onnx"), 2, said)
    made = [name for name in empty() if name.endswith((".onnx", "manifest.json")) or ".tmp-" in name]
    assert made == []


@pytest.mark.slow
def test_a_model_file_that_does_not_match_its_manifest(
    workplace: Path, few_scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(few_scenes))
    path = workplace / "artifacts/scenes/w0.25-d2/onnx-fp32/model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    changed = "onnx-fp32/model.onnx has changed: its sha256 is not 'sha256' of manifest.json; export it again"
    says(call("evaluate", "--questions", 20, "--runtime", "onnxruntime"), 2, changed)

    result = call("bench", "--protocol", "smoke", "--runtime", "onnxruntime")
    says(result, 1, "1 of 1 failed the gate and were not timed; see above")
    assert changed in result.stderr and " failed " in result.stdout
    (record,) = map(json.loads, (workplace / "results/records.jsonl").read_text().splitlines())
    assert record["n"] == 0 and record["gate"] == "failed" and record["validity"].startswith("invalid: gate failed")
    assert json.loads(call("bench", "--protocol", "smoke", "--runtime", "onnxruntime", "--json").stdout)["records"] == [
        record
    ]


@pytest.mark.slow
def test_artifacts_for_another_runtime(workplace: Path) -> None:
    onnx = "artifacts/scenes/w0.25-d2/onnx-fp32"
    says(call("bench", onnx, "--runtime", "litert"), 2, "no artifact for litert among 1; export one, or name another")
    says(call("evaluate", onnx, "--runtime", "litert"), 2, "none of these 1 files is for litert; export one, or name")


@pytest.mark.slow
def test_artifacts_of_other_weights_are_not_scored_with_these(
    workplace: Path, tmp_path: Path, few_scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(few_scenes))
    folder = Path(shutil.copytree(BUNDLED / "scenes", tmp_path / "other"))
    weights = load_file(folder / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, folder / "model.safetensors")
    says(
        call("evaluate", "--model", folder, "--questions", 20),
        2, "was exported from other weights than", "name its checkpoint",
    )  # fmt: skip
    with np.load(folder / "reference" / "questions.npz") as stored:
        questions = {name: stored[name] for name in stored.files}
    np.savez(folder / "reference" / "questions.npz", **{**questions, "labels": questions["labels"][::-1]})
    says(
        call("export", "--model", folder, *SMALLEST),
        2, "holds artifacts of another checkpoint called 'scenes'; choose another --out",
    )  # fmt: skip


@pytest.mark.slow
def test_artifacts_of_several_models_have_no_one_checkpoint(workplace: Path) -> None:
    folder = Path(shutil.copytree("artifacts/scenes", "artifacts/other")) / "w0.25-d2"
    for manifest in folder.glob("*/manifest.json"):
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "model": "other"}))
    says(call("evaluate", "--model", "scenes"), 2, "one model; these artifacts are of other, scenes")
    says(call("evaluate", "artifacts/other"), 2, "'other' is neither a bundled model (")


@pytest.mark.slow
def test_artifacts_of_another_version_of_the_data_are_not_scored_with_this_one(workplace: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLED / "scenes", tmp_path / "older"))
    described = json.loads((folder / "config.json").read_text())
    described["dataset"]["version"] = 99
    (folder / "config.json").write_text(json.dumps(described))
    said = "was trained on version 99 of scenes; this edgevqa has version"
    says(call("evaluate", "--model", folder), 2, said)


@pytest.mark.slow
def test_an_export_onto_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_disk)
    options = (*SMALLEST, "--format", "onnx")
    says(call("export", *options), 3, "the disk is full; free some space or choose another folder")
    files = [path.relative_to(small_disk).as_posix() for path in small_disk.rglob("*") if path.is_file()]
    assert [name for name in files if not name.endswith("/.lock")] == ["artifacts/scenes/reference/questions.npz"]
    shutil.rmtree(small_disk / "artifacts")
    fill(small_disk)
    says(call("export", *options), 3, "artifacts", "the disk is full")


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [100 << 10, 300 << 10])
def test_an_export_where_files_may_not_grow(tmp_path: Path, child_environment: dict[str, str], allowed: int) -> None:
    """The limit hits the reference questions, or the model that another process writes."""
    script = (
        "import resource, runpy\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({allowed}, {allowed}))\n"
        "runpy.run_module('edgevqa', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", script, "export", *SMALLEST, "--format", "onnx"]
    environment = {**child_environment, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    says(done, 3, "cannot write", "the system allows no files of that size there; raise `ulimit -f`")
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert set(files) <= {".lock", "questions.npz"}


@pytest.mark.slow
def test_results_on_a_full_disk(measured: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before stays; with room again, the same commands go on."""
    results = small_disk / "results"
    shutil.copytree(measured / "results", results)
    records = results / "records.jsonl"
    records.write_text(records.read_text().splitlines(keepends=True)[0])
    assert call("pareto", "--results", results).exit_code == 4
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    monkeypatch.chdir(measured)
    ballast = fill(small_disk)
    says(call("bench", "--protocol", "smoke", "--results", results), 3, "the disk is full")
    says(call("pareto", "--results", results), 3, "pareto.", "the disk is full")
    assert {path: path.read_bytes() for path in before} == before
    ballast.unlink()
    done = call("bench", "--protocol", "smoke", "--results", results)
    assert done.exit_code == 0, done.output
    lines = records.read_text().splitlines(keepends=True)
    assert lines[0].encode() == before[records] and len(lines) == 2
    assert list(small_disk.rglob(".tmp-*")) == []


@pytest.mark.slow
def test_folders_that_can_only_be_read(
    measured: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, empty: Empty
) -> None:
    shutil.copytree(measured / "results", small_disk / "results")
    (small_disk / "artifacts").mkdir()
    seal(small_disk)
    says(call("export", "--out", small_disk / "artifacts"), 3, str(small_disk), "is read-only; choose another folder")
    says(call("pareto", "--results", small_disk / "results"), 3, str(small_disk), "is read-only")
    says(call("train", "--out", small_disk / "toys"), 3, str(small_disk), "is read-only")
    assert empty() == []
    monkeypatch.chdir(measured)
    says(call("bench", "--results", small_disk / "new"), 3, str(small_disk), "is read-only")
