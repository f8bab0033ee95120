"""Which learning rate to try next: the paper's lower confidence bound, and expected improvement with given noise.

| symbol | meaning | shape |
|---|---|---|
| `x` | logarithms of what was tried | `(n,)` |
| `y` | forecast losses | `(n,)` |
| `t` | logarithms to choose from | `(k,)` |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autosearch.core.seeds import derive_rng
from autosearch.searchers.bayesian.grid_surrogate import GridSurrogate

_GRID = 2001


@dataclass(frozen=True, slots=True)
class UnitProcess:
    """The paper's Gaussian process: zero mean, Matérn-5/2, length scale 1 and variance 1 in the logarithm."""

    x: np.ndarray
    y: np.ndarray
    noise: float = 1e-4

    def predict(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation at `t`, each (k,). Jin et al. 2021, section 4.3."""
        K = matern(self.x[:, None] - self.x[None, :]) + self.noise * np.eye(len(self.x))
        cross = matern(t[:, None] - self.x[None, :])
        solved = np.linalg.solve(K, np.column_stack([self.y, cross.T]))
        variance = 1.0 - np.einsum("ij,ji->i", cross, solved[:, 1:])
        return cross @ solved[:, 0], np.sqrt(np.maximum(variance, 0.0))


def matern(difference: np.ndarray) -> np.ndarray:
    """Matérn-5/2 correlation at unit length scale."""
    root = math.sqrt(5.0) * np.abs(difference)
    return np.asarray((1.0 + root + root**2 / 3.0) * np.exp(-root))


def lowest_bound(
    tried: Sequence[float], forecasts: Sequence[float], low: float, high: float, *, kappa: float, seed: int
) -> float:
    """The logarithm of the paper's next candidate; the first is random.

    Args:
        tried: logarithms so far.
        forecasts: their losses; infinite where one diverged, which counts as the worst of the others.
        low: logarithm of the smallest learning rate.
        high: and of the largest.
        kappa: weight of the standard deviation.
        seed: of the first.
    """
    if not tried:
        return float(derive_rng(seed, "first candidate").uniform(low, high))
    y = np.asarray(forecasts, dtype=np.float64)
    finite = y[np.isfinite(y)]
    y = np.where(np.isfinite(y), y, finite.max() if len(finite) else 0.0)
    t = np.linspace(low, high, _GRID)
    mean, deviation = UnitProcess(np.asarray(tried, dtype=np.float64), y).predict(t)
    return float(t[np.argmin(mean - kappa * deviation)])


def best_improvement(
    x: Sequence[float], y: Sequence[float], variances: Sequence[float], low: float, high: float
) -> tuple[float, float]:
    """The logarithm of highest expected improvement in [low, high], and that improvement as a share of the spread.

    Values above three times the spread of the better half over the best are cut: one that nearly diverged would
    otherwise flatten the process where it matters.
    """
    values = np.asarray(y, dtype=np.float64)
    best, middle = float(values.min()), float(np.median(values))
    spread = max(middle - best, 1e-12 * max(1.0, abs(best)))
    values = np.minimum(values, best + 3 * spread)
    process = GridSurrogate.fit(np.asarray(x), values, np.asarray(variances), span=high - low)
    t = np.linspace(low, high, 201)
    log_ei = process.log_ei(t)
    i = int(np.argmax(log_ei))
    return float(t[i]), math.exp(float(log_ei[i])) / spread
