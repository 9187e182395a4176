"""EfficientNet-Lite0 as a frozen backbone for pictures (Tan and Le 2019; Google's Lite variant, 2020).

No squeeze-and-excitation, ReLU6 for swish, and TensorFlow's padding, which is one-sided where a stride meets an even
size: at 224 x 224 all sizes that are halved are even, so that the pads are fixed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE, GRID, FEATURES = 224, 7, 1280
CLASSES = 1000
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
"""Blocks, kernel, stride of the first, expansion and channels of each stage."""
_NAMES = {
    "_conv_stem.": "stem.convolution.", "_bn0.": "stem.norm.", "_conv_head.": "head.convolution.",
    "_bn1.": "head.norm.", "_fc.": "classifier.",
}  # fmt: skip
_BLOCK_NAMES = {
    "_expand_conv.": "expand.convolution.", "_bn0.": "expand.norm.", "_depthwise_conv.": "depthwise.convolution.",
    "_bn1.": "depthwise.norm.", "_project_conv.": "project.convolution.", "_bn2.": "project.norm.",
}  # fmt: skip


class Convolution(nn.Module):
    """A convolution with TensorFlow's padding at even sizes, a BatchNorm, and ReLU6 unless it is left out."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        before = (kernel - stride) // 2
        self.pad = (before, kernel - stride - before) * 2
        self.relu = relu
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        image = self.norm(self.convolution(functional.pad(image, self.pad)))
        return functional.relu6(image) if self.relu else image


class Block(nn.Module):
    """An inverted residual: widen, filter each channel, narrow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = Convolution(inputs, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = Convolution(wide, outputs, 1, relu=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        made: Tensor = self.project(self.depthwise(self.expand(image)))
        return made + image if self.residual else made


class EfficientNetLite0(nn.Module):
    """The network; `forward` gives the grid of features before the pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2)
        blocks, inputs = [], 32
        for count, kernel, stride, expansion, outputs in STAGES:
            for number in range(count):
                blocks.append(Block(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = Convolution(inputs, FEATURES, 1)
        self.classifier = nn.Linear(FEATURES, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Map pixels (B, 3, 224, 224), (x - 127) / 128 of 0..255, to features (B, 49, 1280), row by row."""
        made: Tensor = self.head(self.blocks(self.stem(image)))
        return made.flatten(2).transpose(1, 2)

    def classify(self, image: Tensor) -> Tensor:
        """The logits of ImageNet's 1,000 classes (B, 1000), which show whether the weights are in their places."""
        made: Tensor = self.classifier(self(image).mean(dim=1))
        return made

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of the published file; raises RuntimeError or KeyError when it is another network's."""
        renamed = {_renamed(name): value for name, value in state.items()}
        self.load_state_dict(renamed)
        self.eval().requires_grad_(False)


def _renamed(name: str) -> str:
    """Our name of a weight of the published file."""
    if name.startswith("_blocks."):
        _blocks, number, rest = name.split(".", 2)
        own = next(new + rest[len(old) :] for old, new in _BLOCK_NAMES.items() if rest.startswith(old))
        return f"blocks.{number}.{own}"
    return next(new + name[len(old) :] for old, new in _NAMES.items() if name.startswith(old))


def to_pixels(picture: Tensor) -> Tensor:
    """uint8 (B, 3, 224, 224) as the network takes it: (x - 127) / 128, which is what its weights were trained with."""
    return (picture.to(torch.float32) - 127.0) / 128.0
