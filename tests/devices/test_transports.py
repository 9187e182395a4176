"""The local transport with real programs, and the mock."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgevqa.devices.base import TEMPORARY_PREFIX, Completed
from edgevqa.devices.local import LocalTransport
from edgevqa.devices.mock import Answer, Call, MockTransport
from edgevqa.errors import DeviceError, InputError


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def run(argv: list[str], timeout_s: float = 60, **files: Path) -> Completed:
    return LocalTransport().run(argv, files, ["out", "other"], timeout_s)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited for 30 s in vain")


def test_sends_runs_and_fetches(tmp_path: Path) -> None:
    sent = tmp_path / 'it\'s "x"; rm -rf $HOME'
    sent.write_text("hello")
    code = "import sys; open('out', 'w').write(open('given').read() + sys.argv[1]); print('said'); sys.exit(7)"
    completed = run(python(code, "; echo $HOME 'q' \""), given=sent)
    assert (completed.exit_code, completed.stdout) == (7, "said\n")
    assert completed.files["out"].read_text() == "hello; echo $HOME 'q' \""
    assert set(completed.files) == {"out"}
    assert sent.read_text() == "hello"


def test_fetched_files_live_as_long_as_the_result() -> None:
    completed = run(python("open('out', 'w').write('x')"))
    path = completed.files["out"]
    assert path.exists()
    del completed
    assert not path.parent.exists()


def test_each_run_has_a_fresh_folder_that_is_gone_afterwards() -> None:
    show = "import os; print(os.getcwd(), os.listdir()); open('left', 'w')"
    first, second = run(python(show)).stdout.split(" ", 1), run(python(show)).stdout.split(" ", 1)
    assert first[0] != second[0]
    assert first[1] == second[1] == "[]\n"
    assert not Path(first[0]).exists()


def test_environment_is_explicit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("KMP_AFFINITY", "compact")
    monkeypatch.setenv("UNRELATED", "kept")
    shown = run(python("import os; print(dict(os.environ))")).stdout
    assert "OMP_NUM_THREADS" not in shown
    assert "KMP_AFFINITY" not in shown
    assert "'UNRELATED': 'kept'" in shown
    assert "'ORT_DISABLE_TELEMETRY': '1'" in shown


SPAWN = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
    "open(sys.argv[1], 'w').write(str(child.pid))\n"
)


def test_a_hang_is_killed_with_all_it_started(tmp_path: Path) -> None:
    noted = tmp_path / "child"
    with pytest.raises(DeviceError, match="did not end within 3 s"):
        run(python(SPAWN + "time.sleep(100)", str(noted)), 3)
    wait_for(lambda: not alive(int(noted.read_text())))


def test_nothing_is_left_running_by_a_program_that_ended(tmp_path: Path) -> None:
    noted = tmp_path / "child"
    assert run(python(SPAWN, str(noted))).exit_code == 0
    wait_for(lambda: not alive(int(noted.read_text())))


def test_ctrl_c_kills_the_program(tmp_path: Path) -> None:
    noted = tmp_path / "own"
    code = "import os, sys, time; open(sys.argv[1] + '.tmp', 'w').write(str(os.getpid())); "
    code += "os.rename(sys.argv[1] + '.tmp', sys.argv[1]); time.sleep(100)"

    def interrupt() -> None:
        wait_for(noted.exists)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(python(code, str(noted)))
    thread.join()
    assert not alive(int(noted.read_text()))


def test_much_output_is_cut_at_its_start() -> None:
    completed = run(python("print('x' * 3_000_000); print('the end')"))
    assert completed.stdout.endswith("the end\n")
    assert len(completed.stdout) <= 1 << 20


def test_a_program_killed_by_a_signal() -> None:
    assert run(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")).exit_code == -signal.SIGKILL


def test_what_cannot_be_started_or_sent(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot start /nowhere/python"):
        run(["/nowhere/python"])
    with pytest.raises(InputError, match="absent"):
        run(python(""), given=tmp_path / "absent")
    with pytest.raises(ValueError, match="plain file name"):
        LocalTransport().run(python(""), {"../up": tmp_path}, [], 1)
    with pytest.raises(ValueError, match="plain file name"):
        LocalTransport().run(python(""), {}, ["a/b"], 1)


def test_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(DeviceError, match="temporary folder"):
        run(python(""))


def test_folders_of_killed_runs_are_removed_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, new = tmp_path / (TEMPORARY_PREFIX + "old"), tmp_path / (TEMPORARY_PREFIX + "new")
    for folder in (old, new):
        folder.mkdir()
        (folder / "file").touch()
    os.utime(old, (0, 0))
    LocalTransport()
    assert not old.exists()
    assert new.exists()


def test_mock_keeps_calls_and_gives_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")

    def handler(call: Call) -> Answer:
        return Answer(3, "out", "err", {"out": call.files["a"] * 2, "unasked": b""})

    transport = MockTransport(handler)
    completed = transport.run(["program"], {"a": tmp_path / "a"}, ["out"], 5)
    assert (completed.exit_code, completed.stdout, completed.stderr) == (3, "out", "err")
    assert {name: path.read_bytes() for name, path in completed.files.items()} == {"out": b"contentcontent"}
    assert transport.calls == [Call(("program",), {"a": b"content"}, ("out",), 5)]
