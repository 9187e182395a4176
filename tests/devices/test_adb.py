"""The adb transport with the stock client and a simulated phone, and the faults of phones on a desk."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgevqa.devices import Target, open_transport
from edgevqa.devices.adb import parse_devices
from edgevqa.errors import DeviceError
from edgevqa.gate.gate import machine_of
from edgevqa.measure.checkup import check_up
from tests.lab.devices import Phone, running, wait_for

HOSTILE = 'it\'s "x"; rm -rf $HOME `id`'


@pytest.fixture
def target(phone: Phone) -> Iterator[Target]:
    made = phone.target()
    yield made
    shutil.rmtree(phone.path(made), ignore_errors=True)


def test_states_of_devices() -> None:
    listing = "* daemon started successfully\nList of devices attached\nR5CT\tunauthorized\n10.0.0.2:5555\tdevice\n\n"
    assert parse_devices(listing) == {"R5CT": "unauthorized", "10.0.0.2:5555": "device"}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("unauthorized", "it has not been allowed: unlock it"),
        ("offline", "adb reconnect offline"),
        ("no permissions (missing udev rules?)", "this user may not use it"),
        ("rescue", "its state is rescue"),
    ],
)
def test_a_phone_that_is_not_ready_says_what_to_do(
    state: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What adb lists of such a phone is played, for a simulated one is always ready."""
    client = tmp_path / "adb"
    client.write_text(f"#!/bin/sh\nprintf 'List of devices attached\\nR5CT\\t{state}\\n'\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    phone = Target("phone", "a phone", "adb", ("onnxruntime",))
    with pytest.raises(DeviceError, match=f"phone \\(R5CT\\): .*{words}") as caught:
        open_transport(phone).run(["true"], {}, [], 60)
    assert "\n" not in str(caught.value)


def test_sends_runs_and_fetches_whatever_the_names(phone: Phone, target: Target, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(600_000))
    script = 'cp "$1" "$2"; printf "%s|" "$@"; id -u >&2; exit 7'
    transport = open_transport(target)
    for _ in range(2):
        completed = transport.run(["sh", "-c", script, "x", HOSTILE, "out"], {HOSTILE: sent}, ["out", "none"], 60)
        assert (completed.exit_code, completed.stderr) == (7, "2000\n")
        assert completed.stdout == f"{HOSTILE}|out|"
        assert completed.files["out"].read_bytes() == sent.read_bytes()
        assert set(completed.files) == {"out"}
    assert list((phone.path(target) / "work").iterdir()) == []
    assert len(list((phone.path(target) / "files").iterdir())) == 1


def test_a_hang_is_killed_with_all_it_started(target: Target) -> None:
    seconds = f"8{secrets.randbelow(10**6):06}"
    with pytest.raises(DeviceError, match="did not end within 5 s"):
        open_transport(target).run(["sh", "-c", f"sleep {seconds} & wait"], {}, [], 5)
    wait_for(lambda: not running(f"sleep {seconds}"))


def test_no_room_there(target: Target, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(1_000_000))
    with pytest.raises(DeviceError, match="No space left") as caught:
        open_transport(dataclasses.replace(target, folder="/mnt/small/x")).run(["true"], {"big": big}, [], 60)
    assert "\n" not in str(caught.value)
    assert "lost" not in str(caught.value) and "make room there" in str(caught.value)


def test_the_server_may_be_killed_and_the_phone_chosen(phone: Phone, target: Target) -> None:
    transport = open_transport(target)
    transport.run(["true"], {}, [], 60)
    subprocess.run(["adb", "kill-server"], check=True, timeout=30)
    assert transport.run(["echo", "back"], {}, [], 60).stdout == "back\n"
    only = dataclasses.replace(target, serial=None)
    begun = open_transport(only)
    assert begun.run(["echo", "found"], {}, [], 60).stdout == "found\n"
    with pytest.raises(DeviceError, match=f"does not see R5CT, only {phone.serial}"):
        open_transport(dataclasses.replace(target, serial="R5CT")).run(["true"], {}, [], 60)
    second = f"localhost:{phone.port}"
    subprocess.run(["adb", "connect", second], check=True, timeout=30)
    with pytest.raises(DeviceError, match="let `serial` in the profile choose one"):
        open_transport(only).run(["true"], {}, [], 60)
    assert begun.run(["echo", "goes on"], {}, [], 60).stdout == "goes on\n"
    assert machine_of(only, begun) == phone.serial
    subprocess.run(["adb", "disconnect", second], check=True, timeout=30)


def test_doctor_asks_a_phone_with_its_shell(phone: Phone, target: Target, tmp_path: Path) -> None:
    profile = tmp_path / "phone.toml"
    profile.write_text(
        f'name = "phone"\ndescription = "x"\nkind = "adb"\nserial = "{phone.serial}"\n'
        f'folder = "{target.folder}"\nruntimes = ["tflite_runtime"]\nmachine = "x86_64"\n'
    )
    report = check_up(profile)
    assert report.facts["machine"].startswith("simulated phone x86_64 Android 14 ")
    assert report.facts["system"] == "64-bit, bionic, x86_64"
    assert report.facts["memory"].endswith(" GB") and "avx2" in report.facts["features"]
    assert report.facts["processor"].endswith(f"{os.cpu_count()} cores")
    (missing,) = report.missing
    assert "needs Python; without it, litert opens the same files" in missing and not report.ready


def test_a_phone_that_is_unplugged_and_comes_back(phone: Phone, target: Target) -> None:
    transport = open_transport(target)
    transport.run(["true"], {}, [], 60)
    phone.stop()
    with pytest.raises(DeviceError) as caught:
        transport.run(["true"], {}, [], 60)
    assert "\n" not in str(caught.value)
    phone.start(sys.executable)
    assert transport.run(["echo", "back"], {}, [], 60).stdout == "back\n"
