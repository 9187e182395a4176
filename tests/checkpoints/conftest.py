from __future__ import annotations

import pytest

from edgevqa.checkpoints import Checkpoint
from edgevqa.checkpoints.importers.kinds import import_checkpoint
from edgevqa.checkpoints.importers.layout import Settings
from tests.checkpoints import golden


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The golden checkpoint without its word and answer lists."""
    out = tmp_path_factory.mktemp("imported") / "tiny"
    return import_checkpoint("mcan-bst", golden.WEIGHTS, out, settings=Settings(regions=golden.REGIONS))
