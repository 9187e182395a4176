"""`bench` on several targets at once, with boards that go away and come back."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.lab.devices import Board, command_lines, wait_for

pytestmark = pytest.mark.slow
PROFILE = """
name = "{name}"
description = "a simulated board"
kind = "ssh"
host = "127.0.0.1"
ssh_config = "ssh_config"
folder = "{folder}"
machine = "x86_64"
runtimes = ["onnxruntime"]
protocol = "smoke"
host_checks = []
"""

LOCAL = 'name = "here"\ndescription = "x"\nkind = "local"\nruntimes = ["onnxruntime"]\nhost_checks = []\n'


@pytest.fixture
def boards() -> Iterator[list[Board]]:
    found = [Board("amd64") for _ in range(2)]
    for board in found:
        board.start()
    yield found
    for board in found:
        board.stop()


def test_a_board_that_goes_away_costs_nothing_of_the_others(
    boards: list[Board], exported: Path, light_program: Program, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    shutil.copytree(exported, work)
    shared = f".edgevqa-fleet-{tmp_path.name}"  # the boards have one disk: what is set up on one is there on both
    for name, board in zip(("steady", "shaky"), boards, strict=True):
        folder = tmp_path / name
        folder.mkdir()
        board.target(folder)
        (folder / "board.toml").write_text(PROFILE.format(name=name, folder=shared))
    steady, shaky = (str(tmp_path / name / "board.toml") for name in ("steady", "shaky"))
    here = tmp_path / "here.toml"
    here.write_text(LOCAL)
    brought = light_program("device", "setup", "--target", steady, cwd=work)
    if "pip cannot download" in brought.stderr:
        pytest.skip(brought.stderr)
    assert brought.returncode == 0, brought.stderr
    fleet = ("bench", "--target", steady, "--target", shaky, "--target", here, "--runtime", "onnxruntime")
    boards[1].stop()

    report = light_program.json(*fleet, "--protocol", "smoke", "--wait", "1", cwd=work, code=3)
    assert [(row["target"], row["n"] >= 64) for row in report["records"]] == [("steady", True), ("here", True)]
    assert report["failed"].keys() == {"shaky"}
    assert report["failed"]["shaky"].startswith("shaky: cannot reach shaky (127.0.0.1): nothing listens there")
    assert report["failed"]["shaky"].endswith("waited 1 s for it")

    said = light_program(*fleet, "--protocol", "smoke", "--wait", "0", cwd=work)
    assert said.returncode == 3 and "steady" in said.stdout and "Traceback" not in said.stderr
    lines = [line for line in said.stderr.splitlines() if line.startswith(("shaky: ", "error: "))]
    assert lines[0].startswith("shaky: cannot reach")
    assert lines[1:] == ["error: 1 of 3 targets failed; the same command measures what is missing"]

    # switched off in the middle of its first inference, and on again
    boards[1].start()
    measuring = light_program.start(
        *fleet, "--protocol", "smoke", "--threads", "1,2", "--wait", "100", "--json", cwd=work
    )
    sessions: list[int] = []

    def busy() -> bool:
        assert measuring.poll() is None, measuring.communicate()
        sessions[:] = [process for process in boards[1].sessions() if runs_below(process)]
        return bool(sessions)

    try:
        wait_for(busy)
        boards[1].stop()
        wait_for(lambda: not any(runs_below(process) for process in sessions))
        boards[1].start()
        out, err = measuring.communicate(timeout=300)
    finally:
        measuring.kill()
    assert measuring.returncode == 0, out + err
    records = json.loads(out)["records"]
    kept = {(row["target"], row["threads"]): row for row in records}
    assert len(kept) == len(records) == 6 and all(row["n"] >= 64 for row in records)
    for first in report["records"]:
        assert kept[first["target"], 1] == first, "what was measured before is kept"
    rows = [json.loads(line) for line in (work / "results" / "records.jsonl").read_text().splitlines()]
    assert {row["run_id"] for row in rows} == {row["run_id"] for row in records} and len(rows) == 6
    shutil.rmtree(boards[0].home / shared)


def runs_below(session: int) -> bool:
    """Whether the runner runs in a connection's session."""
    lines, children = command_lines(), [session]
    while children:
        process = children.pop()
        if "runner.py" in lines.get(process, ""):
            return True
        with contextlib.suppress(OSError):
            children += map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
    return False
