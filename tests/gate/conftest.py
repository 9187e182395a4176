from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgevqa.checkpoints import Checkpoint
from edgevqa.devices import Target
from edgevqa.export.manifest import Artifact, load_artifact
from tests.export import toy


@pytest.fixture(scope="session")
def here() -> Target:
    return Target("here", "this machine", "local", ("onnxruntime", "litert"))


@pytest.fixture(scope="session")
def model() -> Checkpoint:
    return toy.shared()


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[[str], Artifact]:
    """A copy of one of the shared artifacts by the name of its folder, which a test may change."""
    shutil.copytree(toy.exported() / "toy", tmp_path / "toy")
    return lambda name: load_artifact(tmp_path / "toy" / "w0.25-d1" / name)
