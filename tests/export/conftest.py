from __future__ import annotations

from pathlib import Path

import pytest

from edgevqa.checkpoints import Checkpoint
from edgevqa.export.exporter import export_submodel
from edgevqa.export.manifest import Artifact
from tests.export import toy


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return toy.checkpoint(tmp_path_factory.mktemp("checkpoint") / "toy")


@pytest.fixture(scope="session")
def pixel_model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return toy.checkpoint(tmp_path_factory.mktemp("checkpoint") / "pixels", pixels=True)


@pytest.fixture(scope="session")
def artifacts(model: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The smallest submodel in every format, precision and scheme, by the name of its folder. Do not change them."""
    made = export_submodel(
        model,
        toy.plan(model),
        precisions=("fp32", "fp16", "int8"),
        schemes=("dynamic", "weight-only", "static"),
        out=tmp_path_factory.mktemp("artifacts"),
        calibration=toy.inputs(model.config, 20, seed=7),
    )
    return {artifact.folder.name: artifact for artifact in made}


@pytest.fixture
def small(artifacts: dict[str, Artifact], tmp_path: Path) -> Artifact:
    """An ONNX artifact of its own that a test may change."""
    import shutil

    from edgevqa.export.manifest import load_artifact

    source = artifacts["onnx-fp32"].folder
    shutil.copytree(source.parents[1], tmp_path / "toy")
    return load_artifact(tmp_path / "toy" / source.parent.name / source.name)
