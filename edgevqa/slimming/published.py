"""Published models by their sizes alone: what a paper's submodels cost is known without any weights.

Sizes: MILVLG/bst, MILVLG/mcan-vqa (configurations of the authors' code); words and answers of VQA-v2 and GQA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from edgevqa.models.config import MCANConfig, RegionInput
from edgevqa.slimming.grid import MCAN_BST, Slimming


@dataclass(frozen=True)
class Published:
    """A published model.

    Args:
        config: its sizes.
        slimming: the submodels that it offers.
    """

    config: MCANConfig
    slimming: Slimming


def whole(layers: int) -> Slimming:
    """The grid of a model that was not trained to be slimmed: itself alone."""
    order = tuple(range(layers))
    return Slimming((Fraction(1),), (Fraction(1),), {"encoder": order, "decoder": order})


_BST = MCANConfig.uniform(
    hidden=512,
    heads=8,
    layers=6,
    image=RegionInput(100, 2048),
    vocabulary_size=20573,
    answer_count=3129,
    question_length=14,
    norm="unbiased",
)
_BST_GQA = replace(
    _BST,
    image=RegionInput(100, 2048, box_size=5, box_embedding=2048, norm=False),
    vocabulary_size=2933,
    answer_count=1843,
    question_length=29,
)
_SMALL = replace(_BST, image=RegionInput(100, 2048, norm=False), vocabulary_size=20572, language_adapter=False)
_LARGE = replace(
    MCANConfig.uniform(
        hidden=1024,
        heads=8,
        layers=6,
        image=_SMALL.image,
        vocabulary_size=_SMALL.vocabulary_size,
        answer_count=_SMALL.answer_count,
        question_length=_SMALL.question_length,
        lstm_size=1024,
        language_adapter=False,
        norm="unbiased",
    ),
    pooling_hidden=512,
)

PUBLISHED: Mapping[str, Published] = {
    "mcan-bst": Published(_BST, MCAN_BST),
    "mcan-bst-gqa": Published(_BST_GQA, MCAN_BST),
    "mcan-small": Published(_SMALL, whole(6)),
    "mcan-large": Published(_LARGE, whole(6)),
}
"""By the name that `edgevqa info` takes."""
