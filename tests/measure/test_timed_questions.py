"""Reference questions that are too large to stand in the memory of the process that is timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgevqa.measure.questions import TimedQuestions

COUNT = 100


def write(path: Path) -> Path:
    rows = np.arange(COUNT, dtype=np.float32)
    regions = np.broadcast_to(rows[:, None, None], (COUNT, 10, 100))
    np.savez_compressed(path, regions=regions, question=rows[:, None], labels=rows, texts=np.array(["?"] * COUNT))
    return path


def test_small_questions_are_sent_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "questions.npz")
    with TimedQuestions() as questions:
        assert questions.of(path) == path


def test_of_large_questions_some_are_sent_spread_over_all(tmp_path: Path) -> None:
    path = write(tmp_path / "questions.npz")
    with TimedQuestions(100_000) as questions:
        smaller = questions.of(path)
        assert questions.of(path) == smaller != path
        with np.load(smaller, allow_pickle=False) as stored:
            assert sorted(stored.files) == ["question", "regions"]
            rows = stored["question"][:, 0]
            assert stored["regions"].nbytes <= 100_000 and len(rows) == 24
            assert rows[0] == 0 and rows[-1] == COUNT - 1 and (np.diff(rows) >= 4).all()
            assert (stored["regions"] == rows[:, None, None]).all(), "the inputs of a question stay together"
    assert not smaller.exists()
    with TimedQuestions(1) as questions, np.load(questions.of(path), allow_pickle=False) as stored:
        assert len(stored["question"]) == 4


def test_broken_questions_are_left_to_the_runner_to_explain(tmp_path: Path) -> None:
    path = write(tmp_path / "questions.npz")
    path.write_bytes(path.read_bytes()[:500])
    with TimedQuestions(1) as questions:
        assert questions.of(path) == path
        assert questions.of(tmp_path / "absent.npz") == tmp_path / "absent.npz"
