"""What a candidate's few steps are worth: a forecast, or the loss once the learning rate has cooled down."""

import math
from collections.abc import Sequence

import numpy as np

from autosearch.methods.autolrs.forecast import DIVERGED, Forecast, forecast, forecast_smoothed

# A candidate cools down over its last half to a tenth. A large learning rate moves on fast but carries noise, which a
# later decay removes in any case: without cooling down, small learning rates look better than they are.
_COOL_SHARE, _COOL_END = 0.5, 0.1
_TAIL = 0.25  # share of a candidate's losses that are its score


def cooling(step: int, steps: int) -> float:
    """Factor of the learning rate at `step` of a candidate of `steps` steps."""
    begin = (1 - _COOL_SHARE) * steps
    if step < begin:
        return 1.0
    return 1.0 - (1.0 - _COOL_END) * (step - begin) / max(1.0, steps - begin)


def score(
    kind: str,
    losses: Sequence[float],
    validations: Sequence[tuple[int, float]],
    reference: Sequence[float],
    horizon: int,
) -> Forecast:
    """Mean and variance of what a candidate's learning rate will lead to.

    Args:
        kind: `exponential`, `smoothed`, `cooled` or `last`.
        losses: of its steps.
        validations: (step, validation loss); they replace the training losses where there are any.
        reference: losses of the stage's first candidate that did not diverge, on the same batches; empty for that one
            itself.
        horizon: steps of the stage.
    """
    if not all(map(math.isfinite, losses)) or not all(math.isfinite(v) for _, v in validations):
        return DIVERGED
    if kind == "cooled":
        return _cooled(losses, validations, reference)
    if kind == "last":
        return Forecast(validations[-1][1] if validations else losses[-1])
    if len(validations) >= 3:
        steps, values = zip(*validations, strict=True)
        return forecast(values, horizon, steps)
    if validations:
        return Forecast(validations[-1][1])
    return forecast_smoothed(losses, horizon) if kind == "smoothed" else forecast(losses, horizon)


def _cooled(
    losses: Sequence[float], validations: Sequence[tuple[int, float]], reference: Sequence[float]
) -> Forecast:
    """The last validation loss, else the last training losses.

    The noise of training losses is that of their differences to the first candidate, which saw the same batches. A
    validation loss on the same examples has none of it; it would only make a poor present learning rate, whose losses
    jump, look hard to beat.
    """
    count = max(1, round(_TAIL * len(losses)))
    tail = np.asarray(losses[-count:])
    rising = float(tail.mean()) > float(np.mean(losses[:count]))
    if validations:
        return Forecast(validations[-1][1], rising=rising)
    noise = tail - np.asarray(reference[-count:]) if len(reference) >= count else np.zeros(count)
    variance = float(np.var(noise, ddof=1)) / count if count > 1 else 0.0
    return Forecast(float(tail.mean()), variance, rising)
