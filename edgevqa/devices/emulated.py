"""Another architecture without hardware: qemu's user mode runs programs of an unpacked root file system.

For smoke tests and counts of instructions; a latency under emulation says nothing. No privileges are needed: qemu looks
for every absolute path in the root first. The root must hold a `/proc/cpuinfo` of its architecture, for runtimes crash
when they meet this machine's.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgevqa.devices.base import Completed
from edgevqa.devices.local import LocalTransport
from edgevqa.devices.targets import Target
from edgevqa.errors import DeviceError
from edgevqa.storage import cache_folder

MACHINE = "aarch64"
CPU = "cortex-a76"
EMULATORS = (f"qemu-{MACHINE}", f"qemu-{MACHINE}-static")


def emulated_root(target: Target) -> Path:
    """The root file system of an emulated target; by default the one that `make lab` builds."""
    if target.root is not None:
        return target.beside(target.root).absolute()
    return (cache_folder() / "lab" / "board-arm64" / "root").absolute()


class EmulatedTransport(LocalTransport):
    """Runs programs of another architecture on this machine; names without `/` are looked up in the root's /usr/bin."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.root, self.cpu = emulated_root(target), target.cpu or CPU
        found = [path for path in map(shutil.which, EMULATORS) if path]
        if not found:
            raise DeviceError(f"there is no {EMULATORS[0]} here; install qemu's user mode (Debian: qemu-user-static)")
        self.emulator = found[0]
        if not (self.root / "usr" / "bin").is_dir():
            raise DeviceError(
                f"there is no {MACHINE} root file system in {self.root}; build one with `make lab` in a checkout, "
                "or let `root` in the profile name one"
            )

    def run(self, argv: Sequence[str], files: Mapping[str, Path], fetch: Sequence[str], timeout_s: float) -> Completed:
        """See `Transport.run`."""
        program = argv[0] if "/" in argv[0] else str(self.root / "usr" / "bin" / argv[0])
        emulator = [self.emulator, "-cpu", self.cpu, "-L", str(self.root)]
        return super().run([*emulator, program, *argv[1:]], files, fetch, timeout_s)
