"""What turns a picture into tokens inside the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvolutionalStem(nn.Module):
    """Strided 3x3 convolutions that turn pixels into a grid of tokens, with a learned position for each.

    Args:
        channels: output channels of each convolution; each halves height and width.
        grid: height and width of the resulting grid.
    """

    def __init__(self, channels: tuple[int, ...], grid: int) -> None:
        super().__init__()
        inputs = (3, *channels[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(source, target, 3, stride=2, padding=1) for source, target in zip(inputs, channels, strict=True)
        )
        self.position = nn.Parameter(torch.zeros(grid * grid, channels[-1]))

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, grid * grid, channels[-1])."""
        for convolution in self.convolutions:
            image = torch.relu(convolution(image))
        return image.flatten(2).transpose(1, 2) + self.position
