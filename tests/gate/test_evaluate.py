"""Scores over a test split and over a sample of it, and what they do to the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgevqa.checkpoints import Checkpoint
from edgevqa.data.dataset import Split
from edgevqa.devices import Target
from edgevqa.errors import InputError
from edgevqa.export.exporter import export_submodel
from edgevqa.export.manifest import Artifact
from edgevqa.gate import evaluate_artifact, quick_gate, read_verdict
from edgevqa.gate.answers import ANSWERED
from edgevqa.gate.score import Exam, fp32_answers
from tests.export import toy
from tests.gate.test_gate import Counting

pytestmark = pytest.mark.slow
Take = Callable[[str], Artifact]
COUNT = 600


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def split(model: Checkpoint) -> Split:
    """Questions of which the fp32 submodel answers four of five."""
    questions = toy.inputs(model.config, COUNT, seed=11)
    right = toy.logits(model.submodel(toy.plan(model)), questions).argmax(1)
    answers = np.where(np.arange(COUNT) % 5 == 0, (right + 1) % toy.ANSWERS, right)
    return Split(
        name="toys/test",
        texts=("what is it",) * COUNT,
        tokens=questions["question"],
        answers=answers.astype(np.int64),
        types=("query",) * COUNT,
        image_index=np.arange(COUNT),
        images={
            "regions": questions["regions"],
            "boxes": questions["boxes"],
            "region_count": (questions["region_mask"][:, 0, 0] == 0).sum(1),
        },
    )


def test_a_full_split_gives_the_final_score(artifact: Take, here: Target, split: Split, model: Checkpoint) -> None:
    one, exam = artifact("onnx-fp32"), Exam(split)
    fp32 = fp32_answers(model, toy.plan(model), exam)
    verdict = evaluate_artifact(one, exam, "onnxruntime", here, fp32=fp32)
    assert verdict.status == "passed" and verdict.final and verdict.score
    assert verdict.score.percent == pytest.approx(80.0) and verdict.score.count == COUNT and verdict.score.drop == 0
    assert verdict.score.standard_error == pytest.approx(100 * np.sqrt(0.8 * 0.2 / COUNT))
    assert read_verdict(one, "onnxruntime", "here") == verdict
    assert quick_gate(one, "onnxruntime", here) == verdict, "the quick gate does not take the score back"
    assert (fp32_answers(model, toy.plan(model), exam) == fp32).all()


def test_a_flipped_near_tie_does_not_fail_a_file_on_the_full_split(
    artifact: Take, here: Target, split: Split, model: Checkpoint
) -> None:
    """The same answer, lost on a question that PyTorch itself can hardly decide, and on one that it can."""
    one, exam = artifact("onnx-fp32"), Exam(split)
    fp32, flipped = fp32_answers(model, toy.plan(model), exam), 7
    fp32["answer"][flipped] = (fp32["answer"][flipped] + 1) % toy.ANSWERS
    right = split.answers.copy()
    right[flipped] = fp32["answer"][flipped]
    lost = Exam(dataclasses.replace(split, answers=right))
    for margin, status in ((5e-5, "passed"), (5e-3, "failed")):
        fp32["margin"][flipped] = margin
        verdict = evaluate_artifact(one, lost, "onnxruntime", here, fp32=fp32)
        assert verdict.status == status and verdict.score and verdict.score.drop == pytest.approx(100 / COUNT)


def test_a_sample_is_always_the_same_and_never_replaces_the_full_score(
    artifact: Take, here: Target, split: Split
) -> None:
    one, sample = artifact("onnx-int8"), Exam(split, 200)
    assert not sample.full and len(set(sample.indices.tolist())) == 200
    assert (sample.indices == Exam(split, 200).indices).all() and sample.id == Exam(split, 200).id
    assert Exam(split, COUNT).full and Exam(split, COUNT).id == Exam(split).id != sample.id
    verdict = evaluate_artifact(one, sample, "onnxruntime", here)
    assert verdict.score and verdict.score.count == 200 and not verdict.final
    assert verdict.score.questions == "200 questions of toys/test"
    final = evaluate_artifact(one, Exam(split), "onnxruntime", here)
    assert final.final and evaluate_artifact(one, sample, "onnxruntime", here) == final


def test_a_score_is_kept_while_nothing_changes(artifact: Take, here: Target, split: Split) -> None:
    one, exam = artifact("onnx-fp32"), Exam(split, 100)
    evaluate_artifact(one, exam, "onnxruntime", here)
    path = one.folder / "score-toys-test-100-onnxruntime-here.json"
    stamp = path.stat().st_mtime_ns
    evaluate_artifact(one, exam, "onnxruntime", here)
    assert path.stat().st_mtime_ns == stamp
    other = Exam(dataclasses.replace(split, answers=(split.answers + 1) % toy.ANSWERS), 100)
    evaluate_artifact(one, other, "onnxruntime", here)
    assert path.stat().st_mtime_ns != stamp


def test_too_low_a_score_fails_and_is_remembered(artifact: Take, here: Target, split: Split) -> None:
    """The reference questions alone would let the file through."""
    one, exam = artifact("onnx-int8"), Exam(split)
    assert quick_gate(one, "onnxruntime", here).status == "passed"
    all_right = np.zeros(COUNT, ANSWERED)
    all_right["answer"], all_right["margin"] = exam.labels, 1.0
    verdict = evaluate_artifact(one, exam, "onnxruntime", here, fp32=all_right)
    assert verdict.status == "failed" and "below fp32 PyTorch; 0.5 are allowed" in verdict.reason
    assert quick_gate(one, "onnxruntime", here).status == "failed"


def test_without_pytorch_the_score_in_the_manifest_counts(
    model: Checkpoint, here: Target, split: Split, tmp_path: Path
) -> None:
    for promised, status in ((80.0004, "passed"), (85.0, "failed")):
        scored = dataclasses.replace(model, scores={"w0.25-d1": promised})
        out = tmp_path / status
        one = export_submodel(scored, toy.plan(scored), formats=("onnx",), out=out)[0]
        assert evaluate_artifact(one, Exam(split), "onnxruntime", here).status == status


def test_the_runner_and_this_process_score_alike(artifact: Take, here: Target, split: Split) -> None:
    import sys

    one, exam, counting = artifact("tflite-int8"), Exam(split, 50), Counting()
    inside = evaluate_artifact(one, exam, "litert", here, transport=counting)
    assert counting.runs == 1, "the gate alone ran on the target"
    elsewhere = dataclasses.replace(here, name="elsewhere", python=sys.executable)
    outside = evaluate_artifact(one, exam, "litert", elsewhere, transport=counting)
    assert counting.runs == 3 and outside.score == inside.score


def test_untrained_weights_are_not_scored(here: Target, split: Split, tmp_path: Path) -> None:
    model = toy.checkpoint(tmp_path / "model", trained=False)
    one = export_submodel(model, toy.plan(model), formats=("onnx",), out=tmp_path / "out")[0]
    verdict = evaluate_artifact(one, Exam(split), "onnxruntime", here)
    assert verdict.status == "unscored" and verdict.score is None


def test_questions_of_other_data_are_refused(artifact: Take, here: Target, split: Split) -> None:
    with pytest.raises(InputError, match="answers questions of toys, not of scenes/test"):
        evaluate_artifact(
            artifact("onnx-fp32"), Exam(dataclasses.replace(split, name="scenes/test")), "onnxruntime", here
        )
