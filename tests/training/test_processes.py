"""Several processes, and batches in pieces, make the weights of one process with whole batches."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from edgevqa.errors import UsageError
from edgevqa.storage import read_json
from edgevqa.training.batches import Batches
from edgevqa.training.recipe import Recipe
from tests.training import together
from tests.training.test_training import Toy

PATIENCE = 600
RELATIVE = 1e-6


def start(out: Path, environment: dict[str, str], *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*command, together.__file__, str(out), *more],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def end(running: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, child_environment: dict[str, str]) -> tuple[Path, str]:
    """The folder of all cases, trained by two processes, and what these printed."""
    out = tmp_path_factory.mktemp("two")
    running = start(out, child_environment)
    try:
        said, _ = running.communicate(timeout=PATIENCE)
    finally:
        end(running)
    assert running.returncode == 0, said
    return out, said


def differ(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of two sets of weights, tensor by tensor, relative to the tensor's size."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).norm() / one[name].norm().clamp(min=1e-3)) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("case", together.CASES)
def test_two_processes_make_the_weights_of_one(two: tuple[Path, str], case: str, tmp_path: Path) -> None:
    alone = together.run(case, tmp_path)
    shared = [torch.load(two[0] / f"{case}.{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert differ(alone, shared[0]) < RELATIVE
    assert all(torch.equal(shared[0][name], value) for name, value in shared[1].items())
    losses = [read_json(folder / f"{case}.history.json") for folder in (tmp_path, two[0] / "process-0")]
    assert [entry["loss"] for entry in losses[0]] == pytest.approx([entry["loss"] for entry in losses[1]], rel=1e-6)


@pytest.mark.slow
def test_only_the_first_process_writes_tells_and_evaluates(two: tuple[Path, str]) -> None:
    out, said = two
    assert (out / "process-0" / "teacher.state.pt").exists() and not (out / "process-1").exists()
    assert said.count("process 0 of 2") == said.count("process 1 of 2") == 1
    assert said.count("teacher step 3/3, loss") == 1
    assert "evaluated by 0" in said and "evaluated by 1" not in said


@pytest.mark.slow
def test_one_process_goes_on_where_two_stopped(two: tuple[Path, str], tmp_path: Path) -> None:
    """Also when it computes the batches in other pieces."""
    state = torch.load(two[0] / "process-0" / "teacher.state.pt", weights_only=True)
    (tmp_path / "teacher.state.pt").write_bytes((two[0] / "process-0" / "teacher.state.pt").read_bytes())
    again = together.run("teacher", tmp_path, accumulation=3)
    assert state["step"] == 3 and all(torch.equal(again[name], value) for name, value in state["model"].items())


@pytest.mark.parametrize("case", ["teacher", "student"])
def test_pieces_make_the_weights_of_whole_batches(case: str, tmp_path: Path) -> None:
    whole = together.run(case, tmp_path / "whole", accumulation=1)
    pieces = together.run(case, tmp_path / "pieces", accumulation=7)
    assert differ(whole, pieces) < RELATIVE
    other = together.run(case, tmp_path / "other", seed=9)
    assert differ(whole, other) > 1e-3, "the comparison sees what differs"


def test_a_step_is_the_same_questions_however_it_is_shared() -> None:
    batches = Batches(Toy(100), 25, 0)
    whole = batches.indices(2).tolist()
    for accumulation, processes, count in ((1, 1, 1), (1, 2, 2), (6, 1, 6), (5, 2, 6), (25, 2, 24), (1, 25, 25)):
        pieces = batches.pieces(2, accumulation, processes)
        assert len(pieces) == count and [place for piece in pieces for place in piece] == whole
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
    with pytest.raises(UsageError, match="26 processes have nothing to share in batches of 25"):
        batches.pieces(0, 1, 26)
    with pytest.raises(UsageError, match="a batch of 4 questions is not computed in 5 pieces"):
        Recipe(steps=1, batch=4, accumulation=5)


@pytest.mark.slow
def test_two_processes_go_on_where_one_stopped_and_ctrl_c_of_one_ends_both(
    two: tuple[Path, str], tmp_path: Path, child_environment: dict[str, str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        together.run("teacher", tmp_path / "process-0", stop_at=3)
    assert torch.load(tmp_path / "process-0" / "teacher.state.pt", weights_only=True)["step"] == 2
    running = start(tmp_path, child_environment, "hang")
    try:
        files = [tmp_path / f"ready-{rank}.pid" for rank in (0, 1)]
        limit = time.monotonic() + PATIENCE
        while not all(file.exists() and file.read_text() for file in files):
            assert running.poll() is None and time.monotonic() < limit
            time.sleep(0.1)
        pids = [int(file.read_text()) for file in files]
        os.kill(pids[1], signal.SIGINT)
        said, _ = running.communicate(timeout=PATIENCE)
    finally:
        end(running)
    assert running.returncode != 0
    assert "teacher step 3/3" in said and "teacher step 2/3" not in said, "what was saved is not trained again"
    whole = torch.load(two[0] / "teacher.0.pt", weights_only=True)
    for rank in (0, 1):
        assert differ(whole, torch.load(tmp_path / f"teacher.{rank}.pt", weights_only=True)) < RELATIVE
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
