"""MCAN as MILVLG/mcan-vqa and MILVLG/openvqa save it: no adapters but the picture's linear layer, not slimmable.

The sigmoid at the end of mcan-vqa's model lies outside its weights: ours answers with logits, as openvqa's does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgevqa.checkpoints.importers.layout import Imported, Layout, Settings, read_weights
from edgevqa.checkpoints.importers.state import State
from edgevqa.errors import InputError, UsageError
from edgevqa.models.config import DecoderLayerSize, EncoderLayerSize, MCANConfig, RegionInput
from edgevqa.slimming.published import whole

HEADS = 8
QUESTION_LENGTH, GQA_QUESTION_LENGTH = 14, 29


def attention(ours: str, theirs: str) -> dict[str, str]:
    """The four linear layers of an attention."""
    parts = {"query": "linear_q", "key": "linear_k", "value": "linear_v", "merge": "linear_merge"}
    return {f"{ours}.{our}": f"{theirs}.{their}" for our, their in parts.items()}


def norms(layers: str, theirs: str, count: int) -> dict[str, str]:
    """The LayerNorms of a layer."""
    return {f"{layers}.norms.{number}": f"{theirs}.norm{number + 1}" for number in range(count)}


def pooling(ours: str, theirs: str, inner: str) -> dict[str, str]:
    """The attention pooling of a stream; `inner` is where its two layers lie."""
    return {
        f"{ours}.inner": f"{theirs}{inner}.fc.linear",
        f"{ours}.score": f"{theirs}{inner}.linear",
        f"{ours}.merge": f"{theirs}.linear_merge",
    }


ENCODER, DECODER = "backbone.enc_list.{}", "backbone.dec_list.{}"
BACKBONE: Mapping[str, str] = {
    "embedding": "embedding",
    "lstm": "lstm",
    **attention("encoder.{}.attention", f"{ENCODER}.mhatt"),
    "encoder.{}.ffn.inner": f"{ENCODER}.ffn.mlp.fc.linear",
    "encoder.{}.ffn.outer": f"{ENCODER}.ffn.mlp.linear",
    **norms("encoder.{}", ENCODER, 2),
    **attention("decoder.{}.attention", f"{DECODER}.mhatt1"),
    **attention("decoder.{}.guided", f"{DECODER}.mhatt2"),
    "decoder.{}.ffn.inner": f"{DECODER}.ffn.mlp.fc.linear",
    "decoder.{}.ffn.outer": f"{DECODER}.ffn.mlp.linear",
    **norms("decoder.{}", DECODER, 3),
    "norm": "proj_norm",
    "classifier": "proj",
}
"""What all of MILVLG's versions call alike."""

ORIGINAL: Mapping[str, str] = {
    **BACKBONE,
    **pooling("question_pooling", "attflat_lang", ".mlp"),
    **pooling("picture_pooling", "attflat_img", ".mlp"),
}
LAYOUTS: Mapping[str, Layout] = {
    "MILVLG/mcan-vqa": Layout({**ORIGINAL, "image_adapter.linear": "img_feat_linear"}, ("a_2", "b_2")),
    "MILVLG/openvqa": Layout(
        {**ORIGINAL, "image_adapter.linear": "adapter.frcn_linear", "box_embedding": "adapter.bbox_linear"},
        ("a_2", "b_2"),
    ),
    "MILVLG/openvqa before its adapters": Layout(
        {**ORIGINAL, "image_adapter.linear": "frcnfeat_linear", "box_embedding": "spatfeat_linear"}, ("a_2", "b_2")
    ),
}


def read(state: State, settings: Settings) -> Imported:
    """Read a file of mcan-vqa or openvqa; the model offers itself alone, as it was not trained to be slimmed.

    Raises:
        InputError: a key is missing, has a wrong shape, or is unknown.
        UsageError: the settings do not fit the sizes.
    """
    layout = choose_layout(state, LAYOUTS)
    gqa = has_module(state, layout, "box_embedding")
    config = read_sizes(state, layout, settings, gqa=gqa)
    weights, submodels = read_weights(state, layout, config), whole(len(config.encoder), "encoder", "decoder")
    return Imported(config, submodels, weights, question_rule(config), one_by_one=not gqa)


def question_rule(config: MCANConfig) -> dict[str, Any]:
    """How questions become words, see `edgevqa.data.preprocessing`."""
    return {"rule": "openvqa", "length": config.question_length}


def choose_layout(state: State, layouts: Mapping[str, Layout]) -> Layout:
    """The layout whose picture layer is there; raises InputError that names what was looked for."""
    wanted = {name: layout.key("image_adapter.linear.weight") for name, layout in layouts.items()}
    for name, key in wanted.items():
        if key in state:
            return layouts[name]
    looked = " or ".join(f"{key!r} ({name})" for name, key in wanted.items())
    raise InputError(f"{state.path} lacks the key {looked}, which should have the shape [hidden, features]")


def has_module(state: State, layout: Layout, name: str) -> bool:
    """Whether a file has a module that some variants of its layout lack."""
    return name in layout.modules and layout.key(f"{name}.weight") in state


def read_sizes(state: State, layout: Layout, settings: Settings, *, gqa: bool) -> MCANConfig:
    """The sizes of an MCAN from the shapes of its weights.

    Args:
        state: the weights.
        layout: their names.
        settings: what they do not say.
        gqa: whether the model reads GQA's longer questions.

    Raises:
        InputError: a key that shows a size is missing.
        UsageError: the number of heads does not divide the hidden size.
    """

    def shape(name: str, *axes: str) -> tuple[int, ...]:
        return state.shape(layout.key(name), *axes)

    words, word_size = shape("embedding.weight", "words", "word size")
    _, lstm_size = shape("lstm.weight_hh_l0", "4 LSTM size", "LSTM size")
    hidden, features = shape("image_adapter.linear.weight", "hidden", "features")
    embedding = boxes = 0
    if has_module(state, layout, "box_embedding"):
        embedding, boxes = shape("box_embedding.weight", "box embedding", "box values")
    pooling_hidden, _ = shape("question_pooling.inner.weight", "pooling hidden", "hidden")
    answers, pooled_size = shape("classifier.weight", "answers", "pooled size")
    ffn, _ = shape("encoder.0.ffn.inner.weight", "FFN", "hidden")
    heads = settings.heads or HEADS
    if hidden % heads:
        raise UsageError(f"--heads {heads} does not divide the hidden size {hidden} of {state.path}")
    layers = max(state.layers(ENCODER), state.layers(DECODER))
    return MCANConfig(
        vocabulary_size=words,
        answer_count=answers,
        question_length=settings.question_length or (GQA_QUESTION_LENGTH if gqa else QUESTION_LENGTH),
        hidden=hidden,
        head_size=hidden // heads,
        encoder=(EncoderLayerSize(heads, ffn),) * layers,
        decoder=(DecoderLayerSize(heads, heads, ffn),) * layers,
        pooling_hidden=pooling_hidden,
        pooled_size=pooled_size,
        image=RegionInput(
            settings.regions,
            features - embedding,
            box_size=boxes,
            box_embedding=embedding,
            norm=has_module(state, layout, "image_adapter.norm"),
        ),
        word_size=word_size,
        lstm_size=lstm_size,
        language_adapter="language_adapter.linear" in layout.modules,
        norm="unbiased",
    )
