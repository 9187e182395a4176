"""Boards behind ssh: the OpenSSH client with its user's own settings, agent and known hosts, one connection for all."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import threading
import weakref
from pathlib import Path

from edgevqa.devices.base import TEMPORARY_PREFIX
from edgevqa.devices.shell import Said, ShellTransport, last_line, no_such_file
from edgevqa.devices.targets import Target
from edgevqa.devices.waiting import run_client
from edgevqa.errors import DeviceError, DeviceLost, UsageError

FOLDER = ".edgevqa"
CONNECT_TIMEOUT_S = 15
IDLE_S = 120  # for which the shared connection outlives a killed edgevqa
REFUSED = 255  # the client's exit code for its own failures
LASTING = ("IDENTIFICATION HAS CHANGED", "Host key verification failed", "Permission denied")  # waiting does not help

# never ask, never accept a host key on its own, notice within 15 s that the device is gone
OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": str(CONNECT_TIMEOUT_S),
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "RequestTTY": "no",
    "RemoteCommand": "none",
    "LogLevel": "ERROR",
}


def _close(argv: list[str], folder: str) -> None:
    """End the shared connection; the master may be gone already."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    shutil.rmtree(folder, ignore_errors=True)


class SSHTransport(ShellTransport):
    """Runs programs over ssh; the first command opens a connection that the others share."""

    def __init__(self, target: Target) -> None:
        target.check_this_machine()
        host = target.host or ""
        if host.startswith("-") or not host.strip():
            raise UsageError(f"target {target.name}: {host!r} is not the address of a host")
        super().__init__(f"{target.name} ({host})", target.folder or FOLDER)
        self.host = host
        settings: list[str] = []
        if target.ssh_config is not None:
            path = target.beside(target.ssh_config)
            if not path.is_file():
                raise no_such_file(path)
            settings = ["-F", str(path)]
        # a socket's path may hold some hundred characters only, so it lies in the system's temporary folder
        folder = tempfile.mkdtemp(prefix=TEMPORARY_PREFIX)
        self._socket = Path(folder) / "s"
        options = [part for name, value in OPTIONS.items() for part in ("-o", f"{name}={value}")]
        self._ssh = ["ssh", *settings, *options, "-o", f"ControlPath={self._socket}"]
        self._opening = threading.Lock()
        self._finalizer = weakref.finalize(self, _close, [*self._ssh, "-O", "exit", "--", host], folder)

    def close(self) -> None:
        """End the shared connection."""
        self._finalizer()

    def connect(self) -> None:
        """Open the shared connection if it is not open (any more)."""
        with self._opening:
            if self._socket.exists() and self._said("-O", "check").exit_code == 0:
                return
            self._socket.unlink(missing_ok=True)
            said = self._said("-o", "ControlMaster=yes", "-o", f"ControlPersist={IDLE_S}", command="exit 0")
            if said.exit_code != 0:
                lasting = any(words in said.stderr for words in LASTING)
                raise (DeviceError if lasting else DeviceLost)(self.explain(said.stderr))

    def client(self, command: str) -> list[str]:
        """See `ShellTransport.client`."""
        return [*self._ssh, "-o", "ControlMaster=no", "--", self.host, command]

    def lost(self, said: Said) -> str | None:
        """See `ShellTransport.lost`."""
        if said.exit_code != REFUSED:
            return None
        return f"the connection to {self.name} was lost: {last_line(said.stderr) or 'it closed'}"

    def _said(self, *options: str, command: str | None = None) -> Said:
        argv = [*self._ssh, *options, "--", self.host, *([] if command is None else [command])]
        try:
            done = run_client(argv, 4 * CONNECT_TIMEOUT_S)
        except FileNotFoundError:
            raise DeviceError("there is no ssh here; install the OpenSSH client (Debian: openssh-client)") from None
        except subprocess.TimeoutExpired:
            raise DeviceLost(f"{self.name} did not answer within {4 * CONNECT_TIMEOUT_S} s") from None
        return Said(done.returncode, done.stdout, done.stderr)

    def explain(self, stderr: str) -> str:
        """Why ssh did not connect, and what to do, in one line."""
        if "IDENTIFICATION HAS CHANGED" in stderr:
            found = re.search(r"ssh-keygen -f .* -R .*", stderr)
            remove = found[0].strip() if found else f"ssh-keygen -R {self.host}"
            return (
                f"{self.name} shows another host key than before: if the board was set up anew, forget the old key "
                f"with: {remove}; if not, somebody else may be answering"
            )
        if "Host key verification failed" in stderr:
            return f"the host key of {self.name} is not known; look at it and accept it once with: ssh {self.host}"
        if "Permission denied" in stderr:
            return (
                f"{self.name} does not let this key in; bring yours there with: ssh-copy-id {self.host}; "
                "a key with a passphrase must be in the agent (ssh-add)"
            )
        reasons = {
            "Could not resolve hostname": "its name is not known; check `host` in the profile",
            "Connection refused": "nothing listens there; is sshd running, and is the port right?",
            "timed out": "it does not answer; is it switched on and in this network?",
            "No route to host": "there is no way to it; is it switched on and in this network?",
            "Network is unreachable": "this machine has no network",
        }
        for words, advice in reasons.items():
            if words in stderr:
                return f"cannot reach {self.name}: {advice}"
        return f"cannot reach {self.name}: {last_line(stderr) or 'ssh gave no reason'}"
