"""An exact Gaussian process in one dimension on a grid: numpy alone, in milliseconds.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `x`, `y` | observed places and values, lower is better | `(n,)` |
| `v` | known variance of each value | `(n,)` |
| `t` | places of the grid | `(k,)` |
| `l` | lengthscale, in units of the span of `x` and `t` together | scalar |
| `s2` | variance of the function, in units of the variance of `y` | scalar |
"""

import math
from dataclasses import dataclass

import numpy as np

_LENGTHS = np.geomspace(0.05, 4.0, 14)
_VARIANCES = np.array([0.25, 1.0, 4.0])
_JITTER = 1e-9


@dataclass(frozen=True, slots=True)
class GridSurrogate:
    """A Matérn-5/2 process with constant mean and given noise; lengthscale and variance are of highest posterior.

    Attributes:
        x: (n,) observed places.
        y: (n,) values.
        length: lengthscale in units of x.
        variance: of the function, in units of y squared.
        mean: of the function, in units of y.
        noise: (n,) variances of the values.
    """

    x: np.ndarray
    y: np.ndarray
    noise: np.ndarray
    length: float
    variance: float
    mean: float

    @classmethod
    def fit(
        cls, x: np.ndarray, y: np.ndarray, noise: np.ndarray | float = 0.0, *, span: float | None = None
    ) -> "GridSurrogate":
        """The process given values.

        Args:
            x: (n,) places, at least one.
            y: (n,) values, finite.
            noise: variance of each value, (n,) or one for all, at least 0.
            span: size of the interval of interest, which sets the scale of lengthscales; None: that of `x`.

        Raises:
            ValueError: shapes differ, nothing was given, or a number is not finite or negative.
        """
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        v = np.broadcast_to(np.asarray(noise, dtype=np.float64), y.shape)
        if x.ndim != 1 or x.shape != y.shape or not len(x):
            raise ValueError(f"x and y must be of one shape (n,), n >= 1; got {x.shape} and {y.shape}")
        if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(v).all() and (v >= 0).all()):
            raise ValueError("x, y and noise must be finite, and noise at least 0")
        span = span or float(np.ptp(x)) or 1.0
        scale = float(np.std(y)) or 1.0
        z, noise_z = y / scale, v / scale**2
        correlation = _matern(np.abs(x[:, None] - x[None, :]) / (span * _LENGTHS[:, None, None]))
        posterior, mean = _posterior(correlation, z, noise_z)
        i, j = np.unravel_index(int(posterior.argmax()), posterior.shape)
        best_mean = float(mean[i, j]) * scale
        return cls(x, y, v, float(_LENGTHS[i]) * span, float(_VARIANCES[j]) * scale**2, best_mean)

    def predict(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the function at `t`, each (k,)."""
        t = np.asarray(t, dtype=np.float64)
        L = self._factor()
        cross = self.variance * _matern(np.abs(t[:, None] - self.x[None, :]) / self.length)
        half = np.linalg.solve(L, np.column_stack([cross.T, self.y - self.mean]))
        mean = self.mean + half[:, :-1].T @ half[:, -1]
        variance = self.variance - np.square(half[:, :-1]).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, 1e-14 * self.variance))

    def log_ei(self, t: np.ndarray, best: float | None = None) -> np.ndarray:
        """(k,) logarithm of the expected improvement below `best`; None: the lowest mean at an observed place."""
        mean, deviation = self.predict(t)
        if best is None:
            best = float(self.predict(self.x)[0].min())
        return np.asarray(log_expected_improvement((best - mean) / deviation) + np.log(deviation))

    def _factor(self) -> np.ndarray:
        distance = np.abs(self.x[:, None] - self.x[None, :]) / self.length
        K = self.variance * _matern(distance)
        return np.asarray(np.linalg.cholesky(K + np.diag(self.noise + _JITTER * self.variance)))


def _matern(r: np.ndarray) -> np.ndarray:
    root = math.sqrt(5.0) * r
    return np.asarray((1.0 + root + root**2 / 3.0) * np.exp(-root))


def _posterior(correlation: np.ndarray, z: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log posterior density of the hyperparameters up to a constant, and the likeliest mean; both (lengths, variances).

    Args:
        correlation: (lengths, n, n).
        z: (n,) values.
        noise: (n,) variances of them.
    """
    diagonal = noise + _JITTER * _VARIANCES[:, None]
    K = _VARIANCES[:, None, None] * correlation[:, None] + diagonal[..., None] * np.eye(len(z))
    L = np.linalg.cholesky(K)
    half = np.linalg.solve(L, np.column_stack([z, np.ones_like(z)]))
    a, b = half[..., 0], half[..., 1]
    mean = (a * b).sum(-1) / (b * b).sum(-1)
    misfit = np.square(a - mean[..., None] * b).sum(-1)
    likelihood = -0.5 * misfit - np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(-1)
    # Log-normal beliefs around half the interval and the variance of the values.
    belief = -0.5 * np.log(_LENGTHS[:, None] / 0.5) ** 2 - 0.5 * np.log(_VARIANCES) ** 2
    return likelihood + belief, mean


def log_expected_improvement(u: np.ndarray) -> np.ndarray:
    """log(phi(u) + u Phi(u)), the expected improvement of a standard normal above -u, without underflow.

    Ament et al. 2023, "Unexpected Improvements to Expected Improvement", section 4.1.
    """
    u = np.asarray(u, dtype=np.float64)
    near = np.maximum(u, -1.0)
    erf = np.array([math.erf(value / math.sqrt(2)) for value in near.ravel()]).reshape(near.shape)
    plain = np.log(np.exp(-0.5 * near**2) / math.sqrt(2 * math.pi) + near * 0.5 * (1 + erf))
    far = np.minimum(u, -1.0)
    density = -0.5 * far**2 - 0.5 * math.log(2 * math.pi)
    return np.asarray(np.where(u > -1.0, plain, density + np.log1p(-_mills(-far))))


def _mills(w: np.ndarray) -> np.ndarray:
    """W (1 - Phi(w)) / phi(w) for w >= 1, in (0, 1)."""
    ratios = []
    for value in w.ravel():
        if value < 20.0:
            ratio = (
                math.erfc(value / math.sqrt(2)) / 2 * math.exp(0.5 * value * value) * math.sqrt(2 * math.pi)
            )
            ratios.append(value * ratio)
        else:
            # Continued fraction; 1 - w R(w) is about 1 / w² - 3 / w⁴ + 15 / w⁶.
            s = 1 / (value * value)
            ratios.append(1 - s * (1 - 3 * s * (1 - 5 * s * (1 - 7 * s))))
    return np.array(ratios).reshape(w.shape)
