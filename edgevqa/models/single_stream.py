"""What UNITER and CLIP-ViL share: BERT's text embedding, joint layers, pooler and answer head."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgevqa.models.layers import EncoderLayer, make_norm
from edgevqa.models.single_stream_config import SingleStreamConfig

NORM = "bert"


class TextEmbedding(nn.Module):
    """Word pieces, their positions and their type, added and normalised.

    Args:
        config: the sizes.
    """

    def __init__(self, config: SingleStreamConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocabulary_size, config.hidden)
        self.positions = nn.Embedding(config.positions, config.hidden)
        self.types = nn.Embedding(config.types, config.hidden)
        self.norm = make_norm(NORM, config.hidden)

    def forward(self, question: Tensor) -> Tensor:
        """Map word numbers (B, T) to (B, T, hidden)."""
        places = self.positions.weight[: question.shape[1]] + self.types.weight[0]
        result: Tensor = self.norm(self.words(question) + places)
        return result


class AnswerHead(nn.Module):
    """Linear, GELU, LayerNorm and a classifier.

    Args:
        config: the sizes.
    """

    def __init__(self, config: SingleStreamConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.pooled_size, config.answer_hidden)
        self.norm = make_norm(NORM, config.answer_hidden)
        self.classifier = nn.Linear(config.answer_hidden, config.answer_count)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (B, pooled size) to logits (B, answers)."""
        logits: Tensor = self.classifier(self.norm(functional.gelu(self.inner(pooled))))
        return logits


class SingleStream(nn.Module):
    """Layers over a question and a picture in one sequence, of which the first token answers.

    Args:
        config: the sizes.
    """

    def __init__(self, config: SingleStreamConfig) -> None:
        super().__init__()
        self.text = TextEmbedding(config)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = nn.ModuleList(
            EncoderLayer(
                config.hidden,
                size.heads,
                config.head_size,
                size.ffn,
                config.dropout,
                functools.partial(make_norm, NORM),
                functional.gelu,
            )
            for size in config.encoder
        )
        self.pooler = nn.Linear(config.hidden, config.pooled_size)
        self.answer = AnswerHead(config)

    def first_token(self, question: Tensor, picture: Tensor, mask: Tensor) -> Tensor:
        """What the pooler makes of the first token.

        Args:
            question: (B, T) word numbers.
            picture: (B, R, hidden) embedded image tokens.
            mask: (B, 1, 1, T + R) additive.

        Returns:
            (B, pooled size), before any activation.
        """
        states = self.dropout(torch.cat((self.text(question), picture), dim=1))
        for layer in self.encoder:
            states = layer(states, mask)
        pooled: Tensor = self.pooler(states[:, 0])
        return pooled
