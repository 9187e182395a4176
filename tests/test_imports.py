"""Which way imports point, and what the rooms that run on a board may load."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgevqa

ROOT = Path(__file__).parents[1]
LIGHT = ("cli", "data", "devices", "gate", "measure", "results", "runtimes")
"""Rooms of which every module can be imported without torch: a board has none."""
ABSENT = ("torch", "onnx", "onnxsim", "litert_torch", "ai_edge_quantizer", "ai_edge_litert", "matplotlib")


def test_imports_point_only_backwards() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-logo"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", LIGHT)
def test_a_light_room_imports_without_the_extras(room: str) -> None:
    folder = Path(edgevqa.__path__[0]) / room
    modules = [found.name for found in pkgutil.walk_packages([str(folder)], f"edgevqa.{room}.")]
    script = (
        "import importlib, sys\n"
        f"for name in {ABSENT!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
