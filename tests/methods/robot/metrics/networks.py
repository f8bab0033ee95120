"""Small networks that metrics are tried on."""

import itertools

import torch
from torch import nn
from torch.nn import functional


class Functional(nn.Module):
    """The network `modules()` written with functions and methods of tensors only."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 5)

    def activate(self, x: torch.Tensor) -> torch.Tensor:
        return {
            "function": functional.relu,
            "torch": torch.relu,
            "method": lambda t: t.relu(),
            "in place": lambda t: torch.relu_(t),
            "clamp": lambda t: t.clamp(min=0),
        }[self.kind](x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activate(self.norm(self.conv1(x)))
        x = self.activate(self.conv2(functional.dropout(x, 0.5, self.training)))
        return self.linear(x.mean(dim=(2, 3)))


def modules(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Two convolutions, one with norm, each with an activation, dropout between them, then a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), activation(), nn.Dropout(0.5),
        nn.Conv2d(4, 4, 3, padding=1), activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
    )  # fmt: skip


def functional_twin(network: nn.Sequential, kind: str) -> Functional:
    twin = Functional(kind)
    twin.conv1, twin.norm, twin.conv2, twin.linear = network[0], network[1], network[4], network[8]
    return twin


def perceptron(
    *sizes: int, bias: bool = False, activation: type[nn.Module] | None = nn.ReLU
) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        if i and activation is not None:
            layers.append(activation())
        layers.append(nn.Linear(inputs, outputs, bias=bias))
    return nn.Sequential(*layers)


def batch(n: int = 8, classes: int = 5, *shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, *(shape or (3, 6, 6)), generator=generator)
    return inputs, torch.arange(n) % classes
