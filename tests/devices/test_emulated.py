"""Programs of another architecture on this machine, through qemu's user mode."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgevqa.devices import Target, open_transport
from edgevqa.devices.base import RUNTIMES_FOLDER
from edgevqa.devices.emulated import EMULATORS
from edgevqa.devices.jobs import probe, run_logits
from edgevqa.devices.setup import clean, set_up
from edgevqa.errors import DeviceError, EnvironmentFailure
from tests.lab.devices import Board
from tests.runtimes import tiny_models


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


@pytest.mark.slow
def test_a_runtime_is_brought_answers_and_is_removed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for part in (Board("arm64").folder / "root").iterdir():
        if part.name != RUNTIMES_FOLDER:  # what a person has set up there stays
            (root / part.name).symlink_to(part)
    emulated = target(root)
    with pytest.raises(DeviceError, match="edgevqa device setup --target emulated --runtime onnxruntime"):
        probe(emulated, "onnxruntime")
    try:
        (brought,) = set_up(emulated)
    except EnvironmentFailure as error:
        if not isinstance(error, DeviceError) and "pip cannot download" in str(error):
            pytest.skip(str(error))
        raise
    assert all("aarch64" in wheel for wheel in brought.wheels)
    model = tiny_models.write_onnx(tmp_path / "model.onnx")
    questions = tiny_models.write_questions(tmp_path / "q.npz")
    logits, values = run_logits(emulated, model, questions, "onnxruntime")
    np.testing.assert_allclose(logits, tiny_models.expected(tiny_models.questions()), atol=1e-5)
    assert values["machine"] == "aarch64"
    clean(emulated)
    assert not (root / RUNTIMES_FOLDER).exists()
