"""Networks without skip connections: a multi-layer perceptron, a small convolutional network, VGG."""

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.tasks.models.layers import Layer, NormAct

Shape = tuple[int, ...]  # of one example, such as (channels, height, width)


class Mlp(nn.Sequential):
    """Perceptron of `layers` hidden layers of `width` units, each followed by norm, activation and dropout."""

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        width: int = 64,
        layers: int = 2,
        dropout: float = 0.0,
        norm: str | Layer = "none",
        activation: str = "relu",
    ) -> None:
        norm_act = NormAct(norm, activation, vectors=True)
        size = 1
        for length in shape:
            size *= length
        modules: list[nn.Module] = [nn.Flatten()]
        for _ in range(layers):
            modules += [nn.Linear(size, width, bias=norm_act.bias), norm_act(width), nn.Dropout(dropout)]
            size = width
        super().__init__(*modules, nn.Linear(size, outputs))


class GlobalPool(nn.Module):
    """Mean over height and width: (batch, channels, height, width) -> (batch, channels)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


def conv_block(inputs: int, outputs: int, norm_act: NormAct, *, stride: int = 1) -> list[nn.Module]:
    """A 3×3 convolution with norm and activation."""
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=norm_act.bias)
    return [conv, norm_act(outputs)]


class Cnn(nn.Sequential):
    """Small convolutional network: `depth` 3×3 convolutions of width, 2·width, 4·width … channels.

    Each is followed by 2×2 max pooling while there are 2 pixels left to pool; then mean, dropout, linear layer.
    """

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        width: int = 16,
        depth: int = 3,
        dropout: float = 0.0,
        norm: str | Layer = "batch",
        activation: str = "relu",
    ) -> None:
        norm_act = NormAct(norm, activation)
        channels, pixels = shape[0], min(shape[1:])
        modules: list[nn.Module] = []
        for i in range(depth):
            modules += conv_block(channels, width * 2**i, norm_act)
            channels = width * 2**i
            if pixels >= 2:
                modules.append(nn.MaxPool2d(2))
                pixels //= 2
        modules += [GlobalPool(), nn.Dropout(dropout), nn.Linear(channels, outputs)]
        super().__init__(*modules)


# Channels as multiples of the first width, `0` for pooling: configurations A, B, D, E of the paper.
_VGG: dict[int, tuple[int, ...]] = {
    11: (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0),
    13: (1, 1, 0, 2, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0),
    16: (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0),
    19: (1, 1, 0, 2, 2, 0, 4, 4, 4, 4, 0, 8, 8, 8, 8, 0, 8, 8, 8, 8, 0),
}


class Vgg(nn.Sequential):
    """VGG of depth 11, 13, 16 or 19 for small images: one linear layer behind a mean; `width` is the first.

    Source: Simonyan and Zisserman 2015, table 1. Differs from the paper: normalised, one linear layer instead of
    three, no pooling where fewer than 2 pixels are left.
    """

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        width: int = 64,
        depth: int = 16,
        dropout: float = 0.0,
        norm: str | Layer = "batch",
        activation: str = "relu",
    ) -> None:
        if depth not in _VGG:
            raise OptionError(f"depth: vgg has 11, 13, 16 or 19 layers, got {depth}.", "depth")
        norm_act = NormAct(norm, activation)
        channels, pixels = shape[0], min(shape[1:])
        modules: list[nn.Module] = []
        for multiple in _VGG[depth]:
            if multiple:
                modules += conv_block(channels, width * multiple, norm_act)
                channels = width * multiple
            elif pixels >= 2:
                modules.append(nn.MaxPool2d(2))
                pixels //= 2
        modules += [GlobalPool(), nn.Dropout(dropout), nn.Linear(channels, outputs)]
        super().__init__(*modules)
