"""Programs of another architecture on this machine, through qemu's user mode."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgevqa.devices import Target, open_transport
from edgevqa.devices.emulated import EMULATORS
from edgevqa.errors import DeviceError
from tests.lab.devices import Board


def target(root: Path) -> Target:
    return Target("emulated", "64-bit ARM", "emulated", ("onnxruntime",), root=str(root), basis="emulated")


@pytest.mark.slow
def test_a_program_of_another_architecture(tmp_path: Path) -> None:
    board = Board("arm64")
    sent = tmp_path / "sent"
    sent.write_text("hello")
    code = "import platform; open('out', 'w').write(open('given').read() + platform.machine())"
    transport = open_transport(target(board.folder / "root"))
    completed = transport.run(["python3", "-c", code], {"given": sent}, ["out"], 300)
    assert completed.files["out"].read_text() == "helloaarch64", completed.stderr


def test_what_is_missing_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if any(map(shutil.which, EMULATORS)):
        with pytest.raises(DeviceError, match=r"no aarch64 root file system in .*absent; build one with `make lab`"):
            open_transport(target(tmp_path / "absent"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="install qemu's user mode"):
        open_transport(target(tmp_path))
