"""The learning-rate range test: a sweep, and the learning rate at which the loss fell most steeply.

Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3.
"""

import math
from collections.abc import Sequence

import numpy as np

_WIDTH = 0.06  # standard deviation of the smoothing kernel, as a share of the sweep
_ALIVE = 0.1  # share of the sweep's progress that any candidate makes, unless the network has died
_TOO_FAR = 4.0  # times the lowest smoothed loss: what comes after says nothing of training


def sweep(low: float, high: float, steps: int, step: int) -> float:
    """Learning rate at `step` of an exponential rise from `low` to `high`."""
    return float(low * (high / low) ** (step / max(1, steps - 1)))


def smoothed(losses: Sequence[float], steps: int) -> np.ndarray:
    """(n,) losses averaged by a Gaussian kernel, for a sweep of `steps` steps."""
    places = np.arange(len(losses))
    width = max(1.0, _WIDTH * steps)
    weights = np.exp(-0.5 * np.square((places[:, None] - places[None, :]) / width))
    return np.asarray(weights @ np.asarray(losses) / weights.sum(axis=1))


def is_over(losses: Sequence[float], steps: int) -> bool:
    """Whether the sweep has gone too far: a loss is not finite, or the smoothed one four times its lowest."""
    if not math.isfinite(losses[-1]):
        return True
    means = smoothed(losses, steps)
    return bool(means[-1] > _TOO_FAR * means.min() > 0)


def alive(losses: Sequence[float], steps: int) -> float:
    """The loss that a learning network is below: a tenth of the way from the sweep's first to its lowest loss.

    Infinite where the sweep began with a loss that is not finite.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return math.inf
    means = smoothed(finite, steps)
    return float(means[0] - _ALIVE * (means[0] - means.min()))


def steepest(lrs: Sequence[float], losses: Sequence[float], steps: int) -> float:
    """The learning rate at which the smoothed loss fell most steeply; the geometric middle where it did not fall."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    if len(finite) >= 4:
        slopes = np.gradient(smoothed(finite, steps))
        i = int(np.argmin(slopes))
        if slopes[i] < -1e-9 * (abs(finite[0]) + 1e-300):  # more than rounding
            return float(lrs[i])
    return math.sqrt(lrs[0] * lrs[len(finite) - 1 if finite else 0])
