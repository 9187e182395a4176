from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgevqa.checkpoints import Checkpoint
from edgevqa.export.manifest import Artifact, find_artifacts, load_artifact
from tests.export import toy


@pytest.fixture(scope="session")
def model() -> Checkpoint:
    return toy.shared()


@pytest.fixture(scope="session")
def pixel_model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return toy.checkpoint(tmp_path_factory.mktemp("checkpoint") / "pixels", pixels=True)


@pytest.fixture(scope="session")
def artifacts() -> dict[str, Artifact]:
    """The shared artifacts by the names of their folders."""
    return {artifact.folder.name: artifact for artifact in find_artifacts(toy.exported())}


@pytest.fixture
def small(artifacts: dict[str, Artifact], tmp_path: Path) -> Artifact:
    """An ONNX artifact that a test may change."""
    source = artifacts["onnx-fp32"].folder
    shutil.copytree(source.parents[1], tmp_path / "toy")
    return load_artifact(tmp_path / "toy" / source.parent.name / source.name)
