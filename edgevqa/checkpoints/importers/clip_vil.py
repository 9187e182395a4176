"""CLIP-ViL-Pretrain fine-tuned for VQA as clip-vil/CLIP-ViL saves it, offered with the grid of CLIP-ViL_BST.

The picture goes through CLIP's residual trunk, whose BatchNorms are folded into its convolutions. What the authors
load and skip is left out: the trunk's attention pool and CLIP's text side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgevqa.checkpoints.importers.bert import bert, choose_grid, question_rule, read_sizes
from edgevqa.checkpoints.importers.layout import Imported, Layout, Settings, read_weights
from edgevqa.checkpoints.importers.state import State
from edgevqa.errors import InputError
from edgevqa.models.config import STAGES, GridInput, TrunkInput
from edgevqa.models.single_stream_config import ClipViLConfig

if TYPE_CHECKING:
    from torch import Tensor

BERT = "lxrt_encoder.model.bert"
CLIP = f"{BERT}.encoder.visual_model"
TRUNK = f"{CLIP}.visual"
JOINT: Mapping[str, str] = {
    **bert(BERT, "logit_fc"),
    "grid_positions.rows": f"{BERT}.encoder.visual_pos.x_position_embedding",
    "grid_positions.columns": f"{BERT}.encoder.visual_pos.y_position_embedding",
    "features.linear": f"{BERT}.encoder.visn_fc.visn_fc",
    "features.norm": f"{BERT}.encoder.visn_fc.visn_layer_norm",
    "boxes.linear": f"{BERT}.encoder.visn_fc.box_fc",
    "boxes.norm": f"{BERT}.encoder.visn_fc.box_layer_norm",
}
MARK = "features.linear.weight"
LAYOUT = Layout(JOINT, mark=MARK)
"""All but the trunk."""

STEM = {f"trunk.convolutions.{number}": (f"{TRUNK}.conv{number + 1}", f"{TRUNK}.bn{number + 1}") for number in range(3)}
BLOCK = {
    "reduce": ("conv1", "bn1"),
    "spatial": ("conv2", "bn2"),
    "expand": ("conv3", "bn3"),
    "shortcut": ("downsample.0", "downsample.1"),
}
STATISTICS = ("weight", "bias", "running_mean", "running_var")
EPSILON = 1e-5
"""PyTorch's BatchNorm's, which CLIP leaves as it is."""


def read(state: State, settings: Settings) -> Imported:
    """Read a file of CLIP-ViL; its questions are uncased word pieces.

    Raises:
        InputError: a key is missing, has a wrong shape, or is unknown.
        UsageError: the settings do not fit the sizes or BST's grid.
    """
    sizes = read_sizes(state, LAYOUT, settings)
    _, features = state.shape(LAYOUT.key(MARK), "hidden", "features")
    grid_positions, _ = state.shape(LAYOUT.key("grid_positions.rows.weight"), "positions", "features")
    _, box_size = state.shape(LAYOUT.key("boxes.linear.weight"), "hidden", "box values")
    channels, *_ = state.shape(f"{TRUNK}.conv3.weight", "channels", "half", "3", "3")
    for number in range(STAGES):
        state.shape(f"{TRUNK}.layer{number + 1}.0.conv1.weight", "channels", "inputs", "1", "1")
    stages = [state.layers(f"{TRUNK}.layer{number + 1}.{{}}.conv1") for number in range(STAGES)]
    image: TrunkInput | GridInput = TrunkInput(*settings.image_size, channels=channels, blocks=tuple(stages))
    if image.feature_size != features:
        key = LAYOUT.key(MARK)
        raise InputError(
            f"{state.path}: the key {key!r} takes {features} features; the trunk makes {image.feature_size}"
        )
    if settings.without_trunk:
        image = GridInput.of(image.rows, image.columns, features)
        layout = Layout(JOINT, mark=MARK, ignored=(rf"{CLIP}\.",))
    else:
        convolutions = _convolutions(tuple(stages))
        state = State(state.path, _folded(state, convolutions))
        modules = {ours: convolution for ours, (convolution, _) in convolutions.items()}
        ignored = (rf"{TRUNK}\.attnpool\.", rf"{CLIP}\.(?!visual\.)")
        layout = Layout({**JOINT, **modules}, mark=MARK, ignored=ignored)
    config = ClipViLConfig(image=image, grid_positions=grid_positions, box_size=box_size, **sizes)
    weights = read_weights(state, layout, config)
    question = question_rule(config.question_length, lower_case=True)
    return Imported(config, choose_grid(state, config), weights, question)


def _convolutions(stages: tuple[int, ...]) -> dict[str, tuple[str, str]]:
    """Our name of every convolution of the trunk, theirs, and that of the BatchNorm behind it."""
    found = dict(STEM)
    for number, blocks in enumerate(stages):
        for place in range(blocks):
            theirs = f"{TRUNK}.layer{number + 1}.{place}"
            for part, (convolution, norm) in BLOCK.items():
                if part != "shortcut" or not place:
                    found[f"trunk.stages.{number}.{place}.{part}"] = (f"{theirs}.{convolution}", f"{theirs}.{norm}")
    return found


def _folded(state: State, convolutions: Mapping[str, tuple[str, str]]) -> dict[str, Tensor]:
    """The tensors of a file with every BatchNorm folded into the convolution before it, computed in double precision.

    A convolution that is missing is left to the check of all keys.
    """
    tensors = dict(state.tensors)
    for convolution, norm in convolutions.values():
        weight = tensors.get(f"{convolution}.weight")
        if weight is None:
            continue
        parts = {}
        for part in STATISTICS:
            key = f"{norm}.{part}"
            found = tensors.pop(key, None)
            if found is None:
                raise InputError(f"{state.path} lacks the key {key!r}, which should have the shape [{len(weight)}]")
            if found.shape != (len(weight),):
                raise InputError(
                    f"{state.path}: the key {key!r} has the shape {list(found.shape)}; it should be [{len(weight)}]"
                )
            parts[part] = found.double()
        factor = parts["weight"] / (parts["running_var"] + EPSILON).sqrt()
        tensors[f"{convolution}.weight"] = (weight.double() * factor.reshape(-1, 1, 1, 1)).float()
        tensors[f"{convolution}.bias"] = (parts["bias"] - parts["running_mean"] * factor).float()
    return tensors
