"""Exponential moving average of a network's weights."""

import copy

import torch
from torch import nn


class WeightAverage:
    """A copy of a network whose weights follow the trained ones by an exponential moving average.

    The decay warms up as `min(decay, (1 + t) / (10 + t))` at update t, so that short runs are not dominated by the
    initial weights. Buffers (running statistics) are copied.

    Args:
        model: the trained network.
        decay: weight of the past in one update, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(model).requires_grad_(requires_grad=False)
        self._averaged: list[torch.Tensor] = list(self.module.parameters())
        self._buffers = list(self.module.buffers())

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the present weights of `model`."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(self._averaged, list(model.parameters()), 1 - decay)
        for own, theirs in zip(self._buffers, model.buffers(), strict=True):
            own.copy_(theirs)
