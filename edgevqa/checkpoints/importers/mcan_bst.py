"""MCAN_BST as MILVLG/bst saves it: slimmable, with adapters for the question and the picture."""

from __future__ import annotations

from edgevqa.checkpoints.importers.layout import Imported, Layout, Settings, read_weights
from edgevqa.checkpoints.importers.mcan import BACKBONE, has_module, pooling, question_rule, read_sizes
from edgevqa.checkpoints.importers.state import State
from edgevqa.errors import InputError, UsageError
from edgevqa.slimming.grid import MCAN_BST, grid

LAYOUT = Layout(
    {
        **BACKBONE,
        "language_adapter.linear": "lang_adapter.lang_linear",
        "language_adapter.norm": "lang_adapter.lang_ln",
        "image_adapter.linear": "img_adapter.frcn_linear",
        "image_adapter.norm": "img_adapter.frcn_ln",
        "box_embedding": "img_adapter.bbox_linear",
        **pooling("question_pooling", "attflat_lang", ""),
        **pooling("picture_pooling", "attflat_img", ""),
    }
)


def read(state: State, settings: Settings) -> Imported:
    """Read a file of bst; GQA's variant, known by the missing LayerNorm of its picture's adapter, reads 29 tokens.

    Raises:
        InputError: a key is missing, has a wrong shape, or is unknown; or the layers are not those of BST's grid.
        UsageError: the settings do not fit the sizes or BST's grid.
    """
    gqa = not has_module(state, LAYOUT, "image_adapter.norm")
    config = read_sizes(state, LAYOUT, settings, gqa=gqa)
    if len(config.encoder) != MCAN_BST.layers:
        raise InputError(
            f"{state.path} has {len(config.encoder)} layers; BST's order of layers is for {MCAN_BST.layers}"
        )
    weights = read_weights(state, LAYOUT, config)
    try:
        grid(config, MCAN_BST)
    except UsageError as error:
        heads = config.encoder[0].heads
        raise UsageError(f"with {heads} heads {state.path} does not fit BST's grid: {error}; give --heads") from None
    return Imported(config, MCAN_BST, weights, question_rule(config), one_by_one=not gqa)
