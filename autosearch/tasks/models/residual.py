"""Networks with skip connections for small images: CIFAR ResNets of both kinds, MobileNetV2."""

from collections.abc import Callable

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.tasks.models.feedforward import GlobalPool, Shape
from autosearch.tasks.models.layers import Layer, NormAct


def _conv(
    inputs: int, outputs: int, kernel: int, norm_act: NormAct, *, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    padding = kernel // 2
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=norm_act.bias)


def _blocks(depth: int, name: str) -> int:
    """Blocks in each of the three stages of a network of `depth` = 6·n + 2 layers."""
    if depth < 8 or depth % 6 != 2:
        raise OptionError(
            f"depth: {name} has 6·n + 2 layers (8, 14, 20, 32, 44, 56, 110 …), got {depth}.", "depth"
        )
    return (depth - 2) // 6


class BasicBlock(nn.Module):
    """conv, norm, activation, conv, norm; the sum with the input is activated. A 1×1 convolution fits the input."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm_act: NormAct) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 3, norm_act, stride=stride)
        self.norm_act1 = norm_act(outputs)
        self.conv2 = _conv(outputs, outputs, 3, norm_act)
        self.norm2 = norm_act.linear(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(_conv(inputs, outputs, 1, norm_act, stride=stride), norm_act.linear(outputs))
        )
        self.activation = norm_act.act()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm2(self.conv2(self.norm_act1(self.conv1(x))))
        result: torch.Tensor = self.activation(out + self.shortcut(x))
        return result


class PreactBlock(nn.Module):
    """norm and activation in front of each of two convolutions; the input is added as it is."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm_act: NormAct) -> None:
        super().__init__()
        self.norm_act1 = norm_act(inputs)
        self.conv1 = _conv(inputs, outputs, 3, norm_act, stride=stride)
        self.norm_act2 = norm_act(outputs)
        self.conv2 = _conv(outputs, outputs, 3, norm_act)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv2(self.norm_act2(self.conv1(self.norm_act1(x))))
        result: torch.Tensor = out + self.shortcut(x)
        return result


def _stages(
    block: Callable[[int, int, int, NormAct], nn.Module], width: int, blocks: int, norm_act: NormAct
) -> list[nn.Module]:
    """Three stages of `blocks` blocks with width, 2·width, 4·width channels; the later two begin with a stride."""
    modules: list[nn.Module] = []
    channels = width
    for stage in range(3):
        for i in range(blocks):
            stride = 2 if stage and i == 0 else 1
            modules.append(block(channels, width * 2**stage, stride, norm_act))
            channels = width * 2**stage
    return modules


class ResNet(nn.Sequential):
    """CIFAR ResNet of 6·n + 2 layers: three stages of n blocks with width, 2·width, 4·width channels.

    Source: He et al. 2016, "Deep Residual Learning", section 4.2. Differs from the paper: 1×1 convolutions
    (option B) where shapes change, so that channels can be removed and traced.
    """

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        width: int = 16,
        depth: int = 20,
        dropout: float = 0.0,
        norm: str | Layer = "batch",
        activation: str = "relu",
    ) -> None:
        norm_act = NormAct(norm, activation)
        blocks = _blocks(depth, "resnet")
        modules: list[nn.Module] = [_conv(shape[0], width, 3, norm_act), norm_act(width)]
        modules += _stages(BasicBlock, width, blocks, norm_act)
        super().__init__(*modules, GlobalPool(), nn.Dropout(dropout), nn.Linear(4 * width, outputs))


class PreactResNet(nn.Sequential):
    """CIFAR ResNet of 6·n + 2 layers with pre-activation: norm and activation always stand together.

    Source: He et al. 2016, "Identity Mappings in Deep Residual Networks", figure 4e.
    """

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        width: int = 16,
        depth: int = 20,
        dropout: float = 0.0,
        norm: str | Layer = "batch",
        activation: str = "relu",
    ) -> None:
        norm_act = NormAct(norm, activation)
        blocks = _blocks(depth, "preact_resnet")
        modules: list[nn.Module] = [_conv(shape[0], width, 3, norm_act)]
        modules += _stages(PreactBlock, width, blocks, norm_act)
        channels = 4 * width
        modules += [norm_act(channels), GlobalPool(), nn.Dropout(dropout), nn.Linear(channels, outputs)]
        super().__init__(*modules)


class InvertedBlock(nn.Module):
    """1×1 expansion, 3×3 depthwise convolution, linear 1×1 projection; the input is added where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, norm_act: NormAct) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [_conv(inputs, hidden, 1, norm_act), norm_act(hidden)]
        self.layers = nn.Sequential(
            *expand,
            _conv(hidden, hidden, 3, norm_act, stride=stride, groups=hidden),
            norm_act(hidden),
            _conv(hidden, outputs, 1, norm_act),
            norm_act.linear(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(x)
        return x + out if self.adds else out


# Expansion, channels at width 32, repeats, stride of the first: table 2 of the paper.
_MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_SMALLEST_STRIDED = (
    8  # pixels a side; fewer are not halved, so that depthwise kernels still see a neighbourhood
)


class MobileNetV2(nn.Sequential):
    """MobileNetV2 for small images; `width` is the stem's, all other channels scale with it.

    Source: Sandler et al. 2018, table 2. Differs from the paper: the stem does not halve the image, images of fewer
    than 8 pixels a side are not halved, and the last layer scales as well.
    """

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        width: int = 32,
        dropout: float = 0.0,
        norm: str | Layer = "batch",
        activation: str = "relu6",
    ) -> None:
        norm_act = NormAct(norm, activation)

        def scaled(channels: int) -> int:
            return max(1, round(channels * width / 32))

        modules: list[nn.Module] = [_conv(shape[0], width, 3, norm_act), norm_act(width)]
        channels, pixels = width, min(shape[1:])
        for expansion, base, repeats, first in _MOBILENET_V2:
            for i in range(repeats):
                stride = first if i == 0 and pixels >= _SMALLEST_STRIDED else 1
                modules.append(InvertedBlock(channels, scaled(base), stride, expansion, norm_act))
                channels, pixels = scaled(base), pixels // stride
        last = scaled(1280)
        modules += [_conv(channels, last, 1, norm_act), norm_act(last)]
        super().__init__(*modules, GlobalPool(), nn.Dropout(dropout), nn.Linear(last, outputs))
