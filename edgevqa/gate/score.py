"""Scores of artifacts over a test split, or over one fixed sample of it, kept beside the artifact."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
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
from edgevqa.gate.compare import LIMITS, ScoreCheck, compare_answers, compare_score
from edgevqa.gate.gate import quick_gate
from edgevqa.gate.verdict import FAILED, Verdict, judge, now, write_verdict
from edgevqa.progress import Progress, Silent
from edgevqa.runtimes import get_runtime, importable
from edgevqa.storage import read_json, sha256_bytes, write_bytes, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgevqa.checkpoints import Checkpoint
    from edgevqa.slimming.plan import SubmodelPlan

    Answers = NDArray[np.int64]

SAMPLE = 1000
SAMPLE_SEED = 20240229
CHUNK, SENT, CHUNK_BYTES = 256, 2000, 64 << 20
"""Questions whose inputs are in memory at once, here and when they are sent to a device, and what they may take."""


@dataclass(frozen=True)
class Exam:
    """Questions to score with: a whole test split, or `count` of it, which are always the same.

    Args:
        split: the questions.
        count: how many of them; None takes all.
    """

    split: Split
    count: int | None = None

    @property
    def full(self) -> bool:
        """Whether these are all questions of the split."""
        return self.count is None or self.count >= len(self.split)

    @cached_property
    def indices(self) -> NDArray[np.int64]:
        """The places of the questions in the split, ascending."""
        if self.full or self.count is None:
            return np.arange(len(self.split))
        chosen = np.random.default_rng(SAMPLE_SEED).choice(len(self.split), self.count, replace=False)
        return np.sort(chosen).astype(np.int64)

    @property
    def labels(self) -> Answers:
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

    def chunks(self, most: int = CHUNK) -> list[NDArray[np.int64]]:
        """The places of the questions in pieces of `most`, or of fewer where their inputs are large."""
        size = max(1, min(most, CHUNK_BYTES // max(1, self.split.question_bytes)))
        return [self.indices[start : start + size] for start in range(0, len(self.indices), size)]


def fp32_answers(checkpoint: Checkpoint, plan: SubmodelPlan, exam: Exam, keep_in: Path | None = None) -> Answers:
    """The answers (n,) of the fp32 PyTorch submodel, for `evaluate_artifact`.

    Args:
        checkpoint: the slimmable model.
        plan: the submodel.
        exam: the questions.
        keep_in: a folder to keep the answers in, such as the submodel's folder of artifacts.

    Raises:
        MissingExtra: torch is not installed.
        InputError: the checkpoint is broken.
    """
    identity = [checkpoint.sha256, plan.hash, exam.id]
    path = None if keep_in is None else keep_in / f"fp32-answers-{exam.slug}.json"
    if path is not None and path.is_file():
        try:
            kept = read_json(path)
            if kept["identity"] == identity and len(kept["answers"]) == len(exam.indices):
                return np.array(kept["answers"], np.int64)
        except (InputError, KeyError, TypeError, ValueError):
            pass  # damaged: found again
    module = checkpoint.submodel(plan)
    from edgevqa.training.evaluation import predict

    answers: Answers = predict(module, exam.split, indices=exam.indices).argmax(axis=1).astype(np.int64)
    if path is not None:
        content = {"identity": identity, "answers": answers.tolist()}
        write_bytes(path, json.dumps(content, separators=(",", ":")).encode())
    return answers


def _answers_here(artifact: Artifact, exam: Exam, runtime: str, threads: int, progress: Progress) -> Answers:
    from edgevqa.runtimes.session import open_session

    session = open_session(artifact.file, runtime, threads)
    answers = []
    for chunk in exam.chunks():
        inputs = exam.split.model_inputs(chunk)
        for row in range(len(chunk)):
            logits = session.run({name: values[row : row + 1] for name, values in inputs.items()})
            if not np.isfinite(logits).all():
                raise InputError(f"question {chunk[row]} of {exam.split.name} gives logits that are no finite numbers")
            answers.append(int(logits.argmax()))
        progress.step(artifact.name, len(chunk))
    return np.array(answers, np.int64)


def _answers_there(
    artifact: Artifact, exam: Exam, runtime: str, target: Target, transport: Transport | None, progress: Progress
) -> Answers:
    answers = []
    with tempfile.TemporaryDirectory(prefix="edgevqa-questions-") as folder:
        path = Path(folder) / "questions.npz"
        for chunk in exam.chunks(SENT):
            np.savez(path, **exam.split.model_inputs(chunk))  # type: ignore[arg-type]
            logits, _ = run_logits(target, artifact.file, path, runtime, transport=transport)
            if not np.isfinite(logits).all():
                raise InputError(f"{exam.split.name} gives logits that are no finite numbers")
            answers.append(logits.argmax(axis=1).astype(np.int64))
            progress.step(artifact.name, len(chunk))
    return np.concatenate(answers)


def _score_path(artifact: Artifact, exam: Exam, verdict: Verdict) -> Path:
    return artifact.folder / f"score-{exam.slug}-{verdict.runtime}-{verdict.target}.json"


def _identity(artifact: Artifact, exam: Exam, verdict: Verdict, fp32: Answers | None) -> str:
    about: list[Any] = [artifact.sha256, verdict.runtime, verdict.runtime_version, verdict.target, exam.id]
    about.append(None if fp32 is None else sha256_bytes(fp32.tobytes()))
    return sha256_bytes(json.dumps(about).encode())


def _read_score(path: Path, identity: str) -> ScoreCheck | None:
    if not path.is_file():
        return None
    try:
        kept = read_json(path)
        return ScoreCheck(**kept["score"]) if kept["identity"] == identity else None
    except (InputError, KeyError, TypeError):
        return None


def _check_answers(artifact: Artifact, exam: Exam) -> None:
    """Raise InputError when the questions are not of the data that the artifact was trained for."""
    task = artifact.manifest["task"]
    if task["dataset"] is not None and exam.split.name.partition("/")[0] != task["dataset"]:
        raise InputError(f"{artifact.name} answers questions of {task['dataset']}, not of {exam.split.name}")
    if int(exam.labels.max(initial=0)) >= len(artifact.manifest["answers"]):
        raise IntegrityError(f"{exam.split.name} has more answers than {artifact.name}")


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
    untrained, is not scored.

    Args:
        artifact: what is scored.
        exam: the questions.
        runtime: one of `edgevqa.runtimes.RUNTIMES`.
        target: the device.
        fp32: answers of the fp32 PyTorch submodel to the same questions, see `fp32_answers`. Without them a full split
            is compared with the score in the manifest.
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
    trained = artifact.manifest["task"]["trained"]
    if not trained or verdict.parity is None or not verdict.parity.passed:
        return verdict
    path, identity = _score_path(artifact, exam, verdict), _identity(artifact, exam, verdict, fp32)
    score = None if again else _read_score(path, identity)
    progress.start(f"scoring {artifact.name}", len(exam.indices))
    try:
        if score is None:
            try:
                if target.kind == "local" and target.python is None and importable(get_runtime(runtime)):
                    answers = _answers_here(artifact, exam, runtime, target.threads, progress)
                else:
                    answers = _answers_there(artifact, exam, runtime, target, transport, progress)
            except InputError as error:
                verdict = replace(verdict, status=FAILED, reason=" ".join(str(error).split()), created=now())
                write_verdict(artifact, verdict)
                return verdict
            score = _compare(artifact, exam, answers, fp32)
            write_json(path, {"identity": identity, "score": asdict(score), "created": now()})
        else:
            progress.step("scored already", len(exam.indices))
    finally:
        progress.finish()
    if verdict.final and not score.full:
        return verdict
    status, reason = judge(trained, verdict.parity, score)
    if (status, reason, score) != (verdict.status, verdict.reason, verdict.score):
        verdict = replace(verdict, status=status, reason=reason, score=score, created=now())
        write_verdict(artifact, verdict)
    return verdict


def _compare(artifact: Artifact, exam: Exam, answers: Answers, fp32: Answers | None) -> ScoreCheck:
    limit = LIMITS[artifact.manifest["precision"]]
    if fp32 is not None:
        return compare_answers(answers, fp32, exam.key, questions=exam.title, limit=limit, full=exam.full)
    known = artifact.manifest["task"]["fp32_score"]
    return compare_score(answers, exam.key, known, questions=exam.title, limit=limit, full=exam.full)
