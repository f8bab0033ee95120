"""The macro network of NAS-Bench-201, of any width, depth, image size and number of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from search_spaces.nasbench201 import check
from search_spaces.networks.layers import (
    DenseCell,
    Head,
    Operation,
    ReluConvNorm,
    ResidualBlock,
    average_pool,
    stem,
)

_OPERATIONS: dict[str, Operation] = {
    "skip_connect": lambda _: nn.Identity(),
    "nor_conv_1x1": lambda channels: ReluConvNorm(channels, channels, 1),
    "nor_conv_3x3": lambda channels: ReluConvNorm(channels, channels, 3),
    "avg_pool_3x3": lambda _: average_pool(),
}


class NasBench201Network(nn.Sequential):
    """Stem, three stages of `depth` cells with width, 2·width, 4·width channels, residual reductions between them.

    Source: Dong and Yang 2020, "NAS-Bench-201", figure 1. Differs from the benchmark where an image has an odd
    number of pixels a side: the reduction's pooling rounds up as its convolutions do.

    Args:
        shape: (channels, height, width) of an image.
        outputs: classes.
        architecture: operation of each edge, as `search_spaces.nasbench201` places it.
        width: channels of the first stage.
        depth: cells in a stage.
        dropout: in front of the linear layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        *,
        architecture: Mapping[str, Any],
        width: int = 16,
        depth: int = 5,
        dropout: float = 0.0,
    ) -> None:
        found = check(architecture)
        modules: list[nn.Module] = [stem(shape[0], width)]
        for stage in range(3):
            channels = width * 2**stage
            if stage:
                modules.append(ResidualBlock(channels // 2, channels, stride=2))
            modules += [_cell(found, channels) for _ in range(depth)]
        super().__init__(*modules, Head(4 * width, outputs, dropout))


def _cell(architecture: Mapping[str, str], channels: int) -> DenseCell:
    operations = {
        (int(edge[4]), int(edge[5])): _OPERATIONS[name](channels)
        for edge, name in architecture.items()
        if name != "none"
    }
    return DenseCell(operations, 4)
