"""Sizes of a static MCAN, as plain data: no torch is needed to read, compare or count them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from edgevqa.errors import InputError

MASKED = -1e4
"""What an additive mask holds at a hidden position: exp(-1e4) is 0 in fp32, and it still fits into fp16."""

NORMS = ("standard", "unbiased")
"""Kinds of LayerNorm: the usual one, and that of MCAN's code, which divides by (unbiased deviation + 1e-6)."""


def check_sizes(what: str, least: int, **sizes: object) -> None:
    """Raise InputError unless every size is a whole number of at least `least`."""
    for name, size in sizes.items():
        if type(size) is not int or size < least:
            raise InputError(f"{what}: {name} should be a whole number, at least {least}, not {size!r}")


@dataclass(frozen=True)
class EncoderLayerSize:
    """Heads and FFN neurons of one self-attention layer over the question."""

    heads: int
    ffn: int

    def __post_init__(self) -> None:
        check_sizes("an encoder layer", 1, heads=self.heads, ffn=self.ffn)


@dataclass(frozen=True)
class DecoderLayerSize:
    """Heads of the self-attention and of the guided attention, and FFN neurons, of one layer over the picture."""

    self_heads: int
    guided_heads: int
    ffn: int

    def __post_init__(self) -> None:
        check_sizes("a decoder layer", 1, self_heads=self.self_heads, guided_heads=self.guided_heads, ffn=self.ffn)


@dataclass(frozen=True)
class RegionInput:
    """A picture as region features.

    Args:
        count: regions R; fewer are padded with zero rows and masked.
        feature_size: features F of a region.
        box_size: values of a box, 0 when the model takes none.
        box_embedding: size to which a box is embedded before it is joined to the features; 0 joins it as it is.
        norm: whether a LayerNorm follows the image adapter (BST has it for VQA-v2, not for GQA).
    """

    count: int
    feature_size: int
    box_size: int = 0
    box_embedding: int = 0
    norm: bool = True

    def __post_init__(self) -> None:
        check_sizes("the regions", 1, count=self.count, feature_size=self.feature_size)
        check_sizes("the regions", 0, box_size=self.box_size, box_embedding=self.box_embedding)

    @property
    def adapter_input(self) -> int:
        """Values of a region that reach the image adapter."""
        return self.feature_size + (self.box_embedding or self.box_size)

    @property
    def tokens(self) -> int:
        """Image tokens that the decoder sees."""
        return self.count


@dataclass(frozen=True)
class PixelInput:
    """A picture as pixels, turned into grid tokens by a convolutional stem that is trained with the model.

    Args:
        size: height and width in pixels.
        channels: output channels of the stem's convolutions, each of which halves height and width.
    """

    size: int
    channels: tuple[int, ...]
    norm: bool = True

    def __post_init__(self) -> None:
        check_sizes("the picture", 1, size=self.size, **{f"channels[{n}]": c for n, c in enumerate(self.channels)})
        if not self.channels or self.size % 2 ** len(self.channels):
            raise InputError(
                f"the picture: size {self.size} should divide by 2 for each of the {len(self.channels)} convolutions, "
                "of which there is at least one"
            )

    @property
    def grid(self) -> int:
        """Height and width of the grid of tokens."""
        return self.size >> len(self.channels)

    @property
    def adapter_input(self) -> int:
        """Values of a grid token that reach the image adapter."""
        return self.channels[-1]

    @property
    def tokens(self) -> int:
        """Image tokens that the decoder sees."""
        return self.grid**2


@dataclass(frozen=True)
class MCANConfig:
    """Sizes of an MCAN: any hidden size, heads, FFN and depth, each layer by itself.

    Layout: Yu et al., "Deep Modular Co-Attention Networks" (2019), with the language adapter of BST (arXiv 2203.12814).

    Args:
        vocabulary_size: words, special tokens included.
        answer_count: answers A.
        question_length: tokens T of a question.
        hidden: size of the residual stream.
        head_size: size of one attention head, the same everywhere.
        encoder: sizes of the layers over the question.
        decoder: sizes of the layers over the picture.
        pooling_hidden: hidden size of the attention pooling.
        pooled_size: size of the pooled question and picture.
        image: what a picture is given as.
        word_size: size of a word embedding.
        lstm_size: size of the LSTM's state.
        language_adapter: whether Linear + LayerNorm stand between LSTM and encoder (BST), or nothing (MCAN).
        dropout: dropout probability in training.
        norm: the kind of every LayerNorm, one of `NORMS`.
    """

    vocabulary_size: int
    answer_count: int
    question_length: int
    hidden: int
    head_size: int
    encoder: tuple[EncoderLayerSize, ...]
    decoder: tuple[DecoderLayerSize, ...]
    pooling_hidden: int
    pooled_size: int
    image: RegionInput | PixelInput
    word_size: int = 300
    lstm_size: int = 512
    language_adapter: bool = True
    dropout: float = 0.1
    norm: str = "standard"

    def __post_init__(self) -> None:
        whole = "vocabulary_size answer_count question_length hidden head_size pooling_hidden pooled_size word_size"
        check_sizes("the model", 1, **{name: getattr(self, name) for name in (*whole.split(), "lstm_size")})
        check_sizes("the model", 1, encoder_layers=len(self.encoder), decoder_layers=len(self.decoder))
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout < 1:
            raise InputError(f"the model: dropout should be a number from 0 to below 1, not {self.dropout!r}")

    @classmethod
    def uniform(
        cls, *, hidden: int, heads: int, layers: int, image: RegionInput | PixelInput, **sizes: Any
    ) -> MCANConfig:
        """The usual proportions: FFN and pooled size 4 and 2 times `hidden`, all layers alike."""
        return cls(
            hidden=hidden,
            head_size=hidden // heads,
            encoder=(EncoderLayerSize(heads, 4 * hidden),) * layers,
            decoder=(DecoderLayerSize(heads, heads, 4 * hidden),) * layers,
            pooling_hidden=hidden,
            pooled_size=2 * hidden,
            image=image,
            **sizes,
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable description that `from_dict` reads back."""
        described = asdict(self)
        kind = "regions" if isinstance(self.image, RegionInput) else "pixels"
        return {"family": "mcan", **described, "image": {"kind": kind, **described["image"]}}

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> MCANConfig:
        """Read what `to_dict` wrote; raises InputError that names what is missing or unknown."""
        values = dict(described)
        family = values.pop("family", None)
        if family != "mcan":
            raise InputError(f"the model family {family!r} is not known; known: mcan")
        try:
            image = dict(values.pop("image"))
            kind = image.pop("kind")
            if kind == "regions":
                values["image"] = RegionInput(**image)
            elif kind == "pixels":
                values["image"] = PixelInput(**{**image, "channels": tuple(image["channels"])})
            else:
                raise InputError(f"the image input {kind!r} is not known; known: regions, pixels")
            if values.get("norm", NORMS[0]) not in NORMS:
                raise InputError(f"the LayerNorm {values['norm']!r} is not known; known: {', '.join(NORMS)}")
            values["encoder"] = tuple(EncoderLayerSize(**layer) for layer in values["encoder"])
            values["decoder"] = tuple(DecoderLayerSize(**layer) for layer in values["decoder"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the model's sizes are incomplete or wrong: {error}") from error


class InputSpec(NamedTuple):
    """One input of a model at batch 1."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    meaning: str


def input_specs(config: MCANConfig) -> tuple[InputSpec, ...]:
    """The inputs in the order of the model's forward, with shapes at batch 1."""
    length = config.question_length
    question = (
        InputSpec("question", (1, length), "int32", "word numbers, 0 is padding"),
        InputSpec("question_mask", (1, 1, 1, length), "float32", f"additive: 0 keeps, {MASKED:g} hides padding"),
    )
    if isinstance(config.image, PixelInput):
        size = config.image.size
        return (*question, InputSpec("image", (1, 3, size, size), "float32", "normalised RGB"))
    count = config.image.count
    regions = (
        InputSpec("regions", (1, count, config.image.feature_size), "float32", "region features, zero padded"),
        InputSpec("region_mask", (1, 1, 1, count), "float32", f"additive: 0 keeps, {MASKED:g} hides padding"),
    )
    if not config.image.box_size:
        return (*question, *regions)
    boxes = InputSpec("boxes", (1, count, config.image.box_size), "float32", "region boxes, zero padded")
    return (*question, *regions, boxes)
