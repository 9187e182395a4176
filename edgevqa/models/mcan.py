"""MCAN (Yu et al. 2019) with BST's adapters (arXiv 2203.12814), as a static module of any size."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from edgevqa.models.config import DecoderLayerSize, MCANConfig, PixelInput, RegionInput
from edgevqa.models.layers import Adapter, AttentionPooling, EncoderLayer, FeedForward, MultiHeadAttention, make_norm
from edgevqa.models.vision import ConvolutionalStem


class DecoderLayer(nn.Module):
    """Self-attention over the picture, attention to the question, and a feed-forward network."""

    def __init__(self, config: MCANConfig, size: DecoderLayerSize) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(config.hidden, size.self_heads, config.head_size, config.dropout)
        self.guided = MultiHeadAttention(config.hidden, size.guided_heads, config.head_size, config.dropout)
        self.ffn = FeedForward(config.hidden, size.ffn, config.dropout)
        self.norms = nn.ModuleList(make_norm(config.norm, config.hidden) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, picture: Tensor, picture_mask: Tensor | None, question: Tensor, question_mask: Tensor) -> Tensor:
        """Map the picture's (B, R, hidden) to (B, R, hidden), guided by the question's (B, T, hidden)."""
        picture = self.norms[0](picture + self.dropout(self.attention(picture, picture, picture_mask)))
        picture = self.norms[1](picture + self.dropout(self.guided(picture, question, question_mask)))
        result: Tensor = self.norms[2](picture + self.dropout(self.ffn(picture)))
        return result


class MCAN(nn.Module):
    """Encoder over the question, decoder over the picture, attention pooling of both, and a classifier.

    All decoder layers attend to the last encoder layer's output.

    Args:
        config: the sizes.
    """

    def __init__(self, config: MCANConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary_size, config.word_size)
        self.lstm = nn.LSTM(config.word_size, config.lstm_size, batch_first=True)
        self.language_adapter = (
            Adapter(config.lstm_size, config.hidden, norm=config.norm) if config.language_adapter else nn.Identity()
        )
        image = config.image
        if isinstance(image, PixelInput):
            self.stem = ConvolutionalStem(image.channels, image.grid)
        elif image.box_embedding:
            self.box_embedding = nn.Linear(image.box_size, image.box_embedding)
        self.image_adapter = Adapter(image.adapter_input, config.hidden, norm=config.norm if image.norm else None)
        norm = functools.partial(make_norm, config.norm)
        self.encoder = nn.ModuleList(
            EncoderLayer(config.hidden, size.heads, config.head_size, size.ffn, config.dropout, norm)
            for size in config.encoder
        )
        self.decoder = nn.ModuleList(DecoderLayer(config, size) for size in config.decoder)
        pooling = (config.hidden, config.pooling_hidden, config.pooled_size, config.dropout)
        self.question_pooling = AttentionPooling(*pooling)
        self.picture_pooling = AttentionPooling(*pooling)
        self.norm = make_norm(config.norm, config.pooled_size)
        self.classifier = nn.Linear(config.pooled_size, config.answer_count)

    def _picture_tokens(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
        image = self.config.image
        if isinstance(image, PixelInput):
            return self.stem(inputs[0]), None
        regions, mask = inputs[:2]
        if isinstance(image, RegionInput) and image.box_size:
            boxes = self.box_embedding(inputs[2]) if image.box_embedding else inputs[2]
            regions = torch.cat((regions, boxes), dim=-1)
        return regions, mask

    def forward(self, question: Tensor, question_mask: Tensor, *picture_inputs: Tensor) -> Tensor:
        """Answer questions.

        Args:
            question: (B, T) word numbers.
            question_mask: (B, 1, 1, T) additive.
            picture_inputs: regions (B, R, F), region_mask (B, 1, 1, R) additive and, where the model has them,
                boxes (B, R, box size); or the image (B, 3, H, W).

        Returns:
            Logits (B, answers).
        """
        language, _ = self.lstm(self.embedding(question))
        language = self.language_adapter(language)
        tokens, mask = self._picture_tokens(picture_inputs)
        picture = self.image_adapter(tokens)
        for layer in self.encoder:
            language = layer(language, question_mask)
        for layer in self.decoder:
            picture = layer(picture, mask, language, question_mask)
        fused = self.question_pooling(language, question_mask) + self.picture_pooling(picture, mask)
        logits: Tensor = self.classifier(self.norm(fused))
        return logits
