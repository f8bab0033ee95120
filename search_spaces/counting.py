"""Sizes of networks, counted exactly: trainable weights and multiply-adds."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autosearch.learning.costs import count_macs


@dataclass(frozen=True, slots=True)
class Size:
    """How large a network is.

    Attributes:
        parameters: trainable weights.
        multiply_adds: of convolutions, linear layers and matrix products, for one example.
    """

    parameters: int
    multiply_adds: int


def size_of(builder: Callable[..., nn.Module], shape: Sequence[int], outputs: int, **options: Any) -> Size:
    """The size of the network that `builder(shape, outputs, **options)` builds; its weights are never made.

    Example:
        >>> size_of(DartsNetwork, (3, 32, 32), 10, architecture=architecture, width=36, depth=20).parameters
    """
    with torch.device("meta"):
        model = builder(shape, outputs, **options)
    return Size(parameter_count(model), multiply_adds(model, shape))


def parameter_count(model: nn.Module) -> int:
    """Trainable weights; one that is used in several places counts once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def multiply_adds(model: nn.Module, shape: Sequence[int], *, dtype: torch.dtype = torch.float32) -> int:
    """Multiply-adds of convolutions, linear layers and matrix products for one example; nothing is computed.

    Args:
        model: not changed; a copy without storage is counted.
        shape: of one example.
        dtype: of the example, int64 for token numbers.
    """
    hollow = copy.deepcopy(model).to("meta")
    return round(count_macs(hollow, torch.zeros((1, *shape), dtype=dtype, device="meta")))
