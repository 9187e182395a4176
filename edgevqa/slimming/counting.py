"""Parameters and multiply-accumulates of a model from its sizes alone, without building or running it.

MACs are counted at batch 1 with all positions, padding included: every linear layer and convolution, both attention
products, the LSTM (all steps, both matrices, all gates) and the weighted pooling. Lookups, biases, softmax, norms
and activations are not counted. FLOPs are twice the MACs, as in BST (arXiv 2203.12814).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgevqa.models.config import MCANConfig, PixelInput


@dataclass(frozen=True)
class Counts:
    """Parameters and MACs by part of the model."""

    parameters_by_part: Mapping[str, int]
    macs_by_part: Mapping[str, int]

    @property
    def parameters(self) -> int:
        """All parameters."""
        return sum(self.parameters_by_part.values())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference at batch 1."""
        return sum(self.macs_by_part.values())

    @property
    def flops(self) -> int:
        """Floating-point operations of one inference at batch 1: twice the MACs."""
        return 2 * self.macs


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _attention_parameters(hidden: int, inner: int) -> int:
    return 3 * _linear(hidden, inner) + _linear(inner, hidden)


def _attention_macs(hidden: int, inner: int, positions: int, context: int) -> int:
    projections = hidden * inner * (2 * positions + 2 * context)
    return projections + 2 * positions * context * inner


def _image(config: MCANConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Parameters and MACs of what stands before the decoder on the picture's side."""
    image, hidden = config.image, config.hidden
    parameters: dict[str, int] = {}
    macs: dict[str, int] = {}
    if isinstance(image, PixelInput):
        sources = (3, *image.channels[:-1])
        sizes = [image.size >> (number + 1) for number in range(len(image.channels))]
        layers = list(zip(sources, image.channels, sizes, strict=True))
        parameters["stem"] = sum(_linear(9 * source, target) for source, target, _ in layers)
        parameters["stem"] += image.tokens * image.channels[-1]
        macs["stem"] = sum(9 * source * target * size * size for source, target, size in layers)
    elif image.box_embedding:
        parameters["box embedding"] = _linear(image.box_size, image.box_embedding)
        macs["box embedding"] = image.tokens * image.box_size * image.box_embedding
    parameters["image adapter"] = _linear(image.adapter_input, hidden) + (2 * hidden if image.norm else 0)
    macs["image adapter"] = image.tokens * image.adapter_input * hidden
    return parameters, macs


def count(config: MCANConfig) -> Counts:
    """Count a model by its sizes; equal to the built module's parameters to the last one."""
    hidden, length, tokens = config.hidden, config.question_length, config.image.tokens
    word, state = config.word_size, config.lstm_size
    image_parameters, image_macs = _image(config)
    parameters = {
        "word embedding": config.vocabulary_size * word,
        "LSTM": 4 * state * (word + state) + 8 * state,
        "language adapter": _linear(state, hidden) + 2 * hidden if config.language_adapter else 0,
        **image_parameters,
        "encoder": 0,
        "decoder": 0,
        "attention pooling": 2
        * (
            _linear(hidden, config.pooling_hidden)
            + _linear(config.pooling_hidden, 1)
            + _linear(hidden, config.pooled_size)
        ),
        "final norm": 2 * config.pooled_size,
        "classifier": _linear(config.pooled_size, config.answer_count),
    }
    macs = {
        "LSTM": length * 4 * state * (word + state),
        "language adapter": length * state * hidden if config.language_adapter else 0,
        **image_macs,
        "encoder": 0,
        "decoder": 0,
        "attention pooling": (length + tokens) * (hidden * config.pooling_hidden + config.pooling_hidden + hidden)
        + 2 * hidden * config.pooled_size,
        "classifier": config.pooled_size * config.answer_count,
    }
    for encoder in config.encoder:
        inner = encoder.heads * config.head_size
        parameters["encoder"] += _attention_parameters(hidden, inner) + 4 * hidden
        parameters["encoder"] += _linear(hidden, encoder.ffn) + _linear(encoder.ffn, hidden)
        macs["encoder"] += _attention_macs(hidden, inner, length, length) + 2 * length * hidden * encoder.ffn
    for decoder in config.decoder:
        own, guided = decoder.self_heads * config.head_size, decoder.guided_heads * config.head_size
        parameters["decoder"] += _attention_parameters(hidden, own) + _attention_parameters(hidden, guided)
        parameters["decoder"] += _linear(hidden, decoder.ffn) + _linear(decoder.ffn, hidden) + 6 * hidden
        macs["decoder"] += _attention_macs(hidden, own, tokens, tokens) + 2 * tokens * hidden * decoder.ffn
        macs["decoder"] += _attention_macs(hidden, guided, tokens, length)
    return Counts(parameters, macs)
