"""Answers of many subjects: the same in this process, in others and on a Dask cluster, and never found twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgevqa.checkpoints import Checkpoint, load_checkpoint
from edgevqa.data.dataset import Split, load_dataset, reworded
from edgevqa.data.text import Vocabulary
from edgevqa.errors import EnvironmentFailure, InputError, MissingExtra, UsageError
from edgevqa.gate import answers, executors
from edgevqa.gate.answers import Subject, answer_all
from edgevqa.gate.executors import PROCESSES, open_executor
from edgevqa.gate.score import Exam
from edgevqa.pipeline import evaluate_checkpoint
from edgevqa.slimming.grid import grid
from edgevqa.slimming.plan import SubmodelPlan
from edgevqa.storage import cache_folder

pytestmark = pytest.mark.slow
COUNT = 600


class Steps:
    """A progress that remembers, and interrupts once so many questions were answered."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.already, self.now, self.stop_at = 0, 0, stop_at

    def start(self, description: str, total: int) -> None:
        pass

    def step(self, description: str, amount: int = 1) -> None:
        if description == "answered already":
            self.already += amount
            return
        self.now += amount
        if self.stop_at is not None and self.now >= self.stop_at:
            raise KeyboardInterrupt

    def finish(self) -> None:
        pass


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The questions from the usual cache, the answers in one of the test."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "data").symlink_to(cache_folder() / "data")
    monkeypatch.setenv("EDGEVQA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def scenes() -> Checkpoint:
    return load_checkpoint("scenes")


@pytest.fixture(scope="module")
def smallest(scenes: Checkpoint) -> SubmodelPlan:
    return grid(scenes.config, scenes.slimming)[0]


@pytest.fixture(scope="module")
def exam() -> Exam:
    return Exam(load_dataset("scenes").split("test"), COUNT)


@pytest.fixture(scope="module")
def expected(scenes: Checkpoint, smallest: SubmodelPlan, exam: Exam) -> np.ndarray:
    """The answers of the submodel, by PyTorch alone."""
    from edgevqa.training.evaluation import predict

    return predict(scenes.submodel(smallest), exam.split, indices=exam.indices).argmax(1)


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a Dask scheduler with two workers, other processes that are reached over TCP."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as running:
        assert running.scheduler_address.startswith("tcp://")
        yield running.scheduler_address


def test_a_cluster_and_processes_answer_as_this_process_does(
    scenes: Checkpoint, smallest: SubmodelPlan, exam: Exam, expected: np.ndarray, cluster: str
) -> None:
    subject = Subject.of_submodel(scenes, smallest)
    (here,) = answer_all([subject], exam)
    assert (here["answer"] == expected).all()
    for scheduler in (PROCESSES, cluster):
        with open_executor(scheduler, workers=1) as executor:
            steps = Steps()
            (there,) = answer_all([subject], exam, executor, again=True, progress=steps)
        assert (there["answer"] == expected).all() and steps.now == COUNT
    right = 100 * float((expected == exam.labels).mean())
    (scored,) = evaluate_checkpoint(scenes, [smallest], count=COUNT, scheduler=cluster)
    assert (scored.submodel, scored.score.count) == ("w0.25-d1", COUNT) and scored.score.percent == pytest.approx(right)


def test_a_stopped_evaluation_goes_on_where_it_was(
    scenes: Checkpoint, smallest: SubmodelPlan, exam: Exam, expected: np.ndarray
) -> None:
    subject = Subject.of_submodel(scenes, smallest)
    with pytest.raises(KeyboardInterrupt):
        answer_all([subject], exam, progress=Steps(stop_at=1))
    steps = Steps()
    (found,) = answer_all([subject], exam, progress=steps)
    assert (steps.already, steps.now) == (answers.CHUNK, COUNT - answers.CHUNK) and (found["answer"] == expected).all()
    steps = Steps()
    answer_all([subject], exam, progress=steps)
    assert (steps.already, steps.now) == (COUNT, 0)
    (path,) = (cache_folder() / "answers").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    steps = Steps()
    answer_all([subject], exam, progress=steps)
    assert steps.now == COUNT, "what is damaged is answered again"
    steps = Steps()
    answer_all([dataclasses.replace(subject, version="0.0")], exam, progress=steps)
    assert steps.now == COUNT, "another version may answer otherwise"


def test_a_subject_that_fails_does_not_stop_the_others(
    scenes: Checkpoint, smallest: SubmodelPlan, exam: Exam, expected: np.ndarray, tmp_path: Path
) -> None:
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no model")
    subjects = [Subject(broken, "0" * 64, "onnxruntime", None), Subject.of_submodel(scenes, smallest)]
    failed, found = answer_all(subjects, exam)
    assert isinstance(failed, InputError) and "model.onnx" in str(failed)
    assert (found["answer"] == expected).all()


def test_machines_that_differ_are_not_mixed(scenes: Checkpoint, smallest: SubmodelPlan, exam: Exam) -> None:
    import platform

    from edgevqa import __version__

    subject = Subject.of_submodel(scenes, smallest)
    source = answers.Source("scenes", "test", answers.fingerprint(exam.split))
    chunk, machine = exam.indices[:2], platform.machine()
    assert len(answers._task(subject, source, chunk, machine, __version__)) == 2
    for other in ((subject, "riscv", __version__), (subject, machine, "0.0"),
                  (dataclasses.replace(subject, version="1.0"), machine, __version__)):  # fmt: skip
        with pytest.raises(EnvironmentFailure, match="answers of different ones are not mixed"):
            answers._task(other[0], source, chunk, *other[1:])
    with pytest.raises(EnvironmentFailure, match="other questions in scenes/test"):
        answers._task(subject, dataclasses.replace(source, fingerprint=""), chunk, machine, __version__)
    elsewhere = dataclasses.replace(subject, path=Path("/nowhere"))
    with pytest.raises(EnvironmentFailure, match="use a folder that all machines share"):
        answers._task(elsewhere, source, chunk, machine, __version__)


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "PATIENCE_S", 1)
    with pytest.raises(UsageError, match="'cluster' is no scheduler; give an address"), open_executor("cluster"):
        pass
    pytest.importorskip("distributed")
    with (
        pytest.raises(EnvironmentFailure, match="is not reached"),
        open_executor("tcp://127.0.0.1:9"),
    ):
        pass


def test_an_error_comes_back_whole_from_another_process() -> None:
    import pickle

    back = pickle.loads(pickle.dumps(MissingExtra("litert", "litert")))
    assert (back.package, back.extra) == ("litert", "litert") and "edgevqa[litert]" in str(back)


def test_questions_in_the_words_of_another_vocabulary(exam: Exam) -> None:
    own = load_dataset("scenes").vocabulary
    split: Split = exam.split
    assert reworded(split, own, own) is split
    kept = Vocabulary(own.words[:3] + own.words[5:])
    changed = reworded(split, own, kept)
    for row in range(0, 2000, 97):
        assert (changed.tokens[row] == kept.encode(split.texts[row], split.tokens.shape[1]).tokens).all()
