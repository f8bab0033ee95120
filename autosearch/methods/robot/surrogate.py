"""A Gaussian process over several groups of features of a pool, for few results.

Each group has a kernel of its own and few hyperparameters, all of which are tried on a grid and averaged by their
evidence: with ten results a lengthscale for each feature cannot be told.

| symbol | meaning | shape |
|---|---|---|
| `F` | features of a group; the mean square distance of two candidates (linear: square norm) is 1 | `(N, d)` |
| `rows` | measured candidates | `(n,)` |
| `z` | their values, higher is better, about standardised | `(n,)` |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import log_ndtr

Kind = Literal["linear", "matern"]
_JITTER = 1e-5  # single precision leaves as much
_MEAN_PRIOR = 0.1  # weight of a zero mean, in results
_SCALE_PRIOR = 2.0  # the scale's inverse-gamma prior, in results, around 1
_AVERAGED = 8  # hyperparameters of most evidence that predictions average over


@dataclass(frozen=True)
class Group:
    """Features that share a kernel, in single precision: tens of thousands of candidates are compared again and again.

    Attributes:
        F: (N, d) features.
        kind: of the kernel.
        norms: (N,) their square norms.
    """

    F: np.ndarray
    kind: Kind
    norms: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, kind: Kind) -> "Group":
        centred = features - features.mean(axis=0)
        size = float((centred**2).sum(axis=1).mean()) * (2.0 if kind == "matern" else 1.0)
        scaled = (centred / np.sqrt(size) if size > 0 else centred).astype(np.float32)
        return cls(scaled, kind, (scaled**2).sum(axis=1))

    def compared(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(N, n) products (linear) or squared distances (matern) of all candidates with `rows`."""
        chosen = self.F[rows]
        products: np.ndarray = self.F @ chosen.T
        if self.kind == "linear":
            return products
        products *= -2.0
        products += self.norms[:, None]
        products += self.norms[rows][None, :]
        return np.asarray(np.maximum(products, 0.0))


@dataclass(frozen=True)
class Hyper:
    """One point of the grid: weight and lengthscale of each group, noise, in units of the total variance."""

    weights: tuple[float, ...]
    lengths: tuple[float, ...]
    noise: float


@dataclass(frozen=True)
class _Fit:
    hyper: Hyper
    evidence: float
    L: np.ndarray
    mean: float
    residual: np.ndarray
    scale: float


def covariance(groups: Sequence[Group], compared: Sequence[np.ndarray], hyper: Hyper) -> np.ndarray:
    """Prior covariance at the pairs that `compared` holds, one array for each group."""
    total = np.zeros_like(compared[0])
    one = total.dtype.type(1)
    for group, values, weight, length in zip(groups, compared, hyper.weights, hyper.lengths, strict=True):
        if weight == 0.0:
            continue
        if group.kind == "linear":
            total += total.dtype.type(weight) * values
        else:
            r = np.sqrt(values) * total.dtype.type(np.sqrt(5.0) / length)
            total += total.dtype.type(weight) * (one + r + r * r / 3) * np.exp(-r)
    return total


class Surrogate:
    """What results at `rows` say of every candidate.

    Args:
        groups: of features.
        grid: hyperparameters to average over.
        rows: (n,) measured candidates, n at least 1.
        z: (n,) their values.
    """

    def __init__(
        self, groups: Sequence[Group], grid: Sequence[Hyper], rows: Sequence[int] | np.ndarray, z: np.ndarray
    ) -> None:
        self.groups, self.rows, self.z = groups, list(rows), np.asarray(z, dtype=float)
        self._compared = [group.compared(self.rows) for group in groups]
        inner = [values[self.rows].astype(np.float64) for values in self._compared]
        fits = [self._fit(hyper, covariance(groups, inner, hyper)) for hyper in grid]
        fits.sort(key=lambda fit: -fit.evidence)
        self.fits = fits[:_AVERAGED]
        likely = np.exp([fit.evidence - self.fits[0].evidence for fit in self.fits])
        self.shares = likely / likely.sum()

    def _fit(self, hyper: Hyper, K: np.ndarray) -> _Fit:
        n = len(self.z)
        L = np.linalg.cholesky(K + (hyper.noise + _JITTER) * np.eye(n))
        ones = solve_triangular(L, np.ones(n), lower=True)
        values = solve_triangular(L, self.z, lower=True)
        mean = float(ones @ values / (ones @ ones + _MEAN_PRIOR))
        residual = values - mean * ones
        spread = _SCALE_PRIOR + float(residual @ residual)
        # Student's t: the scale is integrated out.
        evidence = -float(np.log(np.diag(L)).sum()) - (_SCALE_PRIOR + n) / 2.0 * float(np.log(spread))
        return _Fit(hyper, evidence, L, mean, residual, spread / (_SCALE_PRIOR + n))

    def predict(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) mean and (N,) standard deviation of every candidate."""
        mean = np.zeros(len(self.groups[0].F))
        square = np.zeros_like(mean)
        for fit, share in zip(self.fits, self.shares, strict=True):
            cross = covariance(self.groups, self._compared, fit.hyper)
            inverse = solve_triangular(fit.L, np.eye(len(self.z)), lower=True).astype(np.float32)
            solved = cross @ inverse.T
            own = fit.mean + solved @ fit.residual
            variance = fit.scale * np.maximum(self._prior(fit.hyper) - (solved**2).sum(axis=1), 1e-6)
            mean += share * own
            square += share * (variance + own**2)
        return mean, np.sqrt(np.maximum(square - mean**2, 1e-12))

    def _prior(self, hyper: Hyper) -> np.ndarray:
        total = np.zeros(len(self.groups[0].F))
        for group, weight in zip(self.groups, hyper.weights, strict=True):
            total += weight * (group.norms if group.kind == "linear" else 1.0)
        return total

    def left_out(self) -> np.ndarray:
        """(n,) mean at each measured candidate had it not been measured, under the hyperparameters of most evidence."""
        fit = self.fits[0]
        inverse = solve_triangular(fit.L, np.eye(len(self.z)), lower=True)
        precision = inverse.T @ inverse
        return np.asarray(self.z - precision @ (self.z - fit.mean) / np.diag(precision))


def log_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """(N,) logarithm of the expected improvement over `best`; higher is better."""
    u = (mean - best) / deviation
    log_density = -0.5 * u * u - 0.5 * np.log(2 * np.pi)
    # phi(u) + u Phi(u), stable for very negative u, where it tends to phi(u) / u^2 (Ament et al. 2023, section 4.1).
    ratio = np.exp(np.clip(log_ndtr(u) - log_density, None, 700.0))
    inner = 1.0 + u * ratio
    tail = 1.0 / (np.maximum(u * u, 1.0) + 2.0)
    return np.asarray(
        np.log(deviation) + log_density + np.log(np.where(u < -30.0, tail, np.maximum(inner, 1e-300)))
    )
