"""CLIP-ViL-Pretrain (Shen et al. 2021, arXiv 2107.06383) for VQA, as a static module of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgevqa.models.config import TrunkInput
from edgevqa.models.layers import Adapter
from edgevqa.models.single_stream import NORM, SingleStream
from edgevqa.models.single_stream_config import ClipViLConfig
from edgevqa.models.vision import ClipTrunk


class GridPositions(nn.Module):
    """Learned rows and columns, added to the features of a grid.

    The authors' code calls the table that it reads by rows `x` and the other one `y`.

    Args:
        config: the sizes.
    """

    def __init__(self, config: ClipViLConfig) -> None:
        super().__init__()
        self.grid = config.image.rows, config.image.columns
        self.rows = nn.Embedding(config.grid_positions, config.image.feature_size)
        self.columns = nn.Embedding(config.grid_positions, config.image.feature_size)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, rows * columns, F), row by row, to the same shape."""
        rows, columns = self.grid
        places = self.rows.weight[:rows, None] + self.columns.weight[None, :columns]
        return features + places.flatten(0, 1)


class ClipViL(SingleStream):
    """BERT over word pieces and the grid of CLIP's trunk, which the model holds or whose features it is given.

    The pooler has no activation, as in the authors' code.

    Args:
        config: the sizes.
    """

    def __init__(self, config: ClipViLConfig) -> None:
        super().__init__(config)
        self.config = config
        image = config.image
        if isinstance(image, TrunkInput):
            self.trunk = ClipTrunk(image.channels, image.blocks)
        self.grid_positions = GridPositions(config)
        self.features = Adapter(image.feature_size, config.hidden, norm=NORM)
        # Was pre-trained with boxes; it belongs to the published weights and answers nothing.
        self.boxes = Adapter(config.box_size, config.hidden, norm=NORM)

    def forward(
        self, question: Tensor, question_mask: Tensor, picture: Tensor, region_mask: Tensor | None = None
    ) -> Tensor:
        """Answer questions.

        Args:
            question: (B, T) numbers of word pieces.
            question_mask: (B, 1, 1, T) additive.
            picture: the image (B, 3, H, W), or grid features (B, R, F), row by row.
            region_mask: (B, 1, 1, R) additive, with features only.

        Returns:
            Logits (B, answers).
        """
        if isinstance(self.config.image, TrunkInput):
            picture = self.trunk(picture).flatten(2).transpose(1, 2)
            mask = functional.pad(question_mask, (0, self.config.image.tokens))
        else:
            assert region_mask is not None
            mask = torch.cat((question_mask, region_mask), dim=-1)
        tokens = self.features(self.grid_positions(picture))
        logits: Tensor = self.answer(self.first_token(question, tokens, mask))
        return logits
