"""Published models by their sizes alone: what a paper's submodels cost is known without any weights.

Sizes: MILVLG/bst, MILVLG/mcan-vqa, ChenRocks/UNITER, clip-vil/CLIP-ViL (configurations of the authors' code); words
and answers of VQA-v2 and GQA. Which lengths UNITER_BST and CLIP-ViL_BST were counted with is not known: both have the
20 tokens of CLIP-ViL here, and UNITER the 100 regions of MCAN_BST.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from edgevqa.models.config import GridInput, MCANConfig, RegionInput, TrunkInput
from edgevqa.models.families import ModelConfig
from edgevqa.models.single_stream_config import ClipViLConfig, UniterConfig
from edgevqa.slimming.grid import MCAN_BST, Slimming, single_stream_bst


@dataclass(frozen=True)
class Published:
    """A published model.

    Args:
        config: its sizes.
        slimming: the submodels that it offers.
    """

    config: ModelConfig
    slimming: Slimming


def whole(layers: int, *lists: str) -> Slimming:
    """The grid of a model that was not trained to be slimmed: itself alone; `lists` are those of its layers."""
    return Slimming((Fraction(1),), (Fraction(1),), dict.fromkeys(lists, tuple(range(layers))))


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
_UNITER = UniterConfig.uniform(
    hidden=768,
    heads=12,
    layers=12,
    image=RegionInput(100, 2048, box_size=7),
    vocabulary_size=28996,
    answer_count=3129,
    question_length=20,
)
_CLIP_VIL = ClipViLConfig.uniform(
    hidden=768,
    heads=12,
    layers=12,
    image=TrunkInput(384, 640, channels=80, blocks=(4, 6, 10, 6)),
    vocabulary_size=30522,
    answer_count=3129,
    question_length=20,
)
_CLIP_VIL_FEATURES = replace(_CLIP_VIL, image=GridInput.of(12, 20, 2560))

PUBLISHED: Mapping[str, Published] = {
    "mcan-bst": Published(_BST, MCAN_BST),
    "mcan-bst-gqa": Published(_BST_GQA, MCAN_BST),
    "mcan-small": Published(_SMALL, whole(6, "encoder", "decoder")),
    "mcan-large": Published(_LARGE, whole(6, "encoder", "decoder")),
    "uniter-bst": Published(_UNITER, single_stream_bst(12)),
    "clip-vil-bst": Published(_CLIP_VIL, single_stream_bst(12)),
    "clip-vil-bst-features": Published(_CLIP_VIL_FEATURES, single_stream_bst(12)),
}
"""By the name that `edgevqa info` takes."""
