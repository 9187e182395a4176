"""What the tests of several rooms need: disks that are full or read-only, and children that find this checkout."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgevqa.devices import Target, load_target
from edgevqa.devices.setup import set_up
from edgevqa.errors import DeviceError, EnvironmentFailure
from tests.lab.devices import Board, Phone, swiftshader

# A shell starts what runs in the background with Ctrl-C ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
SMALL_DISK = 512 << 10


def mount(folder: Path, options: str) -> None:
    """Mount a file system in memory; skips the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


def fill(disk: Path, *, free: int = 0) -> Path:
    """Fill a disk but for `free` bytes; returns the file that fills it."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    os.truncate(ballast, ballast.stat().st_size - free)
    return ballast


def seal(disk: Path) -> None:
    """Make a disk read-only, which holds for the super-user, too."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=30)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of half a megabyte."""
    folder = tmp_path / "small-disk"
    mount(folder, f"size={SMALL_DISK}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


@pytest.fixture(scope="session")
def child_environment() -> dict[str, str]:
    """The environment of programs that tests start in other folders."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGEVQA_")}
    cache = {name: os.environ[name] for name in ("EDGEVQA_CACHE",) if name in os.environ}
    return {**kept, **cache, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


@pytest.fixture(scope="session")
def board() -> Iterator[Board]:
    """A board of this architecture: what is about the connection needs no emulation."""
    yield from started("amd64")


@pytest.fixture(scope="session")
def arm64_board() -> Iterator[Board]:
    """A 64-bit ARM board; what runs there takes its time."""
    yield from started("arm64")


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    """A phone of this architecture."""
    yield from connected("amd64", tmp_path_factory)


@pytest.fixture(scope="module")
def arm64_phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    """A 64-bit ARM phone; what runs there takes its time."""
    yield from connected("arm64", tmp_path_factory)


@pytest.fixture(scope="module")
def gpu_phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    """A phone of this architecture with a GPU made in software as its own."""
    yield from connected("amd64", tmp_path_factory, str(swiftshader()))


def connected(arch: str, folders: pytest.TempPathFactory, *driver: str) -> Iterator[Phone]:
    """A phone with an adb server of its own, so that nobody's real one is disturbed."""
    if shutil.which("adb") is None:
        pytest.skip("there is no adb here: run `make lab`")
    found = Phone(arch)
    found.start(sys.executable, *driver)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(found.adb_port))
        patch.setenv("HOME", str(folders.mktemp("adb")))
        yield found
        subprocess.run(["adb", "kill-server"], capture_output=True, timeout=30)
    found.stop()


@pytest.fixture(scope="session")
def emulated() -> Target:
    """The profile `arm64-emulated` with its runtimes, which stay in the lab's root for the next time."""
    target = dataclasses.replace(load_target("arm64-emulated"), root=str(Board("arm64").folder / "root"))
    try:
        set_up(target)
    except EnvironmentFailure as error:
        if not isinstance(error, DeviceError) and "pip cannot download" in str(error):
            pytest.skip(str(error))
        raise
    return target


def started(arch: str) -> Iterator[Board]:
    found = Board(arch)
    found.start()
    yield found
    found.stop()
