"""Count what a program executes under qemu: a small plugin of the emulator, compiled once on this machine.

The counts are of instructions of the emulated processor. They do not depend on how fast or how busy this machine is,
so they show changes that a clock would not; they are neither a latency nor an energy.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from edgevqa.devices.base import TEMPORARY_PREFIX
from edgevqa.errors import DeviceError
from edgevqa.storage import cache_folder, read_json, sha256_bytes, write_bytes

SOURCE = Path(__file__).with_name("instructions.c")
COUNTS_NAME = "instructions.json"
COMPILER = "gcc"
FLAGS = ("-O2", "-shared", "-fPIC", "-fvisibility=hidden")
COMPILE_TIMEOUT_S = 120.0
SECOND_INTERFACE = 9  # the version of qemu from which plugins have to ask for the interface 2


def _ask(*argv: str) -> str:
    """What a program of this machine says; raises DeviceError when it cannot be run."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMPILE_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise DeviceError(f"cannot start {argv[0]}: {error.strerror or error}") from error
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{argv[0]} did not end within {COMPILE_TIMEOUT_S:g} s") from None
    return done.stdout.decode(errors="replace")


@cache
def qemu_version(emulator: str) -> str:
    """The version of an emulator; raises DeviceError when it does not say."""
    found = re.search(r"version (\d+\.\d+(?:\.\d+)*)", _ask(emulator, "--version"))
    if found is None:
        raise DeviceError(f"{emulator} --version names no version; is it qemu's user mode?")
    return found[1]


@cache
def plugin(emulator: str) -> Path:
    """The compiled plugin for an emulator, from the cache or made now.

    Raises:
        DeviceError: the emulator takes no plugins, or there is no compiler.
    """
    version = qemu_version(emulator)
    if "-plugin" not in _ask(emulator, "--help"):
        raise DeviceError(f"{emulator} takes no plugins; install a dynamic qemu-aarch64 (Debian 12: qemu-user)")
    flags = (*FLAGS, f"-DPLUGIN_API={1 if int(version.split('.')[0]) < SECOND_INTERFACE else 2}")
    name = sha256_bytes(SOURCE.read_bytes() + "\n".join(flags).encode())[:16]
    path = cache_folder() / "plugins" / f"instructions-{name}.so"
    if path.is_file():
        return path
    if shutil.which(COMPILER) is None:
        raise DeviceError(f"there is no {COMPILER} here to compile the counter of instructions (Debian: gcc libc6-dev)")
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        made = Path(folder) / "instructions.so"
        argv = [COMPILER, *flags, "-o", str(made), str(SOURCE)]
        said = _ask(*argv)
        if not made.is_file():
            lines = [line for line in said.splitlines() if "error" in line] or ["it gave no reason"]
            raise DeviceError(f"{COMPILER} cannot compile the counter of instructions: {lines[0][:200]}")
        write_bytes(path, made.read_bytes())
    return path


def read_counts(path: Path) -> list[int]:
    """The instructions of each marked query in a fetched `COUNTS_NAME`.

    Raises:
        DeviceError: the file is broken, or several threads have run, whose counts are chance.
    """
    found = read_json(path)
    try:
        threads, queries = int(found["threads"]), [int(count) for count in found["queries"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DeviceError(f"the emulator wrote no counts of instructions: {error}") from error
    if threads != 1:
        raise DeviceError(f"{threads} threads ran, and how long they wait for each other is chance")
    if not queries:
        raise DeviceError("the emulator counted no instructions: no query was marked")
    return queries
