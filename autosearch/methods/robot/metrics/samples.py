"""Metrics that compare the examples of a batch: activation codes, input gradients, tangent kernel.

| symbol | meaning | shape |
|---|---|---|
| `B` | examples in the batch | |
| `codes` | whether each neuron's pre-activation is positive | `(B, neurons)` of bool |
| `K` | number of neurons on which two examples agree | `(B, B)` |
| `J` | gradient of the sum of an example's outputs by its input | `(B, D)` |
| `T` | gradient of the sum of an example's outputs by all weights | `(B, P)` |
"""

import math

import numpy as np
import torch

from autosearch.methods.robot.metrics.errors import UndefinedMetric

_JITTER = 1e-5  # both published codes add it before logarithms


def agreement(codes: torch.Tensor) -> torch.Tensor:
    """K of one layer: neurons on which two examples agree, from one matrix product of signs."""
    signs = torch.where(codes, 1.0, -1.0).flatten(1)
    # Single precision counts the neurons of one layer exactly, up to 16 million; their sum needs more.
    return (signs @ signs.T + signs.shape[1]).double() / 2


def naswot(K: torch.Tensor) -> float:
    """Log |det K|, K summed over the layers.

    Raises:
        UndefinedMetric: two examples share all codes, so that the determinant is 0.

    Source: Mellor et al. 2021, "Neural architecture search without training", eq. 2 and 3.
    """
    sign, logdet = torch.linalg.slogdet(K)
    if not torch.isfinite(logdet) or sign == 0:
        raise UndefinedMetric("examples share all their activation codes, so that the kernel is singular")
    return float(logdet)


def swap(patterns: np.ndarray) -> float:
    """Number of distinct activation patterns over the batch, one of each neuron.

    Args:
        patterns: (neurons, bytes), the codes of the examples packed to bits.

    Source: Peng et al. 2024, "SWAP-NAS", definition 3.2.
    """
    return float(len(np.unique(patterns, axis=0)))


def regularised_swap(patterns: np.ndarray, parameters: int, mu: float, sigma: float) -> float:
    """`swap` times exp(-(P - mu)² / sigma), P the weights in thousands.

    Source: Peng et al. 2024, "SWAP-NAS", definition 3.3.
    """
    return swap(patterns) * math.exp(-((parameters / 1000 - mu) ** 2) / sigma)


def jacob_cov(J: torch.Tensor) -> float:
    """-Σ log(v + k) + 1/(v + k) over the eigenvalues v of the correlation matrix of J's rows, k = 1e-5.

    Raises:
        UndefinedMetric: an example's gradient is constant, so that it correlates with nothing.

    Source: Mellor et al. 2020, "Neural architecture search without training", first version, eq. 4.
    """
    values = torch.linalg.eigvalsh(_correlation(J)) + _JITTER
    # Rounding may leave eigenvalues just below zero; further below cannot be for a correlation matrix.
    values = values.clamp_min(_JITTER / 10)
    return -float((values.log() + 1 / values).sum())


def epe_nas(J: torch.Tensor, labels: torch.Tensor, classes: int) -> float:
    """Σ over classes of |Σ log(|C| + k)|, C the correlations of J's rows within a class.

    With more than a hundred classes: the mean over classes of the differences between their scores, each divided
    by its number of examples.

    Raises:
        UndefinedMetric: an example's gradient is constant.

    Source: Lopes et al. 2021, "EPE-NAS", section 3.
    """
    scores = []
    for label in sorted(set(labels.tolist())):
        rows = J[labels == label]
        logs = (_correlation(rows).abs() + _JITTER).log().sum()
        scores.append(float(logs) / (len(rows) if classes > 100 else 1))
    if classes <= 100:
        return math.fsum(abs(score) for score in scores)
    return math.fsum(abs(a - b) for a in scores for b in scores) / len(scores)


def _correlation(rows: torch.Tensor) -> torch.Tensor:
    rows = rows.flatten(1).double()
    centred = rows - rows.mean(dim=1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    # Relative to the row's own size: what is left of a constant row is rounding.
    dead = norms.squeeze(1) <= 1e-12 * rows.norm(dim=1)
    if dead.any():
        raise UndefinedMetric(f"the input gradient is constant for {int(dead.sum())} of {len(rows)} examples")
    unit = centred / norms
    found: torch.Tensor = unit @ unit.T
    return found


def ntk_condition(T: torch.Tensor) -> float:
    """Largest by smallest eigenvalue of the tangent kernel T Tᵀ; lower is better.

    Raises:
        UndefinedMetric: the kernel is singular.

    Source: Chen et al. 2021, "Neural architecture search on ImageNet in four GPU hours" (TE-NAS), eq. 4.
    """
    T = T.double()
    values = torch.linalg.eigvalsh(T @ T.T)
    largest, smallest = float(values[-1]), float(values[0])
    if largest <= 0 or smallest <= 1e-12 * largest:
        raise UndefinedMetric("the tangent kernel is singular")
    return largest / smallest
