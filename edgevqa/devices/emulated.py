"""Another architecture without hardware: qemu's user mode runs programs of an unpacked root file system.

For smoke tests and counts of instructions; a latency under emulation says nothing. No privileges are needed: qemu looks
for every absolute path in the root first. Runtimes choose their kernels by `/proc/cpuinfo`, and crash when it speaks of
another processor than the emulated one; so each run sees the root with a `/proc/cpuinfo` of its processor.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevqa.devices import instructions
from edgevqa.devices.base import Completed, FetchedFolder
from edgevqa.devices.local import LocalTransport
from edgevqa.devices.targets import Target
from edgevqa.errors import DeviceError, UsageError
from edgevqa.storage import cache_folder

MACHINE = "aarch64"
EMULATORS = (f"qemu-{MACHINE}", f"qemu-{MACHINE}-static")  # the second, which is static, takes no plugins
CORES = 2


@dataclass(frozen=True)
class Processor:
    """A processor as Linux describes it: its features, and the part number, variant and revision."""

    features: str
    part: int
    variant: int
    revision: int

    def cpuinfo(self) -> str:
        """The text of /proc/cpuinfo."""
        lines = [
            "BogoMIPS\t: 108.00",
            f"Features\t: {self.features}",
            "CPU implementer\t: 0x41",
            "CPU architecture: 8",
            f"CPU variant\t: {self.variant:#x}",
            f"CPU part\t: {self.part:#x}",
            f"CPU revision\t: {self.revision}",
        ]
        return "".join("\n".join([f"processor\t: {core}", *lines]) + "\n\n" for core in range(CORES))


# those of the Raspberry Pi 4 and 5, by qemu's names; the second has dot products of int8
DEFAULT_CPU = "cortex-a76"
PROCESSORS: Mapping[str, Processor] = {
    "cortex-a72": Processor("fp asimd crc32 cpuid", 0xD08, 0, 3),
    "cortex-a76": Processor(
        "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        part=0xD0B,
        variant=4,
        revision=1,
    ),
}


def emulated_root(target: Target) -> Path:
    """The root file system of an emulated target; by default the one that `make lab` builds."""
    if target.root is not None:
        return target.beside(target.root).absolute()
    lab = os.environ.get("EDGEVQA_LAB") or cache_folder() / "lab"
    return (Path(lab).expanduser() / "board-arm64" / "root").absolute()


def find_emulator() -> str:
    """The path of qemu's user mode; raises DeviceError when there is none."""
    found = [path for path in map(shutil.which, EMULATORS) if path]
    if not found:
        raise DeviceError(f"there is no {EMULATORS[0]} here; install qemu's user mode (Debian: qemu-user)")
    return found[0]


def show_root(root: Path, processor: Processor, view: Path) -> None:
    """Fill a folder with links to all that is in a root, but for /proc, which describes the processor."""
    for entry in root.iterdir():
        if entry.name != "proc":
            (view / entry.name).symlink_to(entry)
    (view / "proc").mkdir()
    (view / "proc" / "cpuinfo").write_text(processor.cpuinfo(), encoding="ascii")


class EmulatedTransport(LocalTransport):
    """Runs programs of another architecture on this machine; names without `/` are looked up in the root's /usr/bin.

    Where `instructions.COUNTS_NAME` is among the files to fetch, the emulator counts and writes it.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.root, self.cpu = emulated_root(target), target.cpu or DEFAULT_CPU
        if self.cpu not in PROCESSORS:
            raise UsageError(f"{target.name}: cpu {self.cpu!r} is not one of {', '.join(PROCESSORS)}")
        self.emulator = find_emulator()
        if not (self.root / "usr" / "bin").is_dir():
            raise DeviceError(
                f"there is no {MACHINE} root file system in {self.root}; build one with `make lab` in a checkout, "
                "or let `root` in the profile name one"
            )
        try:
            self._view = FetchedFolder()
            show_root(self.root, PROCESSORS[self.cpu], self._view.path)
        except OSError as error:
            raise DeviceError(f"cannot use a temporary folder: {error.filename}: {error.strerror or error}") from error

    def run(self, argv: Sequence[str], files: Mapping[str, Path], fetch: Sequence[str], timeout_s: float) -> Completed:
        """See `Transport.run`."""
        program = argv[0] if "/" in argv[0] else str(self.root / "usr" / "bin" / argv[0])
        emulator = [self.emulator, "-cpu", self.cpu, "-L", str(self._view.path)]
        if instructions.COUNTS_NAME in fetch:
            path = str(instructions.plugin(self.emulator)).replace(",", ",,")  # as qemu's options write a comma
            emulator += ["-plugin", f"{path},out={instructions.COUNTS_NAME}"]
        return super().run([*emulator, program, *argv[1:]], files, fetch, timeout_s)
