"""Several targets at once: in parallel, apart from each other, and ended together."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgevqa.devices import Target, open_transport
from edgevqa.devices.patience import Patience
from edgevqa.devices.quiet import Quiet
from edgevqa.devices.shell import ShellTransport
from edgevqa.errors import DeviceError, DeviceLost, UsageError
from edgevqa.measure.fleet import Outcome, devices_of, measure_fleet
from tests.conftest import ROOT
from tests.lab.devices import Board, running, wait_for

HERE = Target("here", "this machine", "local", ("onnxruntime",))
QEMU = dataclasses.replace(HERE, name="qemu", kind="emulated")
PI = dataclasses.replace(HERE, name="pi", kind="ssh", host="pi@10.0.0.2")


@pytest.fixture(scope="module")
def second_board() -> Iterator[Board]:
    found = Board("amd64")
    found.start()
    yield found
    found.stop()


def named(*targets: Target) -> list[list[str]]:
    return [[target.name for target in device] for device in devices_of(targets)]


def test_targets_of_one_device_go_one_after_another() -> None:
    again, other = dataclasses.replace(PI, name="pi-2"), dataclasses.replace(PI, name="x", host="pi@10.0.0.3")
    assert named(HERE, PI, QEMU, other, again) == [["here", "qemu"], ["pi", "pi-2"], ["x"]]
    phones = [dataclasses.replace(HERE, name=name, kind="adb", serial=name) for name in ("a", "b")]
    assert named(*phones) == [["a"], ["b"]]
    only = dataclasses.replace(phones[0], name="any", serial=None)
    assert named(*phones, only) == [["a", "b", "any"]], "the only phone may be any of them"
    with pytest.raises(UsageError, match="2 of the targets are called pi"):
        devices_of([PI, PI])


def test_devices_are_measured_at_once_and_a_failed_one_costs_nothing_of_the_others() -> None:
    together, here = threading.Barrier(2, timeout=60), threading.Lock()

    def measure(target: Target, progress: object) -> list[object]:
        if target.name == "broken":
            raise DeviceError("it\nbroke")
        if target.kind == "ssh" or target.name == "here":
            together.wait()
        if target.kind != "ssh":
            assert here.acquire(blocking=False), "two targets on this machine at once"
            here.release()
        return []

    broken = dataclasses.replace(PI, name="broken", host="pi@10.0.0.9")
    outcomes = measure_fleet([HERE, broken, PI, QEMU], measure)  # type: ignore[arg-type]
    assert [outcome.target.name for outcome in outcomes] == ["here", "broken", "pi", "qemu"]
    assert [outcome.failure for outcome in outcomes] == ["", "broken: it broke", "", ""]
    named = Outcome(outcomes[1].target, error=DeviceError("broken: adb sees\nno device"))
    assert named.failure == "broken: adb sees no device"


def test_a_mistake_in_one_worker_is_not_hidden() -> None:
    def measure(target: Target, progress: object) -> list[object]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure_fleet([HERE, PI], measure)  # type: ignore[arg-type]


def test_noise_waits_for_silence_and_silence_for_noise() -> None:
    quiet, order = Quiet(), []
    inside, go = threading.Event(), threading.Event()

    def make_noise() -> None:
        with quiet.noise():
            order.append("noise")
            inside.set()
            go.wait(60)
            order.append("end of noise")

    def be_silent() -> None:
        with quiet.silence():
            order.append("silence")

    threads = [threading.Thread(target=make_noise), threading.Thread(target=be_silent)]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    with quiet.noise():  # a second noise need not wait for the first one
        order.append("other noise")
    go.set()
    for thread in threads:
        thread.join(60)
    assert order == ["noise", "other noise", "end of noise", "silence"]


def test_patience_waits_once_and_then_gives_up() -> None:
    states = iter([DeviceLost("unplugged"), "done"])
    said: list[str] = []

    def act() -> str:
        state = next(states)
        if isinstance(state, DeviceLost):
            raise state
        return state

    assert Patience(30, said.append)(lambda: None, act) == "done"
    assert len(said) == 1 and said[0].endswith("s for it: unplugged")

    def lost() -> str:
        raise DeviceLost("unplugged")

    impatient, patient = Patience(), Patience(0.1)
    with pytest.raises(DeviceLost, match=r"^unplugged$"):
        impatient(lost, lost)
    with pytest.raises(DeviceLost, match=r"unplugged; waited 0\.1 s for it"):
        patient(lost, lost)
    with pytest.raises(DeviceLost, match="waited"):
        patient(lost, lambda: "not asked any more")


PROGRAM = """
import sys
from edgevqa.devices import load_target, open_transport
from edgevqa.measure.fleet import measure_fleet
def measure(target, progress):
    open_transport(target).run(["sh", "-c", f"sleep {sys.argv[1]} & wait"], {}, [], 100)
measure_fleet([load_target(name) for name in sys.argv[2:]], measure)
"""


def write_profile(path: Path, target: Target) -> Path:
    """A target of the lab as a file."""
    lines = [f'{key} = "{getattr(target, key)}"' for key in ("kind", "host", "folder", "ssh_config")]
    path.write_text("\n".join([f'name = "{path.stem}"', 'description = "x"', 'runtimes = ["onnxruntime"]', *lines]))
    return path


def test_ctrl_c_ends_what_runs_on_every_device(board: Board, second_board: Board, tmp_path: Path) -> None:
    seconds, profiles, targets = f"7{secrets.randbelow(10**6):06}", [], []
    for number, one in enumerate((board, second_board)):
        folder = tmp_path / str(number)
        folder.mkdir()
        targets.append(one.target(folder))
        profiles.append(str(write_profile(folder / f"board-{number}.toml", targets[-1])))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, seconds, *profiles],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: len(running(f"sleep {seconds}")) == 2)
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert err.rstrip().endswith("KeyboardInterrupt"), err
    wait_for(lambda: not running(f"sleep {seconds}"))
    for one, target in zip((board, second_board), targets, strict=True):
        assert list((one.path(target) / "work").iterdir()) == []
        shutil.rmtree(one.path(target))


def test_a_board_that_is_switched_on_again_is_waited_for(tmp_path: Path) -> None:
    board = Board("amd64")
    board.start()
    try:
        target, said = board.target(tmp_path), threading.Event()
        transport = open_transport(target)
        assert isinstance(transport, ShellTransport)
        transport.patience = Patience(60, lambda text: said.set())
        assert transport.run(["echo", "first"], {}, [], 60).stdout == "first\n"
        board.stop()
        back = threading.Thread(target=lambda: said.wait(60) and board.start())
        back.start()
        assert transport.run(["echo", "back"], {}, [], 60).stdout == "back\n"
        back.join()
        shutil.rmtree(board.path(target))
    finally:
        board.stop()
