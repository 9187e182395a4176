"""Phones behind adb: the stock client, over USB or Wi-Fi, one device chosen by its serial number or the only one."""

from __future__ import annotations

import contextlib
import re
import secrets
import subprocess
from pathlib import Path

from edgevqa.devices.shell import (
    ACCEPT,
    CONTROL_TIMEOUT_S,
    LEAST_BYTES_PER_S,
    Said,
    ShellTransport,
    last_line,
    remote_command,
)
from edgevqa.devices.targets import Target
from edgevqa.devices.waiting import run_client
from edgevqa.errors import DeviceError, DeviceLost

FOLDER = "/data/local/tmp/edgevqa"  # where programs may be run without root
LIST_TIMEOUT_S = 30.0  # the first call starts adb's server
LOST = re.compile(
    r"device '.*' not found|device (offline|unauthorized|not found)|no devices|protocol fault|error: closed|"
    r"cannot connect|failed to connect|connection (reset|refused)|couldn't read from device|unexpected EOF",
    re.IGNORECASE,
)
REFUSED = 255  # a connection that closes without a word
STATES = {
    "unauthorized": "it has not been allowed: unlock it, and accept this computer in the dialogue on its screen",
    "offline": "adb lists it as offline; reconnect it, or run: adb reconnect offline",
    "no permissions": "this user may not use it; see https://developer.android.com/tools/device on udev rules",
    "recovery": "it is in its recovery system; start Android",
    "bootloader": "it is in its bootloader; start Android",
    "sideload": "it waits for a package; start Android",
    "authorizing": "it is being authorised; try again in a moment",
    "connecting": "it is being connected; try again in a moment",
}


def parse_devices(listing: str) -> dict[str, str]:
    """Serial number -> state, from what `adb devices` prints."""
    found: dict[str, str] = {}
    for line in listing.splitlines():
        serial, tab, state = line.partition("\t")
        if tab and serial.strip():
            found[serial.strip()] = state.strip()
    return found


def adb(*arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run the adb client; raises DeviceError when there is none, or it does not end in time."""
    try:
        return run_client(["adb", *arguments], timeout_s)
    except FileNotFoundError:
        raise DeviceError("there is no adb here; install Android's platform tools (Debian: apt install adb)") from None
    except subprocess.TimeoutExpired:
        raise DeviceLost(f"adb did not answer within {timeout_s:g} s; try: adb kill-server") from None


class ADBTransport(ShellTransport):
    """Runs programs on a phone as its shell user."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.name, target.folder or FOLDER)
        self.wanted, self.serial = target.serial, target.serial or ""

    def connect(self) -> None:
        """Find the device; a network device that has dropped out is connected again."""
        devices = parse_devices(adb("devices", timeout_s=LIST_TIMEOUT_S).stdout)
        if self.wanted and ":" in self.wanted and devices.get(self.wanted) != "device":
            for command in ("disconnect", "connect"):
                with contextlib.suppress(DeviceError):
                    adb(command, self.wanted, timeout_s=LIST_TIMEOUT_S)
            devices = parse_devices(adb("devices", timeout_s=LIST_TIMEOUT_S).stdout)
        if not devices:
            raise DeviceLost(
                f"{self.name}: adb sees no device; connect one with USB debugging switched on, "
                "or over Wi-Fi with: adb connect ADDRESS:PORT"
            )
        listed = ", ".join(devices)
        if not self.serial and len(devices) > 1:
            raise DeviceError(f"{self.name}: adb sees {listed}; let `serial` in the profile choose one")
        self.serial = self.serial or next(iter(devices))  # what was begun on a phone goes on there or not at all
        if self.serial not in devices:
            raise DeviceLost(f"{self.name}: adb does not see {self.serial}, only {listed}")
        state = devices[self.serial]
        if state != "device":
            known = next((text for start, text in STATES.items() if state.startswith(start)), f"its state is {state}")
            raise DeviceLost(f"{self.name} ({self.serial}): {known}")

    def client(self, command: str) -> list[str]:
        """See `ShellTransport.client`."""
        return ["adb", "-s", self.serial, "shell", "-T", command]

    def lost(self, said: Said) -> str | None:
        """See `ShellTransport.lost`."""
        if not LOST.search(said.stderr) and (said.stderr.strip() or said.exit_code != REFUSED):
            return None
        return f"the connection to {self.name} ({self.serial}) was lost: {last_line(said.stderr) or 'it closed'}"

    def send(self, path: Path, sha256: str) -> None:
        """See `ShellTransport.send`; adb's own protocol is faster than its shell."""
        part = f".part-{secrets.token_hex(8)}"
        timeout = CONTROL_TIMEOUT_S + path.stat().st_size / LEAST_BYTES_PER_S
        done = adb("-s", self.serial, "push", str(path), f"{self.folder}/files/{part}", timeout_s=timeout)
        if done.returncode != 0:
            with contextlib.suppress(DeviceError):
                self.call(remote_command('rm -f "$1"', f"{self.folder}/files/{part}"), CONTROL_TIMEOUT_S)
            lines = (done.stdout + done.stderr).splitlines()  # behind the reason it prints a summary
            reason = next((line for line in lines if "error" in line.lower()), last_line("\n".join(lines)))
            self.check(Said(done.returncode, "", reason), f"cannot send {path.name}")
        said = self.call(remote_command(ACCEPT, self.folder, sha256, part), CONTROL_TIMEOUT_S)
        self.check(said, f"cannot send {path.name}")
