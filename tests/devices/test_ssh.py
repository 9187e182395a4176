"""The ssh transport with a real client and a real server, and the faults that a board on a desk has."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevqa.devices import Completed, Target, open_transport
from edgevqa.devices.jobs import probe, run_job
from edgevqa.devices.shell import BEGIN, DONE, FILE, read_output, remote_command
from edgevqa.devices.ssh import SSHTransport
from edgevqa.errors import DeviceError, InputError, UsageError
from tests.conftest import ROOT
from tests.lab.devices import Board, command_lines, running, wait_for

HOSTILE = 'it\'s "x"; rm -rf $HOME `id` \\ \n*'


@pytest.fixture
def target(board: Board, tmp_path: Path) -> Iterator[Target]:
    """A profile of a board that answers, with a folder of its own there."""
    made = board.target(tmp_path)
    yield made
    shutil.rmtree(board.path(made), ignore_errors=True)


def run(target: Target, *argv: str, timeout_s: float = 120, **files: Path) -> Completed:
    return open_transport(target).run(argv, files, ["out", HOSTILE], timeout_s)


def fails(call: Callable[[], object], *texts: str) -> None:
    """Check that a call ends in one clear line with the exit code of devices."""
    with pytest.raises(DeviceError) as caught:
        call()
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert "\n" not in message, message
    for text in texts:
        assert text in message, message


def test_sends_runs_and_fetches_whatever_the_names(target: Target, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(100_000))
    script = 'cp "$1" "$2"; printf "%s|" "$@"; pwd >&2; exit 7'
    transport = open_transport(target)
    completed = transport.run(["sh", "-c", script, "x", HOSTILE, "out", ""], {HOSTILE: sent}, ["out", "none"], 60)
    assert completed.exit_code == 7
    assert completed.stdout.endswith(f"{HOSTILE}|out||")
    assert completed.files["out"].read_bytes() == sent.read_bytes()
    assert set(completed.files) == {"out"}
    assert f"{target.folder}/work/" in completed.stderr


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_any_arguments_reach_the_script_as_they_are(arguments: list[str]) -> None:
    line = remote_command('for one; do printf "%s\\0" "$one"; done', *arguments)
    said = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout
    assert said.decode().split("\0")[:-1] == arguments


@given(st.text(), st.integers(0, 255), st.lists(st.sampled_from("abc"), unique=True))
def test_a_trailer_is_found_behind_any_output(text: str, code: int, names: list[str]) -> None:
    trailer = "".join(f"{FILE}{len(names) - place} {name * 64}\n" for place, name in enumerate(names))
    whole = f"hello {DONE}r1 0\n{BEGIN}r1\n{text}\n{trailer}{DONE}r1 {code}\n"
    assert read_output(whole, "r1", names) == (text, code, {name: name * 64 for name in names})
    assert read_output(f"{BEGIN}r1\n{text}\n{DONE}r2 0", "r1", names)[1] is None


def test_a_file_is_sent_once_and_again_when_it_was_damaged(board: Board, target: Target, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(b"content")
    assert run(target, "cat", "given", given=sent).stdout == "content"
    (stored,) = (board.path(target) / "files").iterdir()
    first = stored.stat().st_ino
    assert run(target, "cat", "other", other=sent).stdout == "content"
    assert stored.stat().st_ino == first
    stored.write_bytes(b"damaged")
    assert run(target, "cat", "given", given=sent).stdout == "content"
    assert list((board.path(target) / "work").iterdir()) == []


def test_environment_is_explicit_there(target: Target) -> None:
    shown = run(target, "env").stdout.splitlines()
    assert "ORT_DISABLE_TELEMETRY=1" in shown
    assert "PYTHONHASHSEED=0" in shown


def test_one_connection_serves_all_runs(board: Board, target: Target) -> None:
    transport = open_transport(target)
    transport.run(["true"], {}, [], 60)
    before = board.sessions()
    transport.run(["true"], {}, [], 60)
    assert board.sessions() == before != []
    assert isinstance(transport, SSHTransport)
    transport.close()
    wait_for(lambda: not set(before) & set(board.sessions()))


def test_an_unknown_host_key_is_not_accepted(board: Board, target: Target, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text("")
    fails(lambda: run(target, "true"), "host key of board (127.0.0.1) is not known", "ssh 127.0.0.1")
    assert (tmp_path / "known_hosts").read_text() == ""


def test_a_changed_host_key_stops_everything(board: Board, target: Target, tmp_path: Path) -> None:
    other = (board.folder / "key.pub").read_text().split()[:2]
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{board.port} {' '.join(other)}\n")
    fails(lambda: run(target, "true"), "another host key than before", "ssh-keygen -f", "somebody else")


def test_a_key_that_is_not_let_in(target: Target, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    config = tmp_path / "ssh_config"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("IdentityFile")]
    config.write_text("\n".join([*lines, f"IdentityFile {tmp_path / 'other'}", ""]))
    fails(lambda: run(target, "true"), "does not let this key in", "ssh-copy-id 127.0.0.1")


def test_hosts_that_are_not_there(target: Target, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    text = config.read_text()
    config.write_text(text.replace("Port ", "Port 1 # "))
    fails(lambda: run(target, "true"), "cannot reach board (127.0.0.1)", "nothing listens there")
    nowhere = dataclasses.replace(target, host="no-such-host.invalid")
    fails(lambda: run(nowhere, "true"), "cannot reach", "name is not known")
    with pytest.raises(UsageError, match="not the address"):
        open_transport(dataclasses.replace(target, host="-oProxyCommand=touch /tmp/x"))
    with pytest.raises(InputError, match="does not exist"):
        open_transport(dataclasses.replace(target, ssh_config="absent"))
    with pytest.raises(DeviceError, match="no host is configured") as caught:
        open_transport(dataclasses.replace(target, host=None))
    assert len(str(caught.value).splitlines()) == 2


def spawn(seconds: str) -> list[str]:
    """A program that starts another one and waits for it; the number of seconds tells them from others."""
    return ["sh", "-c", f"sleep {seconds} & wait"]


def token() -> str:
    return f"9{secrets.randbelow(10**6):06}"


def test_a_hang_is_killed_with_all_it_started(target: Target) -> None:
    seconds = token()
    fails(lambda: run(target, *spawn(seconds), timeout_s=4), "did not end within 4 s", "was killed")
    wait_for(lambda: not running(f"sleep {seconds}"))


def test_nothing_is_left_running_by_a_program_that_ended(board: Board, target: Target) -> None:
    seconds = token()
    assert run(target, "sh", "-c", f"sleep {seconds} &").exit_code == 0
    wait_for(lambda: not running(f"sleep {seconds}"))
    wait_for(lambda: not any(str(target.folder) in line for line in command_lines().values()))


def test_ctrl_c_ends_the_program_there(target: Target) -> None:
    seconds = token()
    code = "import sys; from edgevqa.devices import *; open_transport(load_target(sys.argv[1])).run({}, {{}}, [], 100)"
    profile = Path(str(target.ssh_config)).with_name("profile.toml")
    profile.write_text(
        f'name = "board"\ndescription = "x"\nkind = "ssh"\nruntimes = ["litert"]\nhost = "127.0.0.1"\n'
        f'ssh_config = "ssh_config"\nfolder = "{target.folder}"\n'
    )
    for signal_name in ("INT", "KILL"):
        process = subprocess.Popen(
            [sys.executable, "-c", code.format(spawn(seconds)), str(profile)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: bool(running(f"sleep {seconds}")))
        subprocess.run(["kill", f"-{signal_name}", str(process.pid)], check=True)
        process.wait(60)
        wait_for(lambda: not running(f"sleep {seconds}"))


def in_background(call: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Start a call; returns a function that waits for its end and gives what it raised."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except DeviceError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def ended() -> BaseException | None:
        thread.join(120)
        return raised[0] if raised else None

    return ended


@pytest.fixture
def own_board() -> Iterator[Board]:
    """A board whose connections can be cut without harm to other tests."""
    found = Board("amd64")
    found.start()
    yield found
    found.stop()


@pytest.mark.slow
def test_a_connection_that_is_cut(own_board: Board, tmp_path: Path) -> None:
    target, seconds = own_board.target(tmp_path), token()
    transport = open_transport(target)
    there = own_board.path(target)
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(150_000_000)
    stages: list[tuple[list[str], dict[str, Path], Callable[[], bool]]] = [
        (["true"], {"big": big}, lambda: any(there.glob("files/.part-*"))),
        (spawn(seconds), {}, lambda: bool(running(f"sleep {seconds}"))),
        (["truncate", "-s", "300M", "out"], {}, lambda: bool(running("cat ./out"))),
    ]
    for argv, files, reached in stages:
        ended = in_background(lambda argv=argv, files=files: transport.run(argv, files, ["out"], 100))
        wait_for(reached)
        own_board.cut()
        error = ended()
        assert error is not None, argv
        assert "lost" in str(error) or "broken" in str(error), error
        assert "\n" not in str(error)
        wait_for(lambda: not running(f"sleep {seconds}"))
    # the board is back, and the same transport finds it
    assert transport.run(["echo", "back"], {}, [], 60).stdout == "back\n"
    assert not any(there.glob("files/.part-*"))
    shutil.rmtree(there)


def test_no_room_and_no_permission_there(target: Target, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(1_000_000))
    small = dataclasses.replace(target, folder="/mnt/small/x")
    fails(lambda: run(small, "true", given=big), "No space left", "make room there")
    readonly = dataclasses.replace(target, folder="/mnt/readonly/x")
    fails(lambda: run(readonly, "true"), "Read-only", "`folder` in the profile")
    other = dataclasses.replace(target, folder="/usr/x")
    fails(lambda: run(other, "true"), "Permission denied", "`folder` in the profile")


def test_what_runs_there_but_not_well(target: Target) -> None:
    assert run(target, "sh", "-c", "kill -KILL $$").exit_code == 137
    fails(lambda: probe(dataclasses.replace(target, python="/nowhere/python")), "has no /nowhere/python", "`python`")
    fails(lambda: probe(dataclasses.replace(target, machine="aarch64")), "should be aarch64, but the device is x86_64")
    job = {"mode": "probe", "runtime": "tflite_runtime"}
    missing = "edgevqa device setup --target board --runtime tflite_runtime"
    fails(lambda: run_job(open_transport(target), target, job, {}), "tflite-runtime cannot be imported", missing)


def test_what_a_killed_run_left_is_removed_after_a_day(board: Board, target: Target) -> None:
    run(target, "true")
    old, new, part = (board.path(target) / name for name in ("work/old", "work/new", "files/.part-old"))
    for folder in (old, new):
        folder.mkdir()
    part.touch()
    for path in (old, part):
        os.utime(path, (0, 0))
    run(target, "true")
    assert (old.exists(), new.exists(), part.exists()) == (False, True, False)
