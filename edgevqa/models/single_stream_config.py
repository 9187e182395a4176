"""Sizes of the single-stream families, UNITER and CLIP-ViL, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from edgevqa.errors import InputError
from edgevqa.models.config import (
    EncoderLayerSize,
    GridInput,
    ImageInput,
    RegionInput,
    TrunkInput,
    check_family,
    describe_image,
    read_image,
)


@dataclass(frozen=True)
class SingleStreamConfig:
    """What the single-stream families share: BERT (Devlin et al. 2019) over a question's word pieces and image tokens.

    Args:
        vocabulary_size: word pieces.
        answer_count: answers A.
        question_length: tokens T of a question, [CLS] and [SEP] among them.
        hidden: size of the residual stream.
        head_size: size of one attention head, the same everywhere.
        encoder: sizes of the layers over question and picture.
        pooled_size: size of the pooler's output.
        answer_hidden: hidden size of the answer head.
        image: what a picture is given as.
        positions: rows of the table of text positions.
        types: rows of the table of token types.
        dropout: dropout probability in training.
    """

    family: ClassVar[str]
    images: ClassVar[tuple[str, ...]]
    """The kinds of image input that the family has."""

    vocabulary_size: int
    answer_count: int
    question_length: int
    hidden: int
    head_size: int
    encoder: tuple[EncoderLayerSize, ...]
    pooled_size: int
    answer_hidden: int
    image: ImageInput
    positions: int = 512
    types: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.question_length > self.positions:
            raise InputError(f"questions of {self.question_length} tokens; the model has {self.positions} positions")

    @classmethod
    def uniform(cls, *, hidden: int, heads: int, layers: int, **sizes: Any) -> Self:
        """The usual proportions: FFN and answer head 4 and 2 times `hidden`, all layers alike."""
        return cls(
            hidden=hidden,
            head_size=hidden // heads,
            encoder=(EncoderLayerSize(heads, 4 * hidden),) * layers,
            pooled_size=hidden,
            answer_hidden=2 * hidden,
            **sizes,
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable description that `from_dict` reads back."""
        return {"family": self.family, **asdict(self), "image": describe_image(self.image)}

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; raises InputError that names what is missing or unknown."""
        values = dict(described)
        check_family(values.pop("family", None), cls.family)
        try:
            values["image"] = read_image(values["image"], cls.images)
            values["encoder"] = tuple(EncoderLayerSize(**layer) for layer in values["encoder"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the model's sizes are incomplete or wrong: {error}") from error


@dataclass(frozen=True)
class UniterConfig(SingleStreamConfig):
    """Sizes of a UNITER (Chen et al. 2020), which takes region features and boxes."""

    family: ClassVar[str] = "uniter"
    images: ClassVar[tuple[str, ...]] = ("regions",)

    image: RegionInput


@dataclass(frozen=True)
class ClipViLConfig(SingleStreamConfig):
    """Sizes of a CLIP-ViL-Pretrain (Shen et al. 2021), which takes pixels, or the grid features of CLIP's trunk.

    Args:
        grid_positions: rows of each of the two tables of grid positions.
        box_size: values of a box in the layer that was pre-trained with boxes and answers nothing.
    """

    family: ClassVar[str] = "clip-vil"
    images: ClassVar[tuple[str, ...]] = ("trunk", "grid")

    image: TrunkInput | GridInput
    grid_positions: int = 25
    box_size: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        rows, columns = self.image.rows, self.image.columns
        if max(rows, columns) > self.grid_positions:
            raise InputError(f"a grid of {rows} x {columns} tokens; the model has {self.grid_positions} positions")
