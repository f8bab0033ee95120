"""Metrics of a loss's gradients, and of weights alone.

| symbol | meaning | shape |
|---|---|---|
| `weights` | parameters of two or more dimensions that train, W_l | as they are |
| `gradients` | dL/dW_l at the network's present weights | as the weights |
| `H` | Hessian of the loss | never formed |
"""

import math
from collections.abc import Iterable, Sequence

import torch

from autosearch.methods.robot.metrics.errors import UndefinedMetric

Tensors = Sequence[torch.Tensor]


def grad_norm(gradients: Tensors) -> float:
    """Sum over layers of the gradient's Euclidean norm.

    Source: Abdelfattah et al. 2021, "Zero-cost proxies for lightweight NAS", section 3.2.1.
    """
    return _total(g.norm() for g in gradients)


def snip(weights: Tensors, gradients: Tensors) -> float:
    """Sum of |g·w|: how much the loss would change to first order if single weights were removed.

    Source: Lee et al. 2019, "SNIP", eq. 5; summed as in Abdelfattah et al. 2021, section 3.2.2.
    """
    return _total((g * w).abs().sum() for w, g in zip(weights, gradients, strict=True))


def plain(weights: Tensors, gradients: Tensors) -> float:
    """Sum of g·w, signs kept. Source: Abdelfattah et al. 2021, section 3.2.2 (there among the pruning scores)."""
    return _total((g * w).sum() for w, g in zip(weights, gradients, strict=True))


def grasp(weights: Tensors, curvatures: Tensors) -> float:
    """Sum of -(H g)·w: how much removing weights would lower the flow of gradients.

    Args:
        weights: as in the module's table.
        curvatures: products H g, shaped as the weights.

    Source: Wang et al. 2020, "GraSP", eq. 8, with temperature 1 and the sign of Abdelfattah et al. 2021.
    """
    return -_total((h * w).sum() for w, h in zip(weights, curvatures, strict=True))


def fisher(layers: Sequence[tuple[torch.Tensor, torch.Tensor, int]]) -> float:
    """Sum over channels and their weights of half the mean squared saliency, the sum of a·dL/da over positions.

    Args:
        layers: for each convolution and linear layer its output a (batch, channels, …), dL/da, and the number
            of weights of a channel, which its saliency is counted for.

    Source: Turner et al. 2020, "BlockSwap", eq. 3; a channel's value counts once for each of its weights as in
    Abdelfattah et al. 2021.
    """
    parts = []
    for output, gradient, fan_in in layers:
        # A linear layer's channels are its last dimension, a convolution's the second.
        saliency = (output * gradient).detach()
        if saliency.dim() > 2:
            saliency = saliency.flatten(2).sum(2)
        parts.append(fan_in * saliency.pow(2).mean(0).mul(0.5).abs().sum())
    return _total(parts)


def l2_norm(weights: Tensors) -> float:
    """Sum over layers of the weights' Euclidean norm. Source: Abdelfattah et al. 2021, code."""
    return _total(w.norm() for w in weights)


def zico(batches: Sequence[Tensors]) -> float:
    """Sum over layers of log Σ E|g| / std(g), over weights whose gradient differs between batches.

    Args:
        batches: the gradients of each of two or more batches.

    Raises:
        UndefinedMetric: no weight's gradient differs.

    Source: Li et al. 2023, "ZiCo", eq. 14.
    """
    total, counted = 0.0, 0
    for layer in zip(*batches, strict=True):
        stacked = torch.stack([g.flatten() for g in layer]).double()
        spread = stacked.std(dim=0, correction=0)
        moving = spread > 0
        ratio = (stacked.abs().mean(dim=0)[moving] / spread[moving]).sum()
        if ratio > 0:
            total += float(ratio.log())
            counted += 1
    if not counted:
        raise UndefinedMetric("no weight has gradients that differ between the two halves of the batch")
    return total


def _total(parts: Iterable[torch.Tensor]) -> float:
    values = [float(part) for part in parts]
    return math.fsum(values)
