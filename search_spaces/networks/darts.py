"""The network of DARTS, of any width, number of cells, image size and number of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from search_spaces.darts import to_genotype
from search_spaces.networks.layers import ReluConvNorm, average_pool

_STEM = 3  # times the width: the channels behind the stem


class FactorizedReduction(nn.Module):
    """Half the pixels by two 1×1 convolutions, on the even and on the odd positions, side by side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(x)
        # An odd side has one odd position less than even ones.
        shifted = functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        out: torch.Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))
        return out


class SeparableConv(nn.Sequential):
    """ReLU, depthwise convolution, 1×1 convolution, batch norm; twice where it is not dilated."""

    def __init__(self, channels: int, kernel: int, stride: int, *, dilation: int = 1) -> None:
        layers: list[nn.Module] = []
        for step in (stride,) if dilation > 1 else (stride, 1):
            padding = dilation * (kernel - 1) // 2
            layers += [
                nn.ReLU(),
                nn.Conv2d(channels, channels, kernel, step, padding, dilation, channels, bias=False),
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
            ]
        super().__init__(*layers)


def operation(name: str, channels: int, stride: int) -> nn.Module:
    """One of DARTS's operations."""
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, padding=1)
    if name == "avg_pool_3x3":
        return average_pool(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduction(channels, channels)
    kind, _, size = name.partition("_conv_")
    return SeparableConv(channels, int(size[0]), stride, dilation=2 if kind == "dil" else 1)


class DartsCell(nn.Module):
    """Two fitted inputs, four nodes that each sum two operations; the nodes side by side are the output."""

    def __init__(
        self,
        inputs: Sequence[tuple[str, int]],
        before: int,
        last: int,
        channels: int,
        *,
        reduces: bool,
        reduced: bool,
    ) -> None:
        super().__init__()
        self.fit_before = (
            FactorizedReduction(before, channels) if reduced else ReluConvNorm(before, channels, 1)
        )
        self.fit_last = ReluConvNorm(last, channels, 1)
        self.sources = [source for _, source in inputs]
        self.operations = nn.ModuleList(
            operation(name, channels, 2 if reduces and source < 2 else 1) for name, source in inputs
        )

    def forward(self, before: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        values = [self.fit_before(before), self.fit_last(last)]
        for i in range(0, len(self.sources), 2):
            first, second = (self.operations[j](values[self.sources[j]]) for j in (i, i + 1))
            values.append(first + second)
        return torch.cat(values[2:], dim=1)


class DartsNetwork(nn.Module):
    """Stem, `depth` cells of `width` channels a node; at one and two thirds a reduction cell doubles the channels.

    Source: Liu et al. 2019, "DARTS", section 3.2. Differs from the paper: no auxiliary head and no drop-path.

    Args:
        shape: (channels, height, width) of an image.
        outputs: classes.
        architecture: both cells, as `search_spaces.darts` places them.
        width: channels of a node in the first cells.
        depth: cells, three at least.
        dropout: in front of the linear layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        *,
        architecture: Mapping[str, Any],
        width: int = 16,
        depth: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        genotype = to_genotype(architecture)
        self.stem = nn.Sequential(
            nn.Conv2d(shape[0], _STEM * width, 3, padding=1, bias=False), nn.BatchNorm2d(_STEM * width)
        )
        before = last = _STEM * width
        channels, reduced = width, False
        cells = []
        for i in range(depth):
            reduces = depth >= 3 and i in (depth // 3, 2 * depth // 3)
            channels *= 2 if reduces else 1
            inputs = genotype["reduce" if reduces else "normal"]
            cells.append(DartsCell(inputs, before, last, channels, reduces=reduces, reduced=reduced))
            before, last, reduced = last, 4 * channels, reduces
        self.cells = nn.ModuleList(cells)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(last, outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = last = self.stem(x)
        for cell in self.cells:
            before, last = last, cell(before, last)
        out: torch.Tensor = self.head(last)
        return out
