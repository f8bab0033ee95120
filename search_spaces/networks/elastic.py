"""Networks in stages whose kernels, expansions, depths and widths an architecture sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from search_spaces.elastic import mobile_blocks, resnet_stages
from search_spaces.networks.layers import Head, ResidualBlock, stem

_GROWTH = 1.5  # of the channels from stage to stage, as in MobileNetV3 on average
_MULTIPLE = 8  # channels are multiples of it, which hardware likes
_SMALLEST_STRIDED = 8  # pixels a side; fewer are not halved, so that wide kernels still see a neighbourhood


class InvertedBlock(nn.Module):
    """1×1 expansion, depthwise convolution, 1×1 projection without activation; the input is added where it fits."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(x)
        return x + out if self.adds else out


class ElasticMobileNet(nn.Sequential):
    """Stem and stages of inverted blocks; each stage but the first halves the image, all have 1.5 times the channels.

    Args:
        shape: (channels, height, width) of an image.
        outputs: classes.
        architecture: as `search_spaces.elastic_mobilenet` places it.
        width: channels of the stem, before the architecture's factor.
        dropout: in front of the linear layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        *,
        architecture: Mapping[str, Any],
        width: int = 16,
        dropout: float = 0.0,
    ) -> None:
        stages, factor = mobile_blocks(architecture), float(architecture["width"])
        channels, pixels = _rounded(width * factor), min(shape[1:])
        modules: list[nn.Module] = [stem(shape[0], channels)]
        for s, blocks in enumerate(stages):
            outputs_of_stage = _rounded(width * factor * _GROWTH**s)
            for b, (kernel, expansion) in enumerate(blocks):
                stride = 2 if s and b == 0 and pixels >= _SMALLEST_STRIDED else 1
                block = InvertedBlock(
                    channels, outputs_of_stage, kernel=kernel, expansion=expansion, stride=stride
                )
                modules.append(block)
                channels, pixels = outputs_of_stage, pixels // stride
        super().__init__(*modules, Head(channels, outputs, dropout))


def _rounded(channels: float) -> int:
    return max(_MULTIPLE, round(channels / _MULTIPLE) * _MULTIPLE)


class ElasticResNet(nn.Sequential):
    """Stem and stages of residual blocks; each stage but the first halves the image.

    Args:
        shape: (channels, height, width) of an image.
        outputs: classes.
        architecture: as `search_spaces.elastic_resnet` places it.
        dropout: in front of the linear layer.
    """

    def __init__(
        self, shape: Sequence[int], outputs: int, *, architecture: Mapping[str, Any], dropout: float = 0.0
    ) -> None:
        stages = resnet_stages(architecture)
        channels = stages[0][1]
        modules: list[nn.Module] = [stem(shape[0], channels)]
        for s, (blocks, width) in enumerate(stages):
            for b in range(blocks):
                modules.append(ResidualBlock(channels, width, stride=2 if s and b == 0 else 1))
                channels = width
        super().__init__(*modules, Head(channels, outputs, dropout))
