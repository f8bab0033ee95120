"""Where a loss curve will be: an exponential fitted by variable projection, with its uncertainty.

| symbol | meaning | shape |
|---|---|---|
| `t` | time, 0 at the first loss, 1 at the last | `(n,)` |
| `y` | losses | `(n,)` |
| `B` | decay rates tried, a share of the curve each | `(k,)` |
| `a`, `c` | `y = a exp(-B t) + c`, least squares for each rate | scalars |
| `h` | time of the forecast, in the same unit as `t` | scalar |

Source: Jin et al. 2021, "AutoLRS", section 4.2 and appendix A.3. Differs from the paper: the fit is exact for each rate
and averaged over rates by their posterior, which gives a variance and does not depend on a start.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import UnivariateSpline
from scipy.optimize import minimize_scalar

# From nearly straight to settled within the first losses.
_RATES = np.geomspace(0.05, 200.0, 72)
# Belief about the rate: a stretch of training bends once or a few times; curves that look straight say nothing of
# where they end, and without this belief a straight line would be followed for ever.
_RATE_CENTER, _RATE_SPREAD = math.log(3.0), 1.5
_FLOOR = 1e-28  # of the total variation: rounding, so that an exact fit has a finite likelihood


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast of the loss.

    Attributes:
        mean: expected loss; infinite where the curve diverged.
        variance: of the error of `mean`, 0 where the curve says nothing of it.
        rising: the fitted curve rises by more than its noise.
        diverged: a loss was not finite.
    """

    mean: float
    variance: float = 0.0
    rising: bool = False
    diverged: bool = False


DIVERGED = Forecast(math.inf, math.inf, diverged=True)


def forecast(losses: Sequence[float], horizon: float, times: Sequence[float] | None = None) -> Forecast:
    """The loss at time `horizon`.

    Args:
        losses: in the order of training; with fewer than three the last one is the forecast.
        horizon: in units of `times`.
        times: of the losses, rising; 0, 1, 2, ... without.
    """
    y = np.asarray(losses, dtype=np.float64)
    if not len(y) or not np.isfinite(y).all():
        return DIVERGED
    if len(y) < 3 or np.ptp(y) == 0:
        return Forecast(float(y[-1]), float(np.var(y)))
    x = np.arange(len(y), dtype=np.float64) if times is None else np.asarray(times, dtype=np.float64)
    t, h = (x - x[0]) / (x[-1] - x[0]), (horizon - x[0]) / (x[-1] - x[0])
    kept = _without_outliers(t, y)
    return _average(t[kept], y[kept], h)


def forecast_smoothed(losses: Sequence[float], horizon: float) -> Forecast:
    """The paper's forecast: outliers of the first half are deleted by a spline, which then replaces the losses.

    Differs from the official code: the spline is as smooth as the noise asks for, while the default of that code
    flattens curves of the size of a cross-entropy to a parabola.
    """
    y = np.asarray(losses, dtype=np.float64)
    if len(y) < 8 or not np.isfinite(y).all() or np.ptp(y) == 0:
        return forecast(losses, horizon)
    t = np.arange(len(y), dtype=np.float64)
    x, z = t, y
    for _ in range(10):
        distance = np.abs(_spline(x, z)(x) - z)
        worst = np.argsort(distance)[-max(1, round(0.03 * len(x))) :]
        keep = np.ones(len(x), dtype=bool)
        keep[worst[x[worst] < t[-1] / 2]] = False
        if keep.all() or keep.sum() < 8:
            break
        x, z = x[keep], z[keep]
    smooth = _spline(x, z)(t)
    found = forecast(list(smooth), horizon)
    return Forecast(found.mean, found.variance + _noise(y) / len(y), found.rising)


def _spline(x: np.ndarray, y: np.ndarray) -> UnivariateSpline:
    return UnivariateSpline(x, y, k=2, s=len(x) * _noise(y))


def _noise(y: np.ndarray) -> float:
    """Variance of the noise from differences of neighbours."""
    return float(np.mean(np.square(np.diff(y)))) / 2


def _projection(t: np.ndarray, y: np.ndarray, rate: float) -> tuple[float, float, float]:
    """Residual sum of squares, a and c of the best fit at one rate."""
    e = np.exp(-rate * t)
    centred = e - e.mean()
    a = float(centred @ y / (centred @ centred))
    c = float(y.mean() - a * e.mean())
    return float(np.square(y - a * e - c).sum()), a, c


def _best_rate(t: np.ndarray, y: np.ndarray) -> float:
    errors = [_projection(t, y, rate)[0] for rate in _RATES]
    i = int(np.argmin(errors))
    low, high = _RATES[max(0, i - 1)], _RATES[min(len(_RATES) - 1, i + 1)]
    found = minimize_scalar(
        lambda u: _projection(t, y, math.exp(u))[0],
        bounds=(math.log(low), math.log(high)),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return math.exp(float(found.x)) if found.fun < errors[i] else float(_RATES[i])


def _without_outliers(t: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which losses to fit: those within five robust standard deviations, 97 % of them at least."""
    _, a, c = _projection(t, y, rate := _best_rate(t, y))
    distance = np.abs(y - a * np.exp(-rate * t) - c)
    # Rounding is no outlier.
    limit = max(5 * 1.4826 * float(np.median(distance)), 1e-9 * float(np.ptp(y)), np.quantile(distance, 0.97))
    return np.asarray(distance <= limit)


def _average(t: np.ndarray, y: np.ndarray, h: float) -> Forecast:
    """Mean and variance over rates, each weighted by how well it fits and by the belief about rates."""
    n = len(t)
    total = float(np.square(y - y.mean()).sum())
    logs = _places(t, y)
    weights, means, variances, changes = np.empty((4, len(logs)))
    for i, rate in enumerate(np.exp(logs)):
        error, a, c = _projection(t, y, rate)
        error += _FLOOR * total
        weights[i] = -0.5 * ((logs[i] - _RATE_CENTER) / _RATE_SPREAD) ** 2 - 0.5 * max(1, n - 3) * math.log(
            error
        )
        means[i] = a * math.exp(-rate * h) + c
        variances[i] = error / max(1, n - 3) * _leverage(t, rate, h)
        changes[i] = a * (math.exp(-rate) - 1)
    weights = np.exp(weights - weights.max()) * np.gradient(logs)
    weights /= weights.sum()
    mean = float(weights @ means)
    variance = float(weights @ (variances + np.square(means - mean)))
    noise = math.sqrt(_noise(y))
    return Forecast(mean, variance, rising=float(weights @ changes) > max(noise, 1e-9 * abs(mean)))


def _places(t: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Logarithms of rates to average over: the grid, and around the best rate as close as it is determined."""
    rate = _best_rate(t, y)
    error, a, _ = _projection(t, y, rate)
    e = np.exp(-rate * t)
    basis = np.linalg.qr(np.column_stack([e, np.ones_like(t)]))[0]
    slope = a * rate * t * e
    slope -= basis @ (basis.T @ slope)
    spread = math.sqrt(error / max(1, len(t) - 3) / max(float(slope @ slope), 1e-300))
    near = math.log(rate) + np.linspace(-4, 4, 33) * min(max(spread, 1e-9), 1.0)
    inside = near[(near > math.log(_RATES[0])) & (near < math.log(_RATES[-1]))]
    return np.unique(np.concatenate([np.log(_RATES), inside, [math.log(rate)]]))


def _leverage(t: np.ndarray, rate: float, h: float) -> float:
    """Variance of the fitted value at `h` in units of the noise's."""
    e = np.exp(-rate * t)
    centred = e - e.mean()
    return float(1 / len(t) + (math.exp(-rate * h) - e.mean()) ** 2 / (centred @ centred))
