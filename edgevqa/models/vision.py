"""What turns a picture into tokens inside the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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


class TrunkBlock(nn.Module):
    """A bottleneck of three convolutions beside a shortcut; averaging, not striding, makes the picture smaller.

    Args:
        inputs: channels that come in.
        channels: inside; four times as many come out.
        stride: by which height and width shrink.
    """

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * channels
        self.stride = stride
        self.reduce = nn.Conv2d(inputs, channels, 1)
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1)
        self.expand = nn.Conv2d(channels, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if stride > 1 or inputs != outputs else None

    def _shrink(self, states: Tensor) -> Tensor:
        return functional.avg_pool2d(states, self.stride) if self.stride > 1 else states

    def forward(self, states: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, 4 channels, H / stride, W / stride)."""
        inner = torch.relu(self.spatial(torch.relu(self.reduce(states))))
        inner = self.expand(self._shrink(inner))
        beside = states if self.shortcut is None else self.shortcut(self._shrink(states))
        return torch.relu(inner + beside)


class ClipTrunk(nn.Module):
    """CLIP's residual network (Radford et al. 2021) without its attention pool, for inference.

    Three convolutions and four stages. Every convolution holds its BatchNorm: with fixed statistics the two are one
    convolution with a bias, and nothing but ordinary weights remains to be sliced, saved and exported.

    Args:
        channels: behind the first three convolutions.
        blocks: of each stage.
    """

    def __init__(self, channels: int, blocks: tuple[int, ...]) -> None:
        super().__init__()
        half = channels // 2
        self.convolutions = nn.ModuleList(
            (
                nn.Conv2d(3, half, 3, stride=2, padding=1),
                nn.Conv2d(half, half, 3, padding=1),
                nn.Conv2d(half, channels, 3, padding=1),
            )
        )
        self.stages = nn.ModuleList()
        inputs = channels
        for number, count in enumerate(blocks):
            inside = channels << number
            stage = nn.Sequential()
            for place in range(count):
                stage.append(TrunkBlock(inputs, inside, 2 if number and not place else 1))
                inputs = 4 * inside
            self.stages.append(stage)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 32 channels, H / 32, W / 32)."""
        for convolution in self.convolutions:
            image = torch.relu(convolution(image))
        image = functional.avg_pool2d(image, 2)
        for stage in self.stages:
            image = stage(image)
        return image
