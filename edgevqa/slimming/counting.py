"""Parameters and multiply-accumulates of a model from its sizes alone, without building or running it.

MACs are counted at batch 1 with all positions, padding included: every linear layer and convolution, both attention
products, the LSTM (all steps, both matrices, all gates) and the weighted pooling. Lookups, biases, softmax, norms
and activations are not counted. FLOPs are twice the MACs, as in BST (arXiv 2203.12814).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgevqa.models.config import STRIDE, EncoderLayerSize, MCANConfig, PixelInput, TrunkInput
from edgevqa.models.families import ModelConfig
from edgevqa.models.single_stream_config import ClipViLConfig, UniterConfig

EMBEDDING = "word embedding"
"""The part that is looked up, not multiplied: much of a small submodel's size and none of its MACs."""


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
    def embedding_share(self) -> float:
        """The word embedding's share of the parameters, 0 to 1."""
        return self.parameters_by_part[EMBEDDING] / self.parameters

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


def count(config: ModelConfig) -> Counts:
    """Count a model of any family by its sizes; equal to the built module's parameters to the last one."""
    return _count_mcan(config) if isinstance(config, MCANConfig) else _count_single_stream(config)


def _encoder_layer(hidden: int, head_size: int, size: EncoderLayerSize, positions: int) -> tuple[int, int]:
    """Parameters and MACs of a layer of self-attention."""
    inner = size.heads * head_size
    parameters = _attention_parameters(hidden, inner) + 4 * hidden
    parameters += _linear(hidden, size.ffn) + _linear(size.ffn, hidden)
    return parameters, _attention_macs(hidden, inner, positions, positions) + 2 * positions * hidden * size.ffn


def _count_mcan(config: MCANConfig) -> Counts:
    hidden, length, tokens = config.hidden, config.question_length, config.image.tokens
    word, state = config.word_size, config.lstm_size
    image_parameters, image_macs = _image(config)
    parameters = {
        EMBEDDING: config.vocabulary_size * word,
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
        layer_parameters, layer_macs = _encoder_layer(hidden, config.head_size, encoder, length)
        parameters["encoder"] += layer_parameters
        macs["encoder"] += layer_macs
    for decoder in config.decoder:
        own, guided = decoder.self_heads * config.head_size, decoder.guided_heads * config.head_size
        parameters["decoder"] += _attention_parameters(hidden, own) + _attention_parameters(hidden, guided)
        parameters["decoder"] += _linear(hidden, decoder.ffn) + _linear(decoder.ffn, hidden) + 6 * hidden
        macs["decoder"] += _attention_macs(hidden, own, tokens, tokens) + 2 * tokens * hidden * decoder.ffn
        macs["decoder"] += _attention_macs(hidden, guided, tokens, length)
    return Counts(parameters, macs)


def _trunk(image: TrunkInput) -> tuple[int, int]:
    """Parameters and MACs of CLIP's trunk."""
    half, height, width = image.channels // 2, image.height // 2, image.width // 2
    # Input channels, output channels, kernel, height and width of the output of every convolution.
    layers = [(3, half, 3, height, width), (half, half, 3, height, width), (half, image.channels, 3, height, width)]
    inputs, height, width = image.channels, height // 2, width // 2
    for number, count_of_blocks in enumerate(image.blocks):
        inside = image.channels << number
        outputs = 4 * inside
        for place in range(count_of_blocks):
            layers += [(inputs, inside, 1, height, width), (inside, inside, 3, height, width)]
            if number and not place:
                height, width = height // 2, width // 2
            layers.append((inside, outputs, 1, height, width))
            if not place:
                layers.append((inputs, outputs, 1, height, width))
            inputs = outputs
    assert (height, width) == (image.height // STRIDE, image.width // STRIDE)
    parameters = sum(_linear(kernel**2 * source, target) for source, target, kernel, _, _ in layers)
    return parameters, sum(
        kernel**2 * source * target * rows * columns for source, target, kernel, rows, columns in layers
    )


def _joined_image(config: UniterConfig | ClipViLConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Parameters and MACs of what stands before the joint layers on the picture's side."""
    image, hidden = config.image, config.hidden
    linear = _linear(image.feature_size, hidden) + 2 * hidden
    macs = image.tokens * image.feature_size * hidden
    if isinstance(config, UniterConfig):
        boxes = _linear(config.image.box_size, hidden) + 2 * hidden
        parameters = linear + boxes + 2 * image.feature_size + 2 * hidden
        return {"image embedding": parameters}, {
            "image embedding": macs + image.tokens * config.image.box_size * hidden
        }
    by_part = {
        "grid positions": 2 * config.grid_positions * image.feature_size,
        "image embedding": linear + _linear(config.box_size, hidden) + 2 * hidden,
    }
    if not isinstance(image, TrunkInput):
        return by_part, {"image embedding": macs}
    trunk_parameters, trunk_macs = _trunk(image)
    return {"trunk": trunk_parameters, **by_part}, {"trunk": trunk_macs, "image embedding": macs}


def _count_single_stream(config: UniterConfig | ClipViLConfig) -> Counts:
    hidden, positions = config.hidden, config.question_length + config.image.tokens
    image_parameters, image_macs = _joined_image(config)
    layers = [_encoder_layer(hidden, config.head_size, size, positions) for size in config.encoder]
    parameters = {
        EMBEDDING: config.vocabulary_size * hidden,
        "positions and types": (config.positions + config.types) * hidden + 2 * hidden,
        **image_parameters,
        "encoder": sum(layer_parameters for layer_parameters, _ in layers),
        "pooler": _linear(hidden, config.pooled_size),
        "answer head": _linear(config.pooled_size, config.answer_hidden) + 2 * config.answer_hidden,
        "classifier": _linear(config.answer_hidden, config.answer_count),
    }
    macs = {
        **image_macs,
        "encoder": sum(layer_macs for _, layer_macs in layers),
        "pooler": hidden * config.pooled_size,
        "answer head": config.pooled_size * config.answer_hidden,
        "classifier": config.answer_hidden * config.answer_count,
    }
    return Counts(parameters, macs)
