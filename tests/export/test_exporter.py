"""Exports: what is skipped, what is made again, and what is left when something goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevqa.checkpoints import Checkpoint, load_checkpoint
from edgevqa.errors import EnvironmentFailure, InputError, UsageError
from edgevqa.export.exporter import export_submodel
from edgevqa.export.manifest import find_artifacts, load_artifact
from edgevqa.export.pool import export_many
from edgevqa.storage import folder_lock
from tests.export import toy

ROOT = Path(__file__).parents[2]


class Steps:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.total, self.done, self.titles = 0, 0, list[str]()

    def start(self, description: str, total: int) -> None:
        self.total = total

    def step(self, description: str, amount: int = 1) -> None:
        self.done += amount
        if amount:
            self.titles.append(description)

    def finish(self) -> None:
        pass


def onnx(model: Checkpoint, out: Path, **more: Any) -> Any:
    return export_submodel(model, toy.plan(model), formats=("onnx",), out=out, **more)


def leftovers(out: Path) -> list[str]:
    return [str(path) for path in out.rglob("*") if path.name.startswith(".tmp-")]


def stamps(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_second_export_changes_nothing(model: Checkpoint, tmp_path: Path) -> None:
    steps = Steps()
    first = onnx(model, tmp_path, precisions=("fp32", "int8"), progress=steps)
    assert [artifact.folder.name for artifact in first] == ["onnx-fp32", "onnx-int8"]
    assert steps.done == steps.total == 2
    before = stamps(tmp_path)
    steps = Steps()
    second = onnx(model, tmp_path, precisions=("fp32", "int8"), progress=steps)
    assert stamps(tmp_path) == before and steps.titles == ["already there"] and steps.done == 2
    assert [artifact.sha256 for artifact in second] == [artifact.sha256 for artifact in first]
    assert [artifact.folder.name for artifact in find_artifacts(tmp_path, verify=True)] == ["onnx-fp32", "onnx-int8"]


def test_only_what_is_missing_or_broken_is_made(model: Checkpoint, tmp_path: Path) -> None:
    first = onnx(model, tmp_path, precisions=("fp32",))[0]
    made = {path: stamp for path, stamp in stamps(tmp_path).items() if "onnx-fp32" in path}
    onnx(model, tmp_path, precisions=("int8",))
    assert made.items() <= stamps(tmp_path).items(), "int8 is derived from the fp32 file that is there"
    broken = tmp_path / "toy" / "w0.25-d1" / "onnx-int8" / "model.onnx"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-10])
    (broken.parent / "gate-onnxruntime-here.json").write_text("a verdict about the broken file")
    onnx(model, tmp_path, precisions=("int8",))
    assert broken.read_bytes() == whole
    assert not (broken.parent / "gate-onnxruntime-here.json").exists()
    assert load_artifact(first.folder).sha256 == first.sha256


def test_int8_alone_leaves_no_fp32_file(model: Checkpoint, tmp_path: Path) -> None:
    onnx(model, tmp_path, precisions=("int8",))
    assert [artifact.folder.name for artifact in find_artifacts(tmp_path)] == ["onnx-int8"]
    assert leftovers(tmp_path) == []


def test_other_weights_make_other_artifacts(model: Checkpoint, tmp_path: Path) -> None:
    first = onnx(model, tmp_path / "out")[0]
    before = first.reference_logits()
    folder = tmp_path / "other"
    shutil.copytree(model.folder, folder)
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] += 1.0
    save_file(weights, folder / "model.safetensors")
    second = onnx(load_checkpoint(folder), tmp_path / "out")[0]
    assert second.manifest["model_sha256"] != first.manifest["model_sha256"]
    assert np.allclose(second.reference_logits(), before + 1.0, atol=1e-5)


def test_another_checkpoint_of_the_same_name_is_refused(model: Checkpoint, tmp_path: Path) -> None:
    onnx(model, tmp_path / "out")
    before = stamps(tmp_path / "out")
    other = toy.checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(UsageError, match="artifacts of another checkpoint called 'toy'; choose another --out"):
        onnx(other, tmp_path / "out")
    assert stamps(tmp_path / "out") == before


def test_two_exports_into_one_folder_at_once(model: Checkpoint, tmp_path: Path) -> None:
    with folder_lock(tmp_path / "toy" / "w0.25-d1", "export"):
        with pytest.raises(EnvironmentFailure, match=r"another edgevqa process is using .*w0\.25-d1 \(export\)"):
            onnx(model, tmp_path)
        with pytest.raises(EnvironmentFailure, match="another edgevqa process is using"):
            export_many(model, [toy.plan(model)], formats=("onnx",), out=tmp_path)
    assert find_artifacts(tmp_path) == []
    assert onnx(model, tmp_path)


def test_a_file_in_the_way_of_the_output_folder(model: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(EnvironmentFailure, match="out"):
        onnx(model, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_output_folder(model: Checkpoint, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(EnvironmentFailure, match="no permission to write there; choose another folder"):
            onnx(model, tmp_path / "out")
    finally:
        tmp_path.chmod(0o755)


SCRIPT = """
import resource, sys
from pathlib import Path
from edgevqa.checkpoints import load_checkpoint
from edgevqa.errors import EdgeVQAError
from edgevqa.export.exporter import export_submodel
from tests.export import toy

model = load_checkpoint(sys.argv[1])
if len(sys.argv) > 3:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    export_submodel(model, toy.plan(model), formats=("onnx",), precisions=("fp32", "int8"), out=Path(sys.argv[2]))
except EdgeVQAError as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(error.exit_code)
"""


def script(model: Checkpoint, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-c", SCRIPT, str(model.folder), str(out), *more]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [4000, 40_000])
def test_a_full_disk_leaves_nothing_half_written(model: Checkpoint, tmp_path: Path, limit: int) -> None:
    """The limit of a file's size stands for the full disk; the larger one lets the reference questions through."""
    done = subprocess.run(
        script(model, tmp_path / "out", str(limit)), cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("EnvironmentFailure: cannot write ") and "out" in done.stdout
    assert done.stdout.count("\n") == 1
    assert find_artifacts(tmp_path / "out") == [] and leftovers(tmp_path / "out") == []
    assert len(onnx(model, tmp_path / "out", precisions=("fp32", "int8"))) == 2


@pytest.mark.slow
def test_a_killed_export_leaves_nothing_broken(model: Checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for wait_for in ("toy/w0.25-d1/.tmp-*", "toy/w0.25-d1/onnx-fp32/manifest.json"):
        process = subprocess.Popen(script(model, out), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 200
        while process.poll() is None and not list(out.glob(wait_for)) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        process.wait()
        for artifact in find_artifacts(out, verify=True):
            assert artifact.manifest["file"] == "model.onnx"
    assert len(onnx(model, out, precisions=("fp32", "int8"))) == 2
    assert leftovers(out) == []


def test_broken_reference_questions_are_named(model: Checkpoint, tmp_path: Path) -> None:
    shutil.copytree(model.folder, tmp_path / "copy")
    copy = load_checkpoint(tmp_path / "copy")
    path = copy.reference_path
    with np.load(path) as stored:
        questions = dict(stored)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"questions\.npz is not readable"):
        onnx(copy, tmp_path / "out")
    np.savez(path, **{**questions, "question": questions["question"] + 100})
    with pytest.raises(InputError, match=r"a question holds the word 12\d; there are 30 words"):
        onnx(copy, tmp_path / "out")
    np.savez(path, **{**questions, "boxes": questions["boxes"][:, :, :4]})
    with pytest.raises(InputError, match=r"input 'boxes' is float32 \[100, 4, 4\]; it should be"):
        onnx(copy, tmp_path / "out")
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        onnx(copy, tmp_path / "out")


def test_weights_that_give_no_numbers_are_not_exported(model: Checkpoint, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(model.folder, tmp_path / "copy")
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    weights["classifier.bias"][:] = np.nan
    save_file(weights, tmp_path / "copy" / "model.safetensors")
    with pytest.raises(InputError, match="gives logits that are no numbers"):
        onnx(load_checkpoint(tmp_path / "copy"), tmp_path / "out")


def test_calibration_must_fit_the_model(model: Checkpoint, tmp_path: Path) -> None:
    static: dict[str, Any] = {"formats": ("tflite",), "precisions": ("int8",), "schemes": "static", "out": tmp_path}
    questions = toy.inputs(model.config, 3)
    del questions["boxes"]
    with pytest.raises(InputError, match="the calibration lacks the input 'boxes'"):
        export_submodel(model, toy.plan(model), calibration=questions, **static)
    with pytest.raises(UsageError, match="there is no dataset 'toys'"):
        export_submodel(model, toy.plan(model), **static)


@pytest.mark.slow
def test_many_submodels_in_processes_of_their_own(model: Checkpoint, tmp_path: Path) -> None:
    plans = [toy.plan(model), toy.plan(model, "1/4", 2), toy.plan(model, "1/2", 2)]
    steps = Steps()
    made = export_many(
        model,
        plans,
        formats=("onnx",),
        precisions=("fp32", "int8"),
        out=tmp_path,
        progress=steps,
        command="edgevqa demo",
    )
    assert [artifact.manifest["submodel"] for artifact in made] == [plan.name for plan in plans for _ in range(2)]
    assert steps.total == steps.done == 6 and "w0.5-d2 onnx-int8" in steps.titles
    assert {artifact.manifest["command"] for artifact in made} == {"edgevqa demo"}
    here = onnx(model, tmp_path / "here")[0]
    assert here.sha256 == made[0].sha256, "a process of its own makes the same bytes"
    before = stamps(tmp_path)
    (made[0].folder.parent / ".tmp-killed").mkdir()  # between the last file and the tidying
    steps = Steps()
    again = export_many(model, plans, formats=("onnx",), precisions=("fp32", "int8"), out=tmp_path, progress=steps)
    assert [artifact.sha256 for artifact in again] == [artifact.sha256 for artifact in made]
    assert stamps(tmp_path) == before and steps.titles == ["already there"] and leftovers(tmp_path) == []


MANY = """
import sys
from pathlib import Path
from edgevqa.checkpoints import load_checkpoint
from edgevqa.export.pool import export_many
from edgevqa.slimming.grid import grid

model = load_checkpoint(sys.argv[1])
export_many(model, grid(model.config, model.slimming), formats=("onnx",), out=Path(sys.argv[2]))
"""


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, as far as they still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_an_interrupted_export_ends_its_processes_and_goes_on(model: Checkpoint, tmp_path: Path, name: str) -> None:
    import signal

    command = [sys.executable, "-c", MANY, str(model.folder), str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while (
        process.poll() is None
        and not list(tmp_path.glob("toy/*/onnx-fp32/manifest.json"))
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    workers = descendants(process.pid)
    assert workers, "the export ended before it could be interrupted"
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=60) != 0
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, workers))
    finished = {artifact.name: artifact.sha256 for artifact in find_artifacts(tmp_path, verify=True)}
    assert 0 < len(finished) < 10
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    artifacts = find_artifacts(tmp_path, verify=True)
    assert len(artifacts) == 10 and leftovers(tmp_path) == []
    assert finished.items() <= {artifact.name: artifact.sha256 for artifact in artifacts}.items()


@pytest.mark.slow
def test_what_a_worker_reports_is_raised_here(model: Checkpoint, tmp_path: Path) -> None:
    shutil.copytree(model.folder, tmp_path / "copy")
    copy = load_checkpoint(tmp_path / "copy")
    weights = copy.weights_path.read_bytes()
    copy.weights_path.write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match=r"model\.safetensors is not a whole safetensors file"):
        export_many(copy, [toy.plan(copy)], formats=("onnx",), out=tmp_path / "out")
    assert leftovers(tmp_path / "out") == []


def test_the_manifest_says_how_it_was_made(model: Checkpoint, tmp_path: Path) -> None:
    manifest = json.loads((onnx(model, tmp_path, command="a command")[0].folder / "manifest.json").read_text())
    assert manifest["command"] == "a command" and manifest["created"].endswith("+00:00")
    assert manifest["versions"].keys() >= {"edgevqa", "exporter", "torch", "onnx", "onnxsim", "onnxruntime"}
    assert manifest["plan"] == toy.plan(model).to_dict() and manifest["method"] == "bst"
