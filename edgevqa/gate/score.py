"""Scores of artifacts over a test split, or over one fixed sample of it, kept beside the artifact."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgevqa.data.dataset import Split
from edgevqa.data.score import AnswerKey
from edgevqa.devices import Target, Transport
from edgevqa.devices.jobs import run_logits
from edgevqa.errors import InputError, IntegrityError
from edgevqa.export.manifest import Artifact
from edgevqa.gate.answers import ANSWERED, Subject, answer_all, answers_of
from edgevqa.gate.compare import LIMITS, ScoreCheck, compare_answers, compare_score
from edgevqa.gate.gate import quick_gate
from edgevqa.gate.parity import tolerance_for
from edgevqa.gate.verdict import FAILED, Verdict, judge, now, verdict_path, write_verdict
from edgevqa.progress import Progress, Silent
from edgevqa.runtimes import get_runtime, importable
from edgevqa.storage import read_json, sha256_bytes, write_bytes, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgevqa.checkpoints import Checkpoint
    from edgevqa.checkpoints.data import DataOf
    from edgevqa.gate.answers import Answers
    from edgevqa.slimming.plan import SubmodelPlan

SAMPLE = 1000
SAMPLE_SEED = 20240229
SENT, CHUNK_BYTES = 2000, 64 << 20
"""Questions that are sent to a device at once, and what the inputs of questions may take in memory."""


@dataclass(frozen=True)
class Exam:
    """Questions to score with: a whole test split, or `count` of it, which are always the same.

    Args:
        split: the questions.
        count: how many of them; None takes all.
        data: where other processes find the split; without it they open the dataset that it is named after.
    """

    split: Split
    count: int | None = None
    data: DataOf | None = None

    @property
    def full(self) -> bool:
        """Whether these are all questions of the split."""
        return self.count is None or self.count >= len(self.split)

    @property
    def official(self) -> bool:
        """Whether these are questions of a test split, whose score becomes part of a verdict."""
        return self.split.name.endswith("/test")

    @cached_property
    def indices(self) -> NDArray[np.int64]:
        """The places of the questions in the split, ascending."""
        if self.full or self.count is None:
            return np.arange(len(self.split))
        chosen = np.random.default_rng(SAMPLE_SEED).choice(len(self.split), self.count, replace=False)
        return np.sort(chosen).astype(np.int64)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The right answers (n,)."""
        return np.asarray(self.split.answers[self.indices], np.int64)

    @cached_property
    def key(self) -> AnswerKey:
        """What each answer is worth to each of the questions."""
        return self.split.key.take(self.indices)

    @property
    def title(self) -> str:
        """The questions in words."""
        return self.split.name if self.full else f"{self.count} questions of {self.split.name}"

    @property
    def slug(self) -> str:
        """The questions as a part of a file name."""
        name = re.sub(r"[^A-Za-z0-9.]+", "-", self.split.name)
        return name if self.full else f"{name}-{self.count}"

    @cached_property
    def id(self) -> str:
        """sha256 of the questions, their pictures and their answers."""
        return hashlib.sha256(self.split.digest().encode() + self.indices.tobytes()).hexdigest()

    def at_once(self, most: int) -> int:
        """How many questions' inputs may be in memory: `most`, or fewer where they are large."""
        return max(1, min(most, CHUNK_BYTES // max(1, self.split.question_bytes)))


def fp32_answers(checkpoint: Checkpoint, plan: SubmodelPlan, exam: Exam) -> Answers:
    """The answers (n,) of the fp32 PyTorch submodel, for `evaluate_artifact`.

    Raises:
        MissingExtra: torch is not installed.
        InputError: the checkpoint is broken.
    """
    return require(answer_all([Subject.of_submodel(checkpoint, plan)], exam))[0]


def fp32_file(exam: Exam) -> str:
    """The name under which fp32 PyTorch's answers lie in a submodel's folder of artifacts."""
    return f"fp32-answers-{exam.slug}.json"


def read_fp32(path: Path | None, checkpoint: Checkpoint, plan: SubmodelPlan, exam: Exam) -> Answers | None:
    """The answers (n,) that `write_fp32` kept, or None when there are none, or of something else."""
    if path is None or not path.is_file():
        return None
    try:
        kept = read_json(path)
        if kept["identity"] == [checkpoint.sha256, plan.hash, exam.id] and len(kept["answers"]) == len(exam.indices):
            answers = np.empty(len(exam.indices), ANSWERED)
            answers["answer"], answers["margin"] = kept["answers"], kept["margins"]
            return answers
    except (InputError, KeyError, TypeError, ValueError):
        pass  # damaged: found again
    return None


def write_fp32(path: Path | None, checkpoint: Checkpoint, plan: SubmodelPlan, exam: Exam, answers: Answers) -> None:
    """Keep fp32 PyTorch's answers beside the artifacts, so that a board without torch can score them."""
    if path is not None:
        content = {
            "identity": [checkpoint.sha256, plan.hash, exam.id],
            "answers": answers["answer"].tolist(),
            "margins": answers["margin"].round(9).tolist(),
        }
        write_bytes(path, json.dumps(content, separators=(",", ":")).encode())


def require(found: Sequence[Answers | InputError]) -> list[Answers]:
    """The answers; raises the first InputError that stands in their place."""
    for one in found:
        if isinstance(one, InputError):
            raise one
    return [one for one in found if not isinstance(one, InputError)]


def answers_there(
    artifact: Artifact,
    exam: Exam,
    runtime: str,
    target: Target,
    *,
    transport: Transport | None = None,
    progress: Progress | None = None,
) -> Answers | InputError:
    """The answers that the runner on the target gives, or why there are none."""
    progress = progress or Silent()
    answers = []
    progress.start(f"scoring {artifact.name}", len(exam.indices))
    try:
        with tempfile.TemporaryDirectory(prefix="edgevqa-questions-") as folder:
            path = Path(folder) / "questions.npz"
            size = exam.at_once(SENT)
            for start in range(0, len(exam.indices), size):
                chunk = exam.indices[start : start + size]
                np.savez(path, **exam.split.model_inputs(chunk))  # type: ignore[arg-type]
                logits, _ = run_logits(target, artifact.file, path, runtime, transport=transport)
                if not np.isfinite(logits).all():
                    raise InputError(f"{exam.split.name} gives logits that are no finite numbers")
                answers.append(answers_of(logits))
                progress.step(artifact.name, len(chunk))
    except InputError as error:
        return error
    finally:
        progress.finish()
    return np.concatenate(answers)


def _check_answers(artifact: Artifact, exam: Exam) -> None:
    """Raise InputError when the questions are not of the data that the artifact was trained for."""
    task = artifact.manifest["task"]
    if task["dataset"] is not None and exam.split.name.partition("/")[0] != task["dataset"]:
        raise InputError(f"{artifact.name} answers questions of {task['dataset']}, not of {exam.split.name}")
    if int(exam.labels.max(initial=0)) >= len(artifact.manifest["answers"]):
        raise IntegrityError(f"{exam.split.name} has more answers than {artifact.name}")


@dataclass(frozen=True)
class Scoring:
    """An artifact on its way to a score.

    Args:
        artifact: what is scored.
        exam: the questions.
        fp32: answers of the fp32 PyTorch submodel to the same questions, see `fp32_answers`. Without them a full split
            is compared with the score in the manifest.
        verdict: of the quick gate.
        near_tie: margin of fp32 PyTorch up to which its answer may be lost, see `edgevqa.gate.compare`.
    """

    artifact: Artifact
    exam: Exam
    fp32: Answers | None
    verdict: Verdict
    near_tie: float

    def __post_init__(self) -> None:
        _check_answers(self.artifact, self.exam)

    @property
    def wanted(self) -> bool:
        """Whether it is scored at all: its weights are trained, and it answers as PyTorch does."""
        parity = self.verdict.parity
        return bool(self.artifact.manifest["task"]["trained"]) and parity is not None and parity.passed

    @property
    def _path(self) -> Path:
        verdict = self.verdict
        name = verdict_path(self.artifact, verdict.runtime, verdict.target, verdict.delegate).name
        return self.artifact.folder / name.replace("gate", f"score-{self.exam.slug}", 1)

    @property
    def _identity(self) -> str:
        verdict = self.verdict
        about: list[Any] = [self.artifact.sha256, verdict.runtime, verdict.runtime_version, verdict.target]
        about += [verdict.delegate] if verdict.delegate != "cpu" else []
        about += [self.exam.id]
        if self.fp32 is not None:
            about += [sha256_bytes(values.tobytes()) for values in (self.fp32["answer"], self._near_ties)]
        return sha256_bytes(json.dumps(about).encode())

    @property
    def _near_ties(self) -> NDArray[np.bool_]:
        assert self.fp32 is not None
        return np.asarray(self.fp32["margin"] <= self.near_tie)

    def kept(self) -> ScoreCheck | None:
        """The score that was found before, while nothing has changed."""
        if not self._path.is_file():
            return None
        try:
            kept = read_json(self._path)
            return ScoreCheck(**kept["score"]) if kept["identity"] == self._identity else None
        except (InputError, KeyError, TypeError):
            return None

    def conclude(self, found: Answers | InputError | ScoreCheck) -> Verdict:
        """The verdict with the score that answers amount to; a test split's is written beside the artifact."""
        if isinstance(found, InputError):
            verdict = replace(self.verdict, status=FAILED, reason=" ".join(str(found).split()), created=now())
            write_verdict(self.artifact, verdict)
            return verdict
        score = found if isinstance(found, ScoreCheck) else self._keep(found)
        verdict = self.verdict
        if self.exam.official and verdict.final and not score.full:
            return verdict
        status, reason = judge(self.artifact.manifest["task"]["trained"], verdict.parity, score)
        if (status, reason, score) != (verdict.status, verdict.reason, verdict.score):
            verdict = replace(verdict, status=status, reason=reason, score=score, created=now())
            if self.exam.official:
                write_verdict(self.artifact, verdict)
        return verdict

    def _keep(self, answers: Answers) -> ScoreCheck:
        limit, exam = LIMITS[self.artifact.manifest["precision"]], self.exam
        if self.fp32 is not None:
            score = compare_answers(
                answers["answer"],
                self.fp32["answer"],
                exam.key,
                questions=exam.title,
                limit=limit,
                full=exam.full,
                near_ties=self._near_ties,
            )
        else:
            known = self.artifact.manifest["task"]["fp32_score"] if exam.official else None
            score = compare_score(answers["answer"], exam.key, known, questions=exam.title, limit=limit, full=exam.full)
        write_json(self._path, {"identity": self._identity, "score": asdict(score), "created": now()})
        return score


def answered_here(runtime: str, target: Target) -> bool:
    """Whether a target's answers can be had in this interpreter, or in others of its kind."""
    here = target.kind == "local" and target.python is None and target.delegate == "cpu"
    return here and importable(get_runtime(runtime))


def evaluate_artifact(
    artifact: Artifact,
    exam: Exam,
    runtime: str,
    target: Target,
    *,
    fp32: Answers | None = None,
    transport: Transport | None = None,
    progress: Progress | None = None,
    again: bool = False,
) -> Verdict:
    """Score an artifact and put the score into its verdict; what was scored already is not scored again.

    On this machine it is answered in this process if that has the runtime, else by the runner on the target. The score
    of a full split is final; a sample's never replaces it. An artifact that fails the quick gate, or whose weights are
    untrained, is not scored. Questions of another split than the test split change nothing that is kept.

    Args:
        artifact: what is scored.
        exam: the questions.
        runtime: one of `edgevqa.runtimes.RUNTIMES`.
        target: the device.
        fp32: see `Scoring`.
        transport: a way to the target that is open already.
        progress: told about the questions.
        again: whether to score even if there is a score.

    Returns:
        the verdict, written beside the artifact.

    Raises:
        UsageError, IntegrityError, DeviceError, MissingExtra, EnvironmentFailure: see `quick_gate`.
        InputError: the questions are not of the artifact's data.
    """
    progress = progress or Silent()
    _check_answers(artifact, exam)
    verdict = quick_gate(artifact, runtime, target, transport=transport)
    scoring = Scoring(artifact, exam, fp32, verdict, tolerance_for("fp32", target.tolerances))
    if not scoring.wanted:
        return scoring.verdict
    found: Answers | InputError | ScoreCheck | None = None if again else scoring.kept()
    if found is None and answered_here(runtime, target):
        subject = Subject.of_artifact(artifact, runtime, target.threads)
        found = answer_all([subject], exam, again=again, progress=progress)[0]
    elif found is None:
        found = answers_there(artifact, exam, runtime, target, transport=transport, progress=progress)
    return scoring.conclude(found)
