"""Simulated devices for tests: root file systems that `make lab` built, behind a real sshd or a small adbd."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgevqa.devices import Target

SCRIPT = Path(__file__).with_name("board.sh")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def lab_folder() -> Path:
    cache = os.environ.get("EDGEVQA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "edgevqa"
    return Path(os.environ.get("EDGEVQA_LAB") or Path(cache) / "lab").expanduser()


LAB = lab_folder()  # tests may set another cache later


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited for {seconds} s in vain"
        time.sleep(0.05)


def command_lines() -> dict[int, str]:
    """Every process with its arguments."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def running(command: str) -> list[int]:
    """The processes with exactly this command line."""
    return [process for process, line in command_lines().items() if line.strip() == command]


def built(folder: Path, script: Path) -> None:
    """Skip the test where a part of the lab has not been built as it should be."""
    stamp, wanted = folder / "stamp", hashlib.sha256(script.read_bytes()).hexdigest()[:16]
    if not stamp.exists() or stamp.read_text().strip() != wanted:
        reasons = [path.read_text().strip() for path in (folder / "reason", LAB / "reason") if path.exists()]
        pytest.skip(reasons[0] if reasons else "no simulated devices: run `make lab`")


def swiftshader() -> Path:
    """The folder of a GPU made in software, with the settings of Vulkan that choose it."""
    folder = LAB / "swiftshader"
    built(folder, SCRIPT.with_name("swiftshader.sh"))
    return folder


def gpu_environment() -> dict[str, str]:
    """What a process needs to see that GPU, and no other."""
    folder = swiftshader()
    return {"VK_ICD_FILENAMES": str(folder / "vk_swiftshader_icd.json"), "LD_LIBRARY_PATH": str(folder)}


class Device:
    """A device of the lab, built by a script; skips the test where that has not been done as it should be."""

    script: Path

    def __init__(self, name: str) -> None:
        self.folder = LAB / name
        built(self.folder, self.script)
        self.port = 0
        self.server: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        with socket.create_server(("127.0.0.1", self.port)) as free:
            self.port = free.getsockname()[1]
        with (self.folder / f"log-{os.getpid()}-{self.port}").open("wb") as log:
            command = [str(self.script), "start", str(self.folder), str(self.port), *arguments]
            self.server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_for(self.answers)

    def answers(self) -> bool:
        assert self.server is not None and self.server.poll() is None, "the device has ended"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
                return self.greets(connection)
        except OSError:
            return False

    def greets(self, connection: socket.socket) -> bool:
        return True

    def stop(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()
            self.server = None


class Phone(Device):
    """A phone behind adb, with a server of adb's of its own."""

    script = SCRIPT.with_name("phone.sh")

    def __init__(self, arch: str) -> None:
        super().__init__(f"phone-{arch}")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.adb_port = free.getsockname()[1]

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def target(self, **changes: object) -> Target:
        """A profile of this phone with a folder of its own there."""
        values: dict[str, object] = {
            "name": "phone",
            "description": "a simulated phone",
            "kind": "adb",
            "runtimes": ("onnxruntime",),
            "serial": self.serial,
            "folder": f"/data/local/tmp/edgevqa-{secrets.token_hex(4)}",
        }
        return Target(**{**values, **changes})  # type: ignore[arg-type]

    def path(self, target: Target) -> Path:
        """The folder of a target, as seen from here."""
        assert target.folder is not None
        return self.folder / "root" / target.folder[1:]


class Board(Device):
    """A Linux board behind ssh."""

    script = SCRIPT

    def __init__(self, arch: str) -> None:
        super().__init__(f"board-{arch}")
        self.machine = MACHINES[arch]
        self.home = self.folder / "root" / "home" / "pi"
        forced = os.environ.get("EDGEVQA_LAB_PROOT") == "1"
        self.without_mounts = arch == "arm64" and (forced or (self.folder / "proot").exists())

    def start(self, *arguments: str) -> None:
        registered = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists()
        if self.machine == "aarch64" and not self.without_mounts and not registered:
            pytest.skip("qemu is not registered for ARM programs: run `make lab`")
        super().start(*arguments)

    def greets(self, connection: socket.socket) -> bool:
        return connection.recv(4) == b"SSH-"

    def sessions(self) -> list[int]:
        """The processes that serve connections, not what runs in them."""
        assert self.server is not None
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                text = path.read_text()
                parents[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
        listener = self.server.pid
        if self.without_mounts:  # proot, which has started sshd
            listener = next((child for child, parent in parents.items() if parent == listener), listener)
        first = [child for child, parent in parents.items() if parent == listener]
        return first + [child for child, parent in parents.items() if parent in first]

    def cut(self) -> None:
        """End all connections at once."""
        for process in self.sessions():
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        if self.server is not None:
            self.cut()
            with contextlib.suppress(OSError):  # what proot has started does not end with it
                os.killpg(self.server.pid, signal.SIGKILL)
        super().stop()

    def target(self, folder: Path, **changes: object) -> Target:
        """A profile of this board with a folder of its own there; `folder` gets the settings of ssh."""
        known = (self.folder / "root" / "etc" / "ssh" / "ssh_host_ed25519_key.pub").read_text().split()[:2]
        hosts, config = folder / "known_hosts", folder / "ssh_config"
        if not hosts.exists():
            hosts.write_text(f"[127.0.0.1]:{self.port} {' '.join(known)}\n")
        lines = ["Host 127.0.0.1", "User pi", f"Port {self.port}", f"IdentityFile {self.folder / 'key'}"]
        config.write_text("\n".join([*lines, "IdentitiesOnly yes", f"UserKnownHostsFile {hosts}", ""]))
        values: dict[str, object] = {
            "name": "board",
            "description": "a simulated board",
            "kind": "ssh",
            "runtimes": ("onnxruntime",),
            "machine": self.machine,
            "host": "127.0.0.1",
            "ssh_config": str(config),
            "folder": f".edgevqa-{secrets.token_hex(4)}",
        }
        return Target(**{**values, **changes})  # type: ignore[arg-type]

    def path(self, target: Target) -> Path:
        """The folder of a target, as seen from here."""
        assert target.folder is not None
        root = self.folder / "root"
        return root / target.folder[1:] if target.folder.startswith("/") else self.home / target.folder
