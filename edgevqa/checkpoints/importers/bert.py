"""What UNITER's and CLIP-ViL's published checkpoints share: BERT's names, and sizes that the shapes show."""

from __future__ import annotations

from typing import Any

from edgevqa.checkpoints.importers.layout import Layout, Settings
from edgevqa.checkpoints.importers.state import State
from edgevqa.data.word_pieces import RULE, SPECIAL
from edgevqa.errors import UsageError
from edgevqa.models.config import EncoderLayerSize
from edgevqa.models.families import ModelConfig
from edgevqa.slimming.grid import Slimming, grid, single_stream_bst
from edgevqa.slimming.published import whole

HEADS = 12
QUESTION_LENGTH = 20


def bert(theirs: str, head: str) -> dict[str, str]:
    """The names of the text's embedding, of the layers, the pooler and the answer head.

    Args:
        theirs: where their BERT lies.
        head: where their answer head lies.
    """
    layer = f"{theirs}.encoder.layer.{{}}"
    return {
        "text.words": f"{theirs}.embeddings.word_embeddings",
        "text.positions": f"{theirs}.embeddings.position_embeddings",
        "text.types": f"{theirs}.embeddings.token_type_embeddings",
        "text.norm": f"{theirs}.embeddings.LayerNorm",
        **{f"encoder.{{}}.attention.{part}": f"{layer}.attention.self.{part}" for part in ("query", "key", "value")},
        "encoder.{}.attention.merge": f"{layer}.attention.output.dense",
        "encoder.{}.norms.0": f"{layer}.attention.output.LayerNorm",
        "encoder.{}.ffn.inner": f"{layer}.intermediate.dense",
        "encoder.{}.ffn.outer": f"{layer}.output.dense",
        "encoder.{}.norms.1": f"{layer}.output.LayerNorm",
        "pooler": f"{theirs}.pooler.dense",
        "answer.inner": f"{head}.0",
        "answer.norm": f"{head}.2",
        "answer.classifier": f"{head}.3",
    }


def read_sizes(state: State, layout: Layout, settings: Settings) -> dict[str, Any]:
    """The sizes that single-stream models share, from the shapes of their weights.

    Raises:
        InputError: a key that shows a size is missing.
        UsageError: the number of heads does not divide the hidden size.
    """

    def shape(name: str, *axes: str) -> tuple[int, ...]:
        return state.shape(layout.key(name), *axes)

    words, hidden = shape("text.words.weight", "word pieces", "hidden")
    positions, _ = shape("text.positions.weight", "positions", "hidden")
    types, _ = shape("text.types.weight", "types", "hidden")
    pooled_size, _ = shape("pooler.weight", "pooled size", "hidden")
    answers, answer_hidden = shape("answer.classifier.weight", "answers", "answer head")
    ffn, _ = shape("encoder.0.ffn.inner.weight", "FFN", "hidden")
    heads = settings.heads or HEADS
    if hidden % heads:
        raise UsageError(f"--heads {heads} does not divide the hidden size {hidden} of {state.path}")
    length = settings.question_length or min(QUESTION_LENGTH, positions)
    if not len(SPECIAL) <= length <= positions:
        raise UsageError(f"--question-length {length}: {state.path} takes {len(SPECIAL)} to {positions} tokens")
    return {
        "vocabulary_size": words,
        "answer_count": answers,
        "question_length": length,
        "hidden": hidden,
        "head_size": hidden // heads,
        "encoder": (EncoderLayerSize(heads, ffn),) * state.layers(layout.modules["encoder.{}.ffn.inner"]),
        "pooled_size": pooled_size,
        "answer_hidden": answer_hidden,
        "positions": positions,
        "types": types,
    }


def choose_grid(state: State, config: ModelConfig) -> Slimming:
    """BST's grid, or the model itself where its layers are no multiple of six.

    Raises:
        UsageError: the number of heads does not fit BST's widths.
    """
    layers = len(config.encoder)
    if layers % 6:
        return whole(layers, "encoder")
    slimming = single_stream_bst(layers)
    try:
        grid(config, slimming)
    except UsageError as error:
        heads = config.encoder[0].heads
        raise UsageError(f"with {heads} heads {state.path} does not fit BST's grid: {error}; give --heads") from None
    return slimming


def question_rule(length: int, *, lower_case: bool) -> dict[str, Any]:
    """How questions become word pieces, see `edgevqa.data.preprocessing`."""
    return {"rule": RULE, "length": length, "lower_case": lower_case}
