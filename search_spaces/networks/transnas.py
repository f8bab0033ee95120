"""Networks of TransNAS-Bench-101's two spaces, of any width, image size and number of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from search_spaces.cells import ends
from search_spaces.networks.layers import DenseCell, Head, ReluConvNorm, ResidualBlock, stem
from search_spaces.transnas import check_cell, modules_of

# What the benchmark's cells are stacked to: 4 doubles the channels and halves the image, 1 keeps both.
_CELL_MODULES = ((2, 2), (1, 1), (2, 2), (1, 1), (2, 2))
_SMALLEST_STRIDED = 4  # pixels a side; fewer are not halved


class TransNasMicroNetwork(nn.Sequential):
    """Stem and five modules of `depth` cells, of which the first, third and fifth begin with half the image.

    Source: Duan et al. 2021, "TransNAS-Bench-101", section 3. Differs from the benchmark: a stem for small images, and
    a linear layer on the image's mean instead of a decoder for each task.

    Args:
        shape: (channels, height, width) of an image.
        outputs: classes.
        architecture: operation of each edge, as `search_spaces.transnas` places it.
        width: channels behind the stem.
        depth: cells in a module.
        dropout: in front of the linear layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        *,
        architecture: Mapping[str, Any],
        width: int = 16,
        depth: int = 2,
        dropout: float = 0.0,
    ) -> None:
        found = check_cell(architecture)
        modules: list[nn.Module] = [stem(shape[0], width)]
        channels, pixels = width, min(shape[1:])
        for widen, halve in _CELL_MODULES:
            stride = halve if pixels >= _SMALLEST_STRIDED else 1
            modules.append(_cell(found, channels, channels * widen, stride))
            channels, pixels = channels * widen, pixels // stride
            modules += [_cell(found, channels, channels, 1) for _ in range(depth - 1)]
        super().__init__(*modules, Head(channels, outputs, dropout))


def _cell(operations: Mapping[str, str], inputs: int, outputs: int, stride: int) -> DenseCell:
    """A cell whose edges from the input change shapes."""
    modules: dict[tuple[int, int], nn.Module] = {}
    for edge, name in operations.items():
        source, target = ends(edge)
        before, step = (inputs, stride) if source == 0 else (outputs, 1)
        if name == "skip_connect":
            same = before == outputs and step == 1
            modules[source, target] = nn.Identity() if same else ReluConvNorm(before, outputs, 1, stride=step)
        elif name != "none":
            kernel = 1 if name == "nor_conv_1x1" else 3
            modules[source, target] = ReluConvNorm(before, outputs, kernel, stride=step)
    return DenseCell(modules, 4, channels=outputs, stride=stride)


class TransNasMacroNetwork(nn.Sequential):
    """Stem and four to six modules of two residual blocks, whose first changes shapes as the architecture says.

    Source: Duan et al. 2021, "TransNAS-Bench-101", section 3. Differs from the benchmark: as above.

    Args:
        shape: (channels, height, width) of an image.
        outputs: classes.
        architecture: the modules, as `search_spaces.transnas` places them.
        width: channels behind the stem.
        depth: blocks in a module.
        dropout: in front of the linear layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        *,
        architecture: Mapping[str, Any],
        width: int = 16,
        depth: int = 2,
        dropout: float = 0.0,
    ) -> None:
        modules: list[nn.Module] = [stem(shape[0], width)]
        channels = width
        for widen, stride in modules_of(architecture):
            modules.append(ResidualBlock(channels, channels * widen, stride=stride))
            channels *= widen
            modules += [ResidualBlock(channels, channels) for _ in range(depth - 1)]
        super().__init__(*modules, Head(channels, outputs, dropout))
