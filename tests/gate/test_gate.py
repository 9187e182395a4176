"""The quick gate with real files in real runtimes: what passes, what must not, and what is remembered."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevqa.checkpoints import Checkpoint
from edgevqa.devices import Target
from edgevqa.devices.local import LocalTransport
from edgevqa.errors import EnvironmentFailure, GateFailed, IntegrityError, UsageError
from edgevqa.export.exporter import export_submodel
from edgevqa.export.manifest import Artifact, load_artifact
from edgevqa.gate import Verdict, quick_gate, quick_gates, read_verdict
from edgevqa.gate.gate import computed_in_fp16, delegate_of
from edgevqa.gate.parity import parity
from edgevqa.runtimes import find_python
from edgevqa.storage import sha256_file
from tests.export import toy

pytestmark = pytest.mark.slow
Take = Callable[[str], Artifact]


class Counting:
    """This machine, with a count of what was run on it."""

    def __init__(self) -> None:
        self.runs, self.local = 0, LocalTransport()

    def run(self, *arguments: Any, **more: Any) -> Any:
        self.runs += 1
        return self.local.run(*arguments, **more)


def replace_file(artifact: Artifact, content: bytes) -> Artifact:
    """Another model file, to which the manifest agrees."""
    artifact.file.write_bytes(content)
    path = artifact.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest |= {"sha256": sha256_file(artifact.file), "file_bytes": len(content)}
    path.write_text(json.dumps(manifest))
    return load_artifact(artifact.folder)


def edit_onnx(artifact: Artifact, change: Callable[[Any], None]) -> Artifact:
    import onnx

    model = onnx.load(artifact.file)
    change(model)
    return replace_file(artifact, model.SerializeToString())


class Wrong(Counting):
    """A device whose runtime computes something else."""

    def run(self, *arguments: Any, **more: Any) -> Any:
        completed = super().run(*arguments, **more)
        path = completed.files["logits.npy"]
        np.save(path, np.load(path) + np.linspace(0, 5, np.load(path).shape[1], dtype=np.float32))
        return completed


def test_right_on_the_host_and_wrong_on_the_device_is_reported_as_that(artifact: Take, here: Target) -> None:
    device = dataclasses.replace(here, name="pi", kind="ssh", host="pi", python=sys.executable)
    one = artifact("onnx-fp32")
    verdict = quick_gate(one, "onnxruntime", device, transport=Wrong())
    assert verdict.status == "failed"
    assert "it is right on this machine (onnxruntime 1." in verdict.reason
    assert "so the device is at fault" in verdict.reason
    assert quick_gate(one, "onnxruntime", device, transport=Counting(), again=True).status == "passed"


@pytest.mark.parametrize(
    ("name", "runtime"),
    [(f"onnx-{precision}", "onnxruntime") for precision in ("fp32", "fp16", "int8")]
    + [(f"tflite-{kind}", "litert") for kind in ("fp32", "fp16", "int8", "int8-weight-only")],
)
def test_a_right_file_passes(artifact: Take, here: Target, name: str, runtime: str) -> None:
    verdict = quick_gate(artifact(name), runtime, here)
    assert verdict.status == "passed", verdict.reason
    assert verdict.parity and verdict.parity.count == 100 and verdict.parity.relative is not None
    assert verdict.score and verdict.score.count == 100 and not verdict.final and verdict.may_be_timed
    assert verdict.runtime_version
    verdict.require()


def test_the_verdict_lies_beside_the_artifact_and_is_reused(artifact: Take, here: Target) -> None:
    one, counting = artifact("onnx-fp32"), Counting()
    verdict = quick_gate(one, "onnxruntime", here, transport=counting)
    written = json.loads((one.folder / "gate-onnxruntime-here.json").read_text())
    assert written["artifact_sha256"] == one.sha256 and written["status"] == "passed"
    assert read_verdict(one, "onnxruntime", "here") == verdict
    assert quick_gate(one, "onnxruntime", here, transport=counting) == verdict and counting.runs == 1
    assert read_verdict(one, "onnxruntime", "elsewhere") is None
    quick_gate(one, "onnxruntime", here, transport=counting, again=True)
    assert counting.runs == 2
    quick_gate(one, "onnxruntime", here, transport=counting, runtime_version=verdict.runtime_version)
    assert counting.runs == 2
    quick_gate(one, "onnxruntime", here, transport=counting, runtime_version="another")
    assert counting.runs == 3
    quick_gate(one, "onnxruntime", dataclasses.replace(here, tolerances={"fp32": 0.5}), transport=counting)
    quick_gate(one, "onnxruntime", dataclasses.replace(here, threads=2), transport=counting)
    assert counting.runs == 5
    (one.folder / "gate-onnxruntime-here.json").write_text("{")
    assert read_verdict(one, "onnxruntime", "here") is None


def test_a_verdict_about_another_file_does_not_count(artifact: Take, here: Target) -> None:
    one = artifact("onnx-fp32")
    quick_gate(one, "onnxruntime", here)
    other = edit_onnx(one, lambda model: setattr(model, "producer_name", "someone else"))
    assert read_verdict(other, "onnxruntime", "here") is None


def test_the_file_of_another_model_fails(artifact: Take, here: Target, tmp_path: Path) -> None:
    stranger = toy.checkpoint(tmp_path / "other", seed=5)
    made = export_submodel(stranger, toy.plan(stranger), formats=("onnx",), out=tmp_path / "out")
    one = replace_file(artifact("onnx-fp32"), made[0].file.read_bytes())
    verdict = quick_gate(one, "onnxruntime", here)
    assert verdict.status == "failed" and not verdict.may_be_timed
    assert "the logits differ by up to" in verdict.reason and "answers differ" in verdict.reason
    with pytest.raises(GateFailed, match=r"onnx-fp32 failed the gate in onnxruntime on here: the logits differ"):
        verdict.require()
    assert quick_gate(one, "onnxruntime", here).status == "failed", "a failure is remembered"


def test_slightly_wrong_weights_fail_fp32(artifact: Take, here: Target) -> None:
    def change(model: Any) -> None:
        from onnx import numpy_helper

        largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        largest.raw_data = (numpy_helper.to_array(largest) * np.float32(1.02)).tobytes()

    verdict = quick_gate(edit_onnx(artifact("onnx-fp32"), change), "onnxruntime", here)
    assert verdict.status == "failed" and "of their range; 0.01 % is allowed" in verdict.reason


def test_logits_that_are_no_numbers_fail(artifact: Take, here: Target) -> None:
    def change(model: Any) -> None:
        for tensor in model.graph.initializer:
            if list(tensor.dims) == [toy.ANSWERS]:
                tensor.raw_data = np.full(toy.ANSWERS, np.nan, np.float32).tobytes()

    verdict = quick_gate(edit_onnx(artifact("onnx-fp32"), change), "onnxruntime", here)
    assert verdict.status == "failed" and verdict.reason == (
        "100 of 100 questions give logits that are no finite numbers"
    )


@pytest.mark.parametrize(("name", "runtime"), [("onnx-fp32", "onnxruntime"), ("tflite-fp32", "litert")])
def test_a_file_that_the_runtime_refuses_fails(artifact: Take, here: Target, name: str, runtime: str) -> None:
    one = artifact(name)
    verdict = quick_gate(replace_file(one, one.file.read_bytes()[:1000]), runtime, here)
    assert verdict.status == "failed" and "cannot open" in verdict.reason and verdict.parity is None
    assert "\n" not in verdict.reason and str(one.file) in verdict.reason


def test_a_corrupted_file_is_never_run(artifact: Take, here: Target) -> None:
    one, counting = artifact("onnx-fp32"), Counting()
    quick_gate(one, "onnxruntime", here)
    one.file.write_bytes(one.file.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match=r"model\.onnx has changed"):
        quick_gate(one, "onnxruntime", here, transport=counting)
    assert counting.runs == 0


def test_an_artifact_for_another_runtime_is_refused(artifact: Take, here: Target) -> None:
    with pytest.raises(UsageError, match=r"litert opens \.tflite files; use onnxruntime"):
        quick_gate(artifact("onnx-fp32"), "litert", here)


def test_each_runtime_is_gated_by_itself(artifact: Take) -> None:
    """LiteRT's dynamic int8 file runs in tflite-runtime 2.14 without an error, and with wrong logits."""
    try:
        find_python("tflite_runtime")
    except EnvironmentFailure as error:
        pytest.skip(f"needs an environment with tflite-runtime: {error}")
    target = Target("old", "this machine", "local", ("tflite_runtime",))
    caught = quick_gate(artifact("tflite-int8"), "tflite_runtime", target)
    assert caught.status == "failed" and "the logits differ" in caught.reason
    for name in ("tflite-fp32", "tflite-fp16", "tflite-int8-weight-only"):
        assert quick_gate(artifact(name), "tflite_runtime", target).status == "passed"


def test_untrained_weights_are_unscored(here: Target, tmp_path: Path) -> None:
    model = toy.checkpoint(tmp_path / "model", trained=False)
    one = export_submodel(model, toy.plan(model), formats=("onnx",), out=tmp_path / "out")[0]
    verdict = quick_gate(one, "onnxruntime", here)
    assert (verdict.status, verdict.reason, verdict.score) == ("unscored", "the weights are untrained", None)
    assert verdict.may_be_timed


def test_questions_without_answers_are_unscored(here: Target, tmp_path: Path) -> None:
    model = toy.checkpoint(tmp_path / "model", labels=False)
    one = export_submodel(model, toy.plan(model), formats=("onnx",), out=tmp_path / "out")[0]
    verdict = quick_gate(one, "onnxruntime", here)
    assert verdict.status == "unscored" and verdict.reason == "there are no questions with answers"


def test_a_verdict_that_cannot_be_written_is_an_error(artifact: Take, here: Target) -> None:
    one = artifact("onnx-fp32")
    (one.folder / "gate-onnxruntime-here.json").mkdir()
    with pytest.raises(EnvironmentFailure, match="gate-onnxruntime-here"):
        quick_gate(one, "onnxruntime", here)


def test_many_gates_keep_their_order(artifact: Take, here: Target) -> None:
    names = ["onnx-int8", "onnx-fp32", "onnx-fp16"]
    verdicts = quick_gates([(artifact(name), "onnxruntime") for name in names], here)
    assert [verdict.artifact for verdict in verdicts] == [f"toy/w0.25-d1/{name}" for name in names]
    assert {verdict.status for verdict in verdicts} == {"passed"}


def test_a_gate_among_many_that_cannot_run_is_raised(artifact: Take, here: Target) -> None:
    one = artifact("onnx-fp32")
    shutil.rmtree(one.folder.parents[1] / "reference")
    with pytest.raises(IntegrityError, match=r"questions\.npz is missing"):
        quick_gates([(one, "onnxruntime")], here)


def test_a_verdict_is_read_as_it_was_written(artifact: Take, here: Target) -> None:
    verdict = quick_gate(artifact("onnx-int8"), "onnxruntime", here)
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


def test_the_reference_model_is_the_pytorch_submodel(artifact: Take, model: Checkpoint) -> None:
    one = artifact("onnx-fp32")
    with np.load(one.reference_inputs) as stored:
        questions = {name: stored[name] for name in stored.files}
    expected = toy.logits(model.submodel(toy.plan(model)), questions)
    assert np.allclose(one.reference_logits(), expected, atol=1e-5)


def test_a_gpu_that_computes_in_fp16_is_named_as_a_reason() -> None:
    reference = np.eye(4, 5, dtype=np.float32)
    gpu = Target(name="gpu", description="", kind="local", runtimes=("litert",), delegate="gpu")
    for difference, expected in ((1e-3, True), (1e-5, False), (0.1, False)):
        assert computed_in_fp16(parity(reference, reference + np.float32(difference), 1e-4), gpu) is expected
    found = parity(reference, reference + np.float32(1e-3), 1e-4)
    for other in (dataclasses.replace(gpu, delegate="cpu"), dataclasses.replace(gpu, enforce_fp32=True)):
        assert not computed_in_fp16(found, other)
    assert delegate_of(dataclasses.replace(gpu, allow_fallback=True)) != delegate_of(gpu) == "gpu"
