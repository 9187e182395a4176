"""A bench on a board that goes away in the middle and comes back: only the running cell is lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from edgevqa.devices import Completed, Target, open_transport
from edgevqa.devices.setup import set_up
from edgevqa.errors import DeviceError, EnvironmentFailure
from edgevqa.measure.bench import bench
from edgevqa.measure.record import Record
from tests.lab.devices import Board, wait_for
from tests.measure.test_bench import SHORT, Verdict, make

pytestmark = pytest.mark.slow


@pytest.fixture
def own_board() -> Iterator[Board]:
    found = Board("amd64")
    found.start()
    yield found
    found.stop()


class Vanishing:
    """The way to a board that is switched off when a number of measurements have begun."""

    def __init__(self, target: Target, board: Board, after: int) -> None:
        self.inner, self.board, self.left = open_transport(target), board, after

    def run(self, argv: Sequence[str], files: Mapping[str, Path], fetch: Sequence[str], timeout_s: float) -> Completed:
        if json.loads(files["job.json"].read_text())["mode"] == "time":
            self.left -= 1
            if self.left < 0 and self.board.server is not None:
                self.board.stop()
        return self.inner.run(argv, files, fetch, timeout_s)


def test_a_board_that_vanishes_costs_only_the_running_cell(own_board: Board, tmp_path: Path) -> None:
    target = dataclasses.replace(own_board.target(tmp_path), host_checks=())
    try:
        set_up(target)
    except EnvironmentFailure as error:
        if not isinstance(error, DeviceError) and "pip cannot download" in str(error):
            pytest.skip(str(error))
        raise
    artifacts = [make(tmp_path, name) for name in "abc"]
    results = tmp_path / "results"

    def measure(after: int) -> list[Record]:
        way = Vanishing(target, own_board, after)
        return bench(artifacts, target, gate=lambda *_: Verdict(), results=results, protocol=SHORT, transport=way)

    first, *lost = measure(1)
    assert first.is_valid and first.n >= 70
    assert [row.n for row in lost] == [0, 0]
    for row in lost:
        assert "cannot reach board (127.0.0.1)" in row.validity or "lost" in row.validity, row.validity
    own_board.start()
    wait_for(own_board.answers)
    again = measure(10)
    assert again[0] == first
    assert all(row.is_valid and row.n >= 70 for row in again)
    shutil.rmtree(own_board.path(target))
