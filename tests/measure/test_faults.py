"""A bench on a real board on which things go wrong: one clear line each, nothing that was measured is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from edgevqa.devices import Completed, Target, open_transport
from edgevqa.devices.setup import set_up
from edgevqa.errors import DeviceError, EnvironmentFailure
from edgevqa.measure.bench import bench
from edgevqa.measure.record import Record
from tests.lab.devices import Board, command_lines, wait_for
from tests.measure.test_bench import SHORT, Artifact, Verdict, make

pytestmark = pytest.mark.slow
WATCHED = dataclasses.replace(SHORT, watch=True)
MEMORY_BYTES = 12_000_000  # the runner takes some 60 MB, about half of it its own


@pytest.fixture(scope="module")
def small_board() -> Iterator[Board]:
    """A board whose memory can be taken away."""
    found = Board("amd64")
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def ready(small_board: Board, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A profile of that board, with onnxruntime brought there."""
    target = small_board.target(tmp_path_factory.mktemp("ssh"), host_checks=())
    try:
        set_up(target)
    except EnvironmentFailure as error:
        if not isinstance(error, DeviceError) and "pip cannot download" in str(error):
            pytest.skip(str(error))
        raise
    yield target
    shutil.rmtree(small_board.path(target))


class Disturbed:
    """The way to a device on which something happens right before a model is timed."""

    def __init__(self, target: Target, happens: Callable[[], None]) -> None:
        self.inner, self.happens = open_transport(target), happens

    def run(self, argv: Sequence[str], files: Mapping[str, Path], fetch: Sequence[str], timeout_s: float) -> Completed:
        if json.loads(files["job.json"].read_text())["mode"] == "time":
            self.happens()
        return self.inner.run(argv, files, fetch, timeout_s)


@contextlib.contextmanager
def little_memory(processes: Sequence[int]) -> Iterator[None]:
    """Put processes and what they start into a group that the kernel gives little memory; skips without such groups."""
    first, name = Path("/sys/fs/cgroup/memory"), f"edgevqa-{secrets.token_hex(4)}"
    limits = {"memory.limit_in_bytes": MEMORY_BYTES} if first.is_dir() else {"memory.max": MEMORY_BYTES}
    if not first.is_dir():
        limits["memory.swap.max"] = 0
    root = first if first.is_dir() else Path("/sys/fs/cgroup")
    group = root / name
    try:
        group.mkdir()
        for file, value in limits.items():
            (group / file).write_text(str(value))
        for process in processes:
            (group / "cgroup.procs").write_text(str(process))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"there are no memory groups here: {error}")
    try:
        yield
    finally:
        for process in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (root / "cgroup.procs").write_text(process)
        wait_for(lambda: (group / "cgroup.procs").read_text() == "")
        group.rmdir()


def measure(
    artifacts: Sequence[Artifact], target: Target, results: Path, happens: Callable[[], None] = lambda: None
) -> list[Record]:
    way = Disturbed(target, happens)
    return bench(artifacts, target, gate=lambda *_: Verdict(), results=results, protocol=WATCHED, transport=way)


def test_a_runner_that_the_kernel_kills_for_memory(small_board: Board, ready: Target, tmp_path: Path) -> None:
    artifacts, results = [make(tmp_path, name) for name in "ab"], tmp_path / "results"
    (first,) = measure(artifacts[:1], ready, results)
    assert first.n >= 70
    if len(os.sched_getaffinity(0)) > 1:  # with one core nothing looks at it from outside
        assert first.temperature_maximum_c == first.temperature_after_c == pytest.approx(48.312)
    with contextlib.ExitStack() as until_later:

        def starve() -> None:
            assert small_board.server is not None
            until_later.enter_context(little_memory([small_board.server.pid, *small_board.sessions()]))

        kept, killed = measure(artifacts, ready, results, starve)
    assert kept == first
    assert killed.n == 0 and "\n" not in killed.validity
    assert "the runner on board was killed, perhaps because the memory did not suffice" in killed.validity
    wait_for(lambda: not any("runner.py" in line and str(ready.folder) in line for line in command_lines().values()))
    assert [row.n >= 70 for row in measure(artifacts, ready, results)] == [True, True]


def test_python_that_prints_garbage(small_board: Board, ready: Target, tmp_path: Path) -> None:
    noisy = small_board.path(ready) / "noisy"
    noisy.write_text('#!/bin/sh\nprintf "warning: \\033[1m\\000 EDGEVQA-RESULT {"\nexec python3 "$@"\n')
    noisy.chmod(0o755)
    target, artifacts = dataclasses.replace(ready, python=f"../../{noisy.name}"), [make(tmp_path, "a")]
    (row,) = measure(artifacts, target, tmp_path / "results")
    assert row.n >= 70
    noisy.write_text("#!/bin/sh\necho garbage\nprintf 'sad \\033[2J\\n' >&2\nexit 5\n")
    with pytest.raises(DeviceError, match=r"ended with exit code 5 and without a result; its last words: sad \?\[2J$"):
        measure(artifacts, target, tmp_path / "results")
