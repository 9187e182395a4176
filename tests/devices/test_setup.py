"""Runtimes brought to a device, and what such a setup refuses."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevqa.devices import Target, open_transport, setup, unpack
from edgevqa.devices.jobs import probe, run_logits
from edgevqa.devices.mock import Answer, MockTransport
from edgevqa.devices.setup import check_fits, clean, set_up
from edgevqa.errors import DeviceError, EnvironmentFailure, UsageError
from tests.lab.devices import Board
from tests.runtimes import tiny_models

BOARD = Target("board", "a board", "ssh", ("onnxruntime",), host="pi")
FOUND = {"bits": 64, "libc": "glibc 2.36", "python": "3.11.2", "machine": "aarch64"}


@pytest.mark.parametrize(
    ("runtime", "changes", "words"),
    [
        ("onnxruntime", {"bits": 32}, "32-bit Python.*install a 64-bit system"),
        ("litert", {"libc": "glibc 2.31"}, "ai-edge-litert==2.3.0 needs glibc 2.34, board has 2.31"),
        ("onnxruntime", {"libc": ""}, "board has no glibc"),
        ("tflite_runtime", {"python": "3.13.1"}, "up to Python 3.11, board has 3.13.1"),
    ],
)
def test_what_cannot_run_there_is_refused_before_it_is_sent(runtime: str, changes: dict[str, Any], words: str) -> None:
    check_fits(BOARD, runtime, FOUND)
    with pytest.raises(DeviceError, match=words):
        check_fits(BOARD, runtime, {**FOUND, **changes})


def test_only_devices_are_set_up() -> None:
    here = dataclasses.replace(BOARD, kind="local")
    with pytest.raises(UsageError, match="needs no setup"):
        set_up(here)
    with pytest.raises(UsageError, match="it is this machine"):
        clean(here)
    with pytest.raises(UsageError, match="unknown runtime 'onnx'"):
        set_up(BOARD, ["onnx"])


def test_what_a_device_says_is_held_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output that was cut behind the mark is no traceback."""
    monkeypatch.setattr(setup, "probe", lambda *_: FOUND)
    monkeypatch.setattr(setup, "find_wheels", lambda *_: [])
    board = MockTransport(lambda _call: Answer(stdout=f'welcome\n{unpack.MARK}[["onnxrunt'))
    with pytest.raises(DeviceError, match="board did not say what it holds; its output was cut, try again"):
        set_up(BOARD, ["onnxruntime"], transport=board)
    assert len(board.calls) == 1


def unpacked(folder: Path, *more: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, unpack.__file__, str(folder), *more]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_wheels_are_unpacked_whole_or_not_at_all(tmp_path: Path) -> None:
    folder, store = tmp_path / "there" / "runtime", tmp_path / "store"
    for number in (1, 2):
        with zipfile.ZipFile(tmp_path / f"wheel{number}", "w") as wheel:
            wheel.writestr("package/version", str(number))
            wheel.writestr("../../escaped", "x")
    (tmp_path / "wheel1").rename(tmp_path / "sum1")  # as a device keeps what was sent
    store.symlink_to("sum1")
    (tmp_path / "wheels.json").write_text('[["store", "sum1"]]')
    assert unpacked(folder, cwd=tmp_path).stdout.endswith(unpack.MARK + "null\n")
    assert unpacked(folder, "wheels.json", cwd=tmp_path).stdout.endswith('[["store", "sum1"]]\n')
    assert (folder / "package" / "version").read_text() == "1"
    assert not (tmp_path / "sum1").exists()
    (tmp_path / "wheels.json").write_text('[["wheel2", "sum2"], ["absent", "sum3"]]')
    failed = unpacked(folder, "wheels.json", cwd=tmp_path)
    assert failed.returncode == 3 and "absent" in failed.stderr and "Traceback" not in failed.stderr
    assert (folder / "package" / "version").read_text() == "1"
    assert (tmp_path / "wheel2").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["runtime"]
    assert not list(tmp_path.rglob("escaped")) or all(folder in path.parents for path in tmp_path.rglob("escaped"))


@pytest.fixture
def target(board: Board, tmp_path: Path) -> Iterator[Target]:
    made = board.target(tmp_path)
    yield made
    shutil.rmtree(board.path(made), ignore_errors=True)


@pytest.mark.slow
def test_a_bare_board_gets_a_runtime_and_is_clean_again(board: Board, target: Target, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="edgevqa device setup --target board"):
        probe(target, "onnxruntime")
    try:
        (brought,) = set_up(target)
    except EnvironmentFailure as error:
        if "pip cannot download" in str(error):
            pytest.skip(str(error))
        raise
    assert brought.sent and len(brought.wheels) == 2
    assert probe(target, "onnxruntime")["runtimes"]["onnxruntime"] == brought.version
    model = tiny_models.write_onnx(tmp_path / 'it\'s "x"; rm -rf $HOME.onnx')
    questions = tiny_models.write_questions(tmp_path / "q.npz")
    logits, _values = run_logits(target, model, questions, "onnxruntime")
    np.testing.assert_allclose(logits, tiny_models.expected(tiny_models.questions()), atol=1e-5)
    (again,) = set_up(target)
    assert not again.sent
    assert not any(path.stat().st_size > 1_000_000 for path in (board.path(target) / "files").iterdir())
    cramped = dataclasses.replace(target, folder="/mnt/small/y")
    with pytest.raises(DeviceError, match="No space left") as caught:
        set_up(cramped)
    assert "\n" not in str(caught.value)
    clean(target)
    assert not board.path(target).exists()
    clean(target)
    assert open_transport(target).run(["true"], {}, [], 60).exit_code == 0
