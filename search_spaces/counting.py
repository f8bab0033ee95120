"""Sizes of networks, counted exactly: trainable weights and multiply-adds."""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


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
    hollow = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        hollow(torch.zeros((1, *shape), dtype=dtype, device="meta"))
    flops: int = counter.get_total_flops()
    return flops // 2
