"""Metrics of feature maps: MeCo, Zen, the terms of AZ-NAS.

| symbol | meaning | shape |
|---|---|---|
| `F` | features of a block, or output of a convolution | `(B, C, …)` |
| `V` | correlation or covariance of the channels | `(C, C)` |
"""

import itertools
import math
from collections.abc import Sequence

import torch

from autosearch.methods.robot.metrics.errors import UndefinedMetric

_SINGULAR = 1e-6  # AZ-NAS's code adds it to the spectral norm; an untrainable block scores 2 - 1/1e-6


def smallest_correlation(F: torch.Tensor) -> float:
    """Smallest eigenvalue of the correlations between the channels of the first example; 0 where they are constant."""
    maps = F[0].detach().double().flatten(1)
    centred = maps - maps.mean(dim=1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    alive = norms > 1e-12 * maps.norm(dim=1, keepdim=True)
    unit = torch.where(alive, centred / norms.where(alive, torch.ones_like(norms)), torch.zeros_like(centred))
    V = unit @ unit.T
    return float(torch.linalg.eigvalsh(V)[0])


def meco(smallest: Sequence[float]) -> float:
    """Sum over convolutions of `smallest_correlation`.

    Raises:
        UndefinedMetric: there is no convolution.

    Source: Jiang et al. 2023, "MeCo", eq. 4. Differs from its code: convolutions are counted, not every module.
    """
    if not smallest:
        raise UndefinedMetric("the network has no convolution whose maps could be compared")
    return math.fsum(smallest)


def zen(difference: float, variances: Sequence[torch.Tensor]) -> float:
    """Log of the features' mean change under a small change of the input, plus Σ log sqrt(variance) of batch norms.

    Args:
        difference: mean over examples of Σ |f(x) - f(x + 0.01 ε)| with Gaussian weights.
        variances: the running variance of each batch norm, (channels,).

    Raises:
        UndefinedMetric: the features do not change, or what enters a norm does not.

    Source: Lin et al. 2021, "Zen-NAS", algorithm 1.
    """
    if not difference > 0:
        raise UndefinedMetric("the features do not depend on the input")
    means = [float(v.mean()) for v in variances]
    if not all(0 < mean < math.inf for mean in means):
        raise UndefinedMetric("what enters a batch norm is constant, or not finite")
    return math.log(difference) + math.fsum(0.5 * math.log(mean) for mean in means)


def entropy(F: torch.Tensor) -> float:
    """Entropy of the normalised eigenvalues of the channels' covariance, over examples and positions; 0 if constant.

    Source: Lee and Ham 2024, "AZ-NAS", eq. 2 and 3.
    """
    points = F.detach().transpose(0, 1).flatten(1).T.double()
    centred = points - points.mean(dim=0, keepdim=True)
    values = torch.linalg.eigvalsh(centred.T @ centred / len(points)).clamp_min(0)
    total = values.sum()
    if not total > 0:
        return 0.0
    shares = values / total
    return -float((shares * (shares + 1e-8).log()).sum())


def expressivity(entropies: Sequence[float]) -> float:
    """Sum over blocks of the entropy of their features. Source: AZ-NAS, eq. 3."""
    return math.fsum(entropies)


def progressivity(entropies: Sequence[float]) -> float:
    """Smallest growth of entropy from one block to the next. Source: AZ-NAS, eq. 4.

    Raises:
        UndefinedMetric: there is only one block.
    """
    if len(entropies) < 2:
        raise UndefinedMetric("progress needs at least two blocks")
    return min(later - earlier for earlier, later in itertools.pairwise(entropies))


def trainability(norms: Sequence[float]) -> float:
    """Mean over blocks of 2 - s - 1/s, s the spectral norm of the block's Jacobian. Source: AZ-NAS, eq. 6 and 7.

    Raises:
        UndefinedMetric: no block passes a gradient on to the one before.
    """
    if not norms:
        raise UndefinedMetric("no two blocks follow each other")
    return math.fsum(2 - s - 1 / (s + _SINGULAR) for s in norms) / len(norms)


def spectral_norm(gradient_in: torch.Tensor, gradient_out: torch.Tensor) -> float:
    """Spectral norm of a block's Jacobian, estimated from random signs at its output and what arrives at its input.

    A block that passes gradients on unchanged learns nothing and counts as 0, as one that passes none.

    Args:
        gradient_in: (B, C_in, …).
        gradient_out: (B, C_out, …) of ±1, of no more positions than the input.
    """
    if gradient_in.shape == gradient_out.shape and torch.equal(gradient_in, gradient_out):
        return 0.0
    rows = _aligned(gradient_in, gradient_out)
    columns = gradient_out.transpose(0, 1).flatten(1).T
    matrix = rows.T @ columns / len(columns)
    return float(torch.linalg.matrix_norm(matrix.double(), ord=2))


def _aligned(gradient_in: torch.Tensor, gradient_out: torch.Tensor) -> torch.Tensor:
    """Input gradients, one row for each output position: the positions that a stride merges stand side by side."""
    if gradient_in.dim() != 4 or gradient_in.shape[2:] == gradient_out.shape[2:]:
        if gradient_in.shape[2:] != gradient_out.shape[2:]:
            raise UndefinedMetric("features of a block and the next have positions that do not match")
        return gradient_in.transpose(0, 1).flatten(1).T
    height, width = gradient_out.shape[2:]
    stride = -(-gradient_in.shape[2] // height)
    padding = (0, stride * width - gradient_in.shape[3], 0, stride * height - gradient_in.shape[2])
    if min(padding) < 0:
        raise UndefinedMetric("features of a block and the next have positions that do not match")
    padded = torch.nn.functional.pad(gradient_in, padding)  # an odd side ends in a window that is not full
    return torch.nn.functional.pixel_unshuffle(padded, stride).transpose(0, 1).flatten(1).T
