"""Small character language models: tokens (batch, length) to logits (batch, length, vocabulary)."""

import torch
from torch import nn
from torch.nn import functional

from autosearch.core.errors import OptionError
from autosearch.tasks.models.feedforward import Shape
from autosearch.tasks.models.layers import ACTIVATIONS, find_activation


class Lstm(nn.Module):
    """`layers` LSTM layers of `width` units over an embedding, with dropout behind each and behind the embedding.

    The state starts at zero in every window.
    """

    def __init__(
        self, shape: Shape, outputs: int, *, width: int = 128, layers: int = 1, dropout: float = 0.0
    ) -> None:
        del shape  # any length
        super().__init__()
        self.embedding = nn.Embedding(outputs, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(layers))
        self.drops = nn.ModuleList(nn.Dropout(dropout) for _ in range(layers))
        self.head = nn.Linear(width, outputs)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.embedding(tokens))
        for layer, drop in zip(self.layers, self.drops, strict=True):
            x = drop(layer(x)[0])
        logits: torch.Tensor = self.head(x)
        return logits


class Attention(nn.Module):
    """Causal self-attention over (batch, length, width) with `heads` heads that divide the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # (batch, length, 3·width) -> three of (batch, heads, length, width / heads)
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)
        mixed = functional.scaled_dot_product_attention(
            parts[:, :, 0], parts[:, :, 1], parts[:, :, 2], is_causal=True
        )
        result: torch.Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return result


class TransformerBlock(nn.Module):
    """Causal self-attention and a two-layer perceptron, each behind a layer norm and added to its input."""

    def __init__(self, width: int, heads: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.drop1 = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width),
            ACTIVATIONS[activation](),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop1(self.attention(self.norm1(x)))
        result: torch.Tensor = x + self.perceptron(self.norm2(x))
        return result


class Transformer(nn.Module):
    """Decoder of `layers` blocks with learned positions; `heads` must divide `width`.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3 (pre-norm).
    """

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        if width % heads:
            raise OptionError(f"heads: must divide the width, {width} is no multiple of {heads}.", "heads")
        find_activation(activation)
        self.embedding = nn.Embedding(outputs, width)
        self.positions = nn.Parameter(torch.randn(shape[0], width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, heads, dropout, activation) for _ in range(layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.embedding(tokens) + self.positions[: tokens.shape[1]])
        logits: torch.Tensor = self.head(self.norm(self.blocks(x)))
        return logits
