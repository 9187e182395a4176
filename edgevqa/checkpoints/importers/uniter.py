"""UNITER fine-tuned for VQA as ChenRocks/UNITER saves it, offered with the grid of UNITER_BST."""

from __future__ import annotations

from edgevqa.checkpoints.importers.bert import bert, choose_grid, question_rule, read_sizes
from edgevqa.checkpoints.importers.layout import Imported, Layout, Settings, read_weights
from edgevqa.checkpoints.importers.state import State
from edgevqa.models.config import RegionInput
from edgevqa.models.single_stream_config import UniterConfig

IMAGE = "uniter.img_embeddings"
LAYOUT = Layout(
    {
        **bert("uniter", "vqa_output"),
        "regions.features.linear": f"{IMAGE}.img_linear",
        "regions.features.norm": f"{IMAGE}.img_layer_norm",
        "regions.boxes.linear": f"{IMAGE}.pos_linear",
        "regions.boxes.norm": f"{IMAGE}.pos_layer_norm",
        "regions.mask": f"{IMAGE}.mask_embedding",
        "regions.norm": f"{IMAGE}.LayerNorm",
    },
    mark="regions.features.linear.weight",
)


def read(state: State, settings: Settings) -> Imported:
    """Read a file of UNITER; its questions are cased word pieces.

    Raises:
        InputError: a key is missing, has a wrong shape, or is unknown.
        UsageError: the settings do not fit the sizes or BST's grid.
    """
    sizes = read_sizes(state, LAYOUT, settings)
    _, features = state.shape(LAYOUT.key("regions.features.linear.weight"), "hidden", "features")
    _, boxes = state.shape(LAYOUT.key("regions.boxes.linear.weight"), "hidden", "box values")
    config = UniterConfig(image=RegionInput(settings.regions, features, box_size=boxes), **sizes)
    weights = read_weights(state, LAYOUT, config)
    question = question_rule(config.question_length, lower_case=False)
    return Imported(config, choose_grid(state, config), weights, question)
