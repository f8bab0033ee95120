"""Operations that the cells of several spaces are made of."""

from collections.abc import Callable

import torch
from torch import nn


class ReluConvNorm(nn.Sequential):
    """ReLU, convolution without bias, batch norm; keeps the size at stride 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
            nn.BatchNorm2d(outputs),
        )


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside the input, which is pooled and projected by a 1×1 convolution where shapes change."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            ReluConvNorm(inputs, outputs, 3, stride=stride), ReluConvNorm(outputs, outputs, 3)
        )
        # `ceil_mode`: an odd side ends with as many pixels as behind the strided convolution.
        pool = [nn.AvgPool2d(stride, stride, ceil_mode=True)] if stride > 1 else []
        fit = [] if stride == 1 and inputs == outputs else [nn.Conv2d(inputs, outputs, 1, bias=False)]
        self.shortcut = nn.Sequential(*pool, *fit)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.convs(x) + self.shortcut(x)
        return out


class Head(nn.Sequential):
    """Norm, ReLU, mean over the image, dropout, linear layer."""

    def __init__(self, channels: int, outputs: int, dropout: float) -> None:
        super().__init__(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels, outputs),
        )


def average_pool(stride: int = 1) -> nn.Module:
    """3×3 mean pooling that keeps the size at stride 1; the border does not count."""
    return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)


class DenseCell(nn.Module):
    """Nodes that each sum an operation of every earlier one; the last node is the output.

    Operations that can only carry zeros, or whose results go nowhere, are held but not computed.

    Args:
        operations: (source, target) -> module; absent pairs carry nothing.
        nodes: in all, input and output included.
        channels: of the output, the input's without it.
        stride: of the operations on the input.
    """

    def __init__(
        self,
        operations: dict[tuple[int, int], nn.Module],
        nodes: int,
        *,
        channels: int | None = None,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        self.operations = nn.ModuleDict({f"{i}to{j}": module for (i, j), module in operations.items()})
        reached = {0}
        for target in range(1, nodes):
            if any((source, target) in operations for source in reached):
                reached.add(target)
        reaching = {nodes - 1}
        for source in range(nodes - 2, -1, -1):
            if any((source, target) in operations for target in reaching):
                reaching.add(source)
        self.incoming = [
            [i for i in range(j) if (i, j) in operations and i in reached and j in reaching]
            for j in range(nodes)
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: list[torch.Tensor | None] = [x]
        for target, sources in enumerate(self.incoming[1:], start=1):
            total: torch.Tensor | None = None
            for source in sources:
                out = self.operations[f"{source}to{target}"](values[source])
                total = out if total is None else total + out
            values.append(total)
        last = values[-1]
        if last is not None:
            return last
        empty = torch.zeros_like(x[:, :1, :: self.stride, :: self.stride])
        return empty.expand(-1, x.shape[1] if self.channels is None else self.channels, -1, -1)


def stem(inputs: int, channels: int) -> nn.Sequential:
    """3×3 convolution and batch norm on the image."""
    return nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


Operation = Callable[[int], nn.Module]
