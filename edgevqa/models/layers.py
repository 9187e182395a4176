"""The parts that the model families share: attention, feed-forward, attention pooling, adapters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)

LARGEST_SCORE = 50.0
"""Attention scores beyond this are cut in training; learned ones stay far below, and masked ones vanish."""


class UnbiasedLayerNorm(nn.LayerNorm):
    """A LayerNorm that divides by (unbiased standard deviation + eps), as the code of MCAN and BST does."""

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=1e-6)

    def forward(self, states: Tensor) -> Tensor:
        """Map (..., size) to (..., size)."""
        centred = states - states.mean(-1, keepdim=True)
        return self.weight * centred / (states.std(-1, keepdim=True) + self.eps) + self.bias

    def folded(self) -> nn.LayerNorm:
        """A standard LayerNorm of nearly the same function, whose weights hold the factor between the two deviations.

        With eps squared inside the root the two agree where the deviation is far above eps, and where it is zero.
        """
        (size,) = self.normalized_shape
        factor = (size - 1) / size
        norm = nn.LayerNorm(size, eps=factor * self.eps**2)
        with torch.no_grad():
            norm.weight.copy_(self.weight * math.sqrt(factor))
            norm.bias.copy_(self.bias)
        return norm


def make_norm(kind: str, size: int) -> nn.LayerNorm:
    """A LayerNorm of one of `edgevqa.models.config.NORMS`."""
    if kind == "unbiased":
        return UnbiasedLayerNorm(size)
    return nn.LayerNorm(size, eps=1e-12 if kind == "bert" else 1e-5)


def fold_norms(module: AnyModule) -> AnyModule:
    """A copy of a module in which every LayerNorm is a standard one, which file formats have an operator for.

    The factor depends on the size, so fold what is sliced already. A module without other norms comes back itself.
    """
    if not any(isinstance(part, UnbiasedLayerNorm) for part in module.modules()):
        return module
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, part in parent.named_children():
            if isinstance(part, UnbiasedLayerNorm):
                setattr(parent, name, part.folded().train(part.training))
    return module


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with a fixed head size.

    Args:
        hidden: size of the residual stream.
        heads: number of heads.
        head_size: size of a head; heads are contiguous blocks of this size.
        dropout: dropout probability on the attention weights.
    """

    def __init__(self, hidden: int, heads: int, head_size: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.head_size = head_size
        self.query = nn.Linear(hidden, heads * head_size)
        self.key = nn.Linear(hidden, heads * head_size)
        self.value = nn.Linear(hidden, heads * head_size)
        self.merge = nn.Linear(heads * head_size, hidden)
        self.dropout = nn.Dropout(dropout)

    def _split(self, states: Tensor) -> Tensor:
        return states.view(states.shape[0], states.shape[1], self.heads, self.head_size).transpose(1, 2)

    def forward(self, states: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from `states` (B, N, hidden) to `context` (B, M, hidden); `mask` (B, 1, 1, M) is additive."""
        query = self._split(self.query(states))
        key = self._split(self.key(context))
        value = self._split(self.value(context))
        scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(self.head_size))
        if mask is not None:
            scores = scores + mask
        if self.training:
            # The same weights, normalised after the product: softmax over a few positions is slow on a CPU.
            weights = scores.clamp(-LARGEST_SCORE, LARGEST_SCORE).exp()
            mixed = (self.dropout(weights) @ value) / weights.sum(-1, keepdim=True)
        else:
            mixed = scores.softmax(-1) @ value
        merged: Tensor = self.merge(mixed.transpose(1, 2).flatten(2))
        return merged


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, ReLU by default, applied at every position."""

    def __init__(
        self, hidden: int, neurons: int, dropout: float, activation: Callable[[Tensor], Tensor] = torch.relu
    ) -> None:
        super().__init__()
        self.inner = nn.Linear(hidden, neurons)
        self.outer = nn.Linear(neurons, hidden)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation

    def forward(self, states: Tensor) -> Tensor:
        """Map (B, N, hidden) to (B, N, hidden)."""
        result: Tensor = self.outer(self.dropout(self.activation(self.inner(states))))
        return result


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each followed by add and norm.

    Args:
        hidden: size of the residual stream.
        heads: number of heads.
        head_size: size of a head.
        neurons: of the feed-forward network.
        dropout: dropout probability.
        norm: makes a LayerNorm of a size.
        activation: of the feed-forward network.
    """

    def __init__(
        self,
        hidden: int,
        heads: int,
        head_size: int,
        neurons: int,
        dropout: float,
        norm: Callable[[int], nn.LayerNorm],
        activation: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(hidden, heads, head_size, dropout)
        self.ffn = FeedForward(hidden, neurons, dropout, activation)
        self.norms = nn.ModuleList(norm(hidden) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Map (B, N, hidden) to (B, N, hidden) with an additive mask (B, 1, 1, N)."""
        states = self.norms[0](states + self.dropout(self.attention(states, states, mask)))
        result: Tensor = self.norms[1](states + self.dropout(self.ffn(states)))
        return result


class AttentionPooling(nn.Module):
    """MCAN's attentional reduction of a sequence to one vector, with a single glimpse."""

    def __init__(self, hidden: int, pooling_hidden: int, pooled_size: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(hidden, pooling_hidden)
        self.score = nn.Linear(pooling_hidden, 1)
        self.merge = nn.Linear(hidden, pooled_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Pool (B, N, hidden) with an additive mask (B, 1, 1, N) to (B, pooled_size)."""
        scores = self.score(self.dropout(torch.relu(self.inner(states)))).transpose(1, 2)
        if mask is not None:
            scores = scores + mask.flatten(1, 2)
        pooled: Tensor = self.merge((scores.softmax(-1) @ states).flatten(1))
        return pooled


class Adapter(nn.Module):
    """A linear layer into the residual stream, with a LayerNorm of some kind behind it where the family has one."""

    def __init__(self, size: int, hidden: int, *, norm: str | None) -> None:
        super().__init__()
        self.linear = nn.Linear(size, hidden)
        self.norm = nn.Identity() if norm is None else make_norm(norm, hidden)

    def forward(self, states: Tensor) -> Tensor:
        """Map (B, N, size) to (B, N, hidden)."""
        result: Tensor = self.norm(self.linear(states))
        return result
