"""UNITER (Chen et al. 2020, "UNiversal Image-TExt Representation Learning") for VQA, as a static module of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgevqa.models.config import RegionInput
from edgevqa.models.layers import Adapter, make_norm
from edgevqa.models.single_stream import NORM, SingleStream
from edgevqa.models.single_stream_config import UniterConfig


class RegionEmbedding(nn.Module):
    """Features, boxes and the type of image tokens, added and normalised.

    Args:
        image: the regions.
        hidden: size of the residual stream.
    """

    def __init__(self, image: RegionInput, hidden: int) -> None:
        super().__init__()
        self.features = Adapter(image.feature_size, hidden, norm=NORM)
        self.boxes = Adapter(image.box_size, hidden, norm=NORM)
        # Stands for a hidden region in pre-training; it belongs to the published weights and answers nothing.
        self.mask = nn.Embedding(2, image.feature_size)
        self.norm = make_norm(NORM, hidden)

    def forward(self, regions: Tensor, boxes: Tensor, kind: Tensor) -> Tensor:
        """Map (B, R, F), (B, R, box size) and the type's embedding (hidden,) to (B, R, hidden)."""
        result: Tensor = self.norm(self.features(regions) + self.boxes(boxes) + kind)
        return result


class Uniter(SingleStream):
    """BERT over word pieces and regions; boxes have seven values and give regions their places.

    The order of regions is of no matter, so that padding may stand anywhere.

    Args:
        config: the sizes.
    """

    def __init__(self, config: UniterConfig) -> None:
        super().__init__(config)
        self.config = config
        self.regions = RegionEmbedding(config.image, config.hidden)

    def forward(
        self, question: Tensor, question_mask: Tensor, regions: Tensor, region_mask: Tensor, boxes: Tensor
    ) -> Tensor:
        """Answer questions.

        Args:
            question: (B, T) numbers of word pieces.
            question_mask: (B, 1, 1, T) additive.
            regions: (B, R, F).
            region_mask: (B, 1, 1, R) additive.
            boxes: (B, R, 7).

        Returns:
            Logits (B, answers).
        """
        picture = self.regions(regions, boxes, self.text.types.weight[1])
        pooled = self.first_token(question, picture, torch.cat((question_mask, region_mask), dim=-1))
        logits: Tensor = self.answer(torch.tanh(pooled))
        return logits
