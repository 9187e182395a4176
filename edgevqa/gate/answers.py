"""Answers of files and submodels to the questions of a split, piece by piece, in any number of processes.

What was answered is kept in the cache folder, so that a stopped evaluation goes on where it was.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgevqa import __version__
from edgevqa.data.dataset import Split, load_dataset
from edgevqa.errors import EnvironmentFailure, InputError, UsageError
from edgevqa.gate.parity import margins
from edgevqa.progress import Progress, Silent
from edgevqa.runtimes import get_runtime
from edgevqa.runtimes.runner import package_version
from edgevqa.storage import cache_folder, write_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgevqa.checkpoints import Checkpoint
    from edgevqa.export.manifest import Artifact
    from edgevqa.gate.score import Exam
    from edgevqa.slimming.plan import SubmodelPlan

    Answers = NDArray[np.void]
    """(n,) of `ANSWERED`."""

ANSWERED = np.dtype([("answer", np.int64), ("margin", np.float64)])
"""An answer's place, and by how much it leads the second best, see `edgevqa.gate.parity.margins`."""
TORCH = "torch"
CHUNK = 256
"""Questions whose inputs are in memory at once, or fewer where they are large: one task."""
BATCH = 64
"""Questions that PyTorch answers at once; exported files take one."""
SAVE_S = 10.0
UNANSWERED = -1


@dataclass(frozen=True)
class Subject:
    """What answers: an exported file in a runtime, or a checkpoint's submodel in PyTorch.

    Args:
        path: the file, or the checkpoint's folder; other machines see it under the same path.
        sha256: of the file, or of the checkpoint's weights.
        runtime: one of `edgevqa.runtimes.RUNTIMES`, or `TORCH`.
        version: of the runtime's package; other machines must have the same.
        plan: of the submodel, as JSON; empty for a file.
        threads: how many the runtime computes with.
    """

    path: Path
    sha256: str
    runtime: str
    version: str | None
    plan: str = ""
    threads: int = 1

    @classmethod
    def of_artifact(cls, artifact: Artifact, runtime: str, threads: int = 1) -> Subject:
        """A file in a runtime that this interpreter has."""
        version = package_version(get_runtime(runtime).package)
        return cls(artifact.file.absolute(), artifact.sha256, runtime, version, threads=threads)

    @classmethod
    def of_submodel(cls, checkpoint: Checkpoint, plan: SubmodelPlan, threads: int = 1) -> Subject:
        """A checkpoint's submodel."""
        described = json.dumps(plan.to_dict(), sort_keys=True)
        folder = checkpoint.folder.absolute()
        return cls(folder, checkpoint.sha256, TORCH, package_version(TORCH), described, threads)


@dataclass(frozen=True)
class Source:
    """The questions, in words that another process understands.

    Args:
        dataset, split: their names.
        fingerprint: of the questions that are meant.
        checkpoint: folder of the model, where its questions are in its own words or of a user's own data; other
            machines see it under the same path, and the data, too.
        folder: where data of a user's own is now, when it was moved.
    """

    dataset: str
    split: str
    fingerprint: str
    checkpoint: Path | None = None
    folder: Path | None = None

    @classmethod
    def of(cls, exam: Exam) -> Source:
        """Where the questions of an exam come from."""
        dataset, _, split = exam.split.name.partition("/")
        if exam.data is None:
            return cls(dataset, split, fingerprint(exam.split))
        folder = None if exam.data.folder is None else exam.data.folder.absolute()
        return cls(dataset, split, fingerprint(exam.split), exam.data.checkpoint.folder.absolute(), folder)


def fingerprint(split: Split) -> str:
    """A hash of the questions and their answers, without the pictures but for the first question's."""
    digest = hashlib.sha256()
    inputs = split.model_inputs([0]).values() if len(split) else ()
    for array in (split.tokens, split.answers, split.image_index, *inputs):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=2)
def _split(source: Source) -> Split:
    from edgevqa.checkpoints import load_checkpoint
    from edgevqa.checkpoints.data import DataOf

    try:
        if source.checkpoint is None:
            split = load_dataset(source.dataset).split(source.split)
        else:
            split = DataOf(load_checkpoint(source.checkpoint), source.folder).split(source.split)
    except (InputError, UsageError) as error:
        raise EnvironmentFailure(f"{platform.node()} has not the questions of {source.dataset}: {error}") from error
    if fingerprint(split) != source.fingerprint:
        raise EnvironmentFailure(f"{platform.node()} has other questions in {split.name}; give it the same data")
    return split


@functools.lru_cache(maxsize=2)
def _open(subject: Subject) -> Any:
    """A session, or a PyTorch module; two stay open, which is what neighbouring tasks need."""
    if not subject.path.exists():
        raise EnvironmentFailure(f"{subject.path} is not on {platform.node()}; use a folder that all machines share")
    if subject.runtime != TORCH:
        from edgevqa.runtimes.session import open_session

        return open_session(subject.path, subject.runtime, subject.threads)
    import torch

    from edgevqa.checkpoints import load_checkpoint
    from edgevqa.slimming.plan import SubmodelPlan

    torch.set_num_threads(subject.threads)
    return load_checkpoint(subject.path).submodel(SubmodelPlan.from_dict(json.loads(subject.plan)))


_one_at_a_time = threading.Lock()  # a Dask worker may have threads, which LiteRT's sessions do not stand


def answer(subject: Subject, split: Split, chunk: NDArray[np.int64]) -> Answers:
    """The answers (n,) to the questions at `chunk`.

    Raises:
        InputError: the file cannot be run, or gives logits that are no finite numbers.
        MissingExtra: the runtime is not installed.
    """
    with _one_at_a_time:
        opened = _open(subject)
        if subject.runtime == TORCH:
            from edgevqa.training.evaluation import predict

            logits = predict(opened, split, indices=chunk, batch=BATCH)
        else:
            inputs = split.model_inputs(chunk)
            rows = [{name: values[row : row + 1] for name, values in inputs.items()} for row in range(len(chunk))]
            logits = np.concatenate([opened.run(row) for row in rows])
    broken = ~np.isfinite(logits).all(axis=1)
    if broken.any():
        first = chunk[int(broken.argmax())]
        raise InputError(f"question {first} of {split.name} gives logits that are no finite numbers")
    return answers_of(logits)


def answers_of(logits: NDArray[np.float32]) -> Answers:
    """The answers (n,) that logits (n, answers) amount to."""
    answers = np.empty(len(logits), ANSWERED)
    answers["answer"] = logits.argmax(axis=1)
    answers["margin"] = margins(logits)
    return answers


def _task(subject: Subject, source: Source, chunk: NDArray[np.int64], machine: str, edgevqa: str) -> Answers:
    """`answer` in another process, which must be of the same kind as the one that asks."""
    package = TORCH if subject.runtime == TORCH else get_runtime(subject.runtime).package
    own = (platform.machine(), __version__, package_version(package))
    if own != (machine, edgevqa, subject.version):
        raise EnvironmentFailure(
            f"{platform.node()} has {own[0]}, edgevqa {own[1]}, {package} {own[2]}; this machine has {machine}, "
            f"{edgevqa}, {subject.version}: answers of different ones are not mixed"
        )
    return answer(subject, _split(source), chunk)


class Kept:
    """The answers of a subject so far, in the cache folder."""

    def __init__(self, subject: Subject, exam: Exam) -> None:
        about = [subject.sha256, subject.plan, subject.runtime, subject.version]
        about += [platform.machine(), __version__, exam.id]
        name = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        self.path = cache_folder() / "answers" / f"{name}.npy"
        self.answers: Answers = np.zeros(len(exam.indices), ANSWERED)
        self.answers["answer"] = UNANSWERED
        self._saved = time.monotonic()
        self._at_once = exam.at_once(CHUNK)
        if self.path.is_file():
            try:
                kept = np.load(self.path, allow_pickle=False)
                if kept.shape == self.answers.shape and kept.dtype == self.answers.dtype:
                    self.answers = kept
            except (OSError, ValueError, EOFError):
                pass  # damaged: answered again

    def chunks(self) -> list[NDArray[np.int64]]:
        """The questions that are not answered yet, by their places in the exam."""
        waiting = np.flatnonzero(self.answers["answer"] == UNANSWERED)
        return [waiting[start : start + self._at_once] for start in range(0, len(waiting), self._at_once)]

    def add(self, chunk: NDArray[np.int64], answers: Answers) -> None:
        """Take answers to the questions at `chunk`."""
        self.answers[chunk] = answers
        if time.monotonic() - self._saved > SAVE_S:
            self.save()

    def save(self) -> None:
        """Write them down."""
        stream = io.BytesIO()
        np.save(stream, self.answers, allow_pickle=False)
        write_bytes(self.path, stream.getvalue())
        self._saved = time.monotonic()


def answer_all(
    subjects: Sequence[Subject],
    exam: Exam,
    executor: Executor | None = None,
    *,
    again: bool = False,
    progress: Progress | None = None,
) -> list[Answers | InputError]:
    """The answers of each subject to an exam, or why it has none.

    Args:
        subjects: what answers.
        exam: the questions.
        executor: where, see `edgevqa.gate.executors.open_executor`; without one in this process.
        again: whether to answer also what was answered before.
        progress: told about the questions.

    Raises:
        MissingExtra: a runtime is not installed.
        EnvironmentFailure: a machine lacks something, or is another kind of machine.
    """
    progress = progress or Silent()
    kept = [Kept(subject, exam) for subject in subjects]
    if again:
        for one in kept:
            one.answers["answer"] = UNANSWERED
    work = [(place, chunk) for place, one in enumerate(kept) for chunk in one.chunks()]
    refused: dict[int, InputError] = {}
    total = len(exam.indices) * len(subjects)
    progress.start("answering", total)
    progress.step("answered already", total - sum(len(chunk) for _, chunk in work))
    changed = {place for place, _ in work}
    try:
        for place, chunk, found in _results(work, subjects, exam, executor, refused):
            kept[place].add(chunk, found)
            progress.step(f"answering in {subjects[place].runtime}", len(chunk))
    finally:
        for place in changed:
            kept[place].save()
        progress.finish()
    return [refused.get(place, one.answers) for place, one in enumerate(kept)]


def _results(
    work: Sequence[tuple[int, NDArray[np.int64]]],
    subjects: Sequence[Subject],
    exam: Exam,
    executor: Executor | None,
    refused: dict[int, InputError],
) -> Iterator[tuple[int, NDArray[np.int64], Answers]]:
    """Yield (subject's place, chunk, answers) as they come; a subject that fails is put into `refused`."""
    if executor is None:
        for place, chunk in work:
            if place not in refused:
                try:
                    yield place, chunk, answer(subjects[place], exam.split, exam.indices[chunk])
                except InputError as error:
                    refused[place] = error
        return
    source = Source.of(exam)
    running: dict[Future[Answers], tuple[int, NDArray[np.int64]]] = {}
    for place, chunk in work:
        task = (subjects[place], source, exam.indices[chunk], platform.machine(), __version__)
        running[executor.submit(_task, *task)] = (place, chunk)
    try:
        for future in as_completed(running):
            place, chunk = running[future]
            try:
                yield place, chunk, future.result()
            except InputError as error:
                refused.setdefault(place, error)
                for other, (owner, _) in running.items():
                    if owner == place:
                        other.cancel()
            except CancelledError:
                if place not in refused:
                    raise
    finally:
        for future in running:
            future.cancel()
