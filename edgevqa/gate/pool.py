"""Scores of many artifacts and submodels, in several processes or on several machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgevqa.data.score import Score
from edgevqa.devices import Target
from edgevqa.export.manifest import Artifact
from edgevqa.gate.answers import TORCH, Subject, answer_all
from edgevqa.gate.gate import quick_gates
from edgevqa.gate.parity import tolerance_for
from edgevqa.gate.score import Exam, Scoring, answered_here, answers_there, fp32_file, read_fp32, require, write_fp32
from edgevqa.gate.verdict import Verdict
from edgevqa.progress import Progress, Silent

if TYPE_CHECKING:
    from pathlib import Path

    from edgevqa.checkpoints import Checkpoint
    from edgevqa.gate.answers import Answers
    from edgevqa.slimming.plan import SubmodelPlan


@dataclass(frozen=True)
class Scored:
    """A checkpoint's submodel in PyTorch with its score.

    Attributes:
        model, submodel: their names.
        questions: what was asked, see `Exam.title`.
        score: percent, standard error and count.
    """

    model: str
    submodel: str
    questions: str
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable description, with the names that a verdict has."""
        score = {"questions": self.questions, **asdict(self.score)}
        return {"model": self.model, "submodel": self.submodel, "runtime": TORCH, "score": score}


def submodel_answers(
    checkpoint: Checkpoint,
    plans: Sequence[SubmodelPlan],
    exam: Exam,
    executor: Executor | None = None,
    *,
    keep_in: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Answers]:
    """Answers (n,) of fp32 PyTorch submodels by their names, see `edgevqa.gate.answers.answer_all`.

    Args:
        checkpoint: the slimmable model.
        plans: the submodels.
        exam: the questions.
        executor: see `answer_all`.
        keep_in: the folder of the model's artifacts, where the answers of each submodel then travel along.
        progress: told about the questions.

    Raises:
        InputError: the checkpoint is broken.
        MissingExtra, EnvironmentFailure: see `answer_all`.
    """
    files = {plan.name: None if keep_in is None else keep_in / plan.name / fp32_file(exam) for plan in plans}
    found = {plan.name: read_fp32(files[plan.name], checkpoint, plan, exam) for plan in plans}
    missing = [plan for plan in plans if found[plan.name] is None]
    subjects = [Subject.of_submodel(checkpoint, plan) for plan in missing]
    answers = require(answer_all(subjects, exam, executor, progress=progress)) if missing else []
    for plan, own in zip(missing, answers, strict=True):
        found[plan.name] = own
        write_fp32(files[plan.name], checkpoint, plan, exam, own)
    return {name: own for name, own in found.items() if own is not None}


def evaluate_submodels(
    checkpoint: Checkpoint,
    plans: Sequence[SubmodelPlan],
    exam: Exam,
    executor: Executor | None = None,
    *,
    progress: Progress | None = None,
) -> list[Scored]:
    """Scores of a checkpoint's submodels in PyTorch; raises what `submodel_answers` raises."""
    answers = submodel_answers(checkpoint, plans, exam, executor, progress=progress)
    scores = {name: exam.key.score(own["answer"]) for name, own in answers.items()}
    return [Scored(checkpoint.name, plan.name, exam.title, scores[plan.name]) for plan in plans]


def evaluate_artifacts(
    pairs: Sequence[tuple[Artifact, str]],
    exam: Exam,
    target: Target,
    fp32: Mapping[str, Answers],
    executor: Executor | None = None,
    *,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Score artifacts, each in a runtime, see `evaluate_artifact`; what was scored already is not scored again.

    Args:
        pairs: artifacts with the runtimes.
        exam: the questions.
        target: the device; what this interpreter cannot answer is answered there, one file at a time.
        fp32: answers of the fp32 PyTorch submodel by submodel, see `submodel_answers`.
        executor: see `edgevqa.gate.executors.open_executor`.
        progress: told about every artifact.

    Returns:
        the verdicts, in the order of the pairs.

    Raises:
        see `evaluate_artifact` and `answer_all`.
    """
    progress = progress or Silent()
    gated = quick_gates(pairs, target, progress=progress)
    near_tie = tolerance_for("fp32", target.tolerances)
    scorings = [
        Scoring(artifact, exam, fp32[artifact.manifest["submodel"]], verdict, near_tie)
        for (artifact, _), verdict in zip(pairs, gated, strict=True)
    ]
    found = [scoring.kept() if scoring.wanted else None for scoring in scorings]
    open_ones = [place for place, one in enumerate(found) if one is None and scorings[place].wanted]
    here = [place for place in open_ones if answered_here(pairs[place][1], target)]
    verdicts = {
        place: scoring.conclude(score) if (score := found[place]) is not None else scoring.verdict
        for place, scoring in enumerate(scorings)
        if place not in open_ones
    }
    subjects = [Subject.of_artifact(*pairs[place], target.threads) for place in here]
    answers = answer_all(subjects, exam, executor, progress=progress)
    for place, one in zip(here, answers, strict=True):
        verdicts[place] = scorings[place].conclude(one)
    for place in sorted(set(open_ones) - set(here)):
        artifact, runtime = pairs[place]
        verdicts[place] = scorings[place].conclude(answers_there(artifact, exam, runtime, target, progress=progress))
    return [verdicts[place] for place in range(len(pairs))]
