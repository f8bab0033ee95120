"""What trials say of the architectures that they trained, higher is better.

| symbol | meaning | shape |
|---|---|---|
| `Y` | objective values, higher is better | `(n, m)` |
"""

from collections.abc import Sequence

import numpy as np

from autosearch.core import History, State, Trial
from autosearch.core.ranking import ranks


def results(history: History) -> dict[int, np.ndarray]:
    """Number of each finished trial -> (m,) objective values, higher is better; nothing while no trial is complete.

    A trial that breaks an outcome constraint is worse than all that keep them, in every objective; one that was
    stopped is worth what it reported, plus what complete trials typically gained from there on; one that failed, or
    was stopped where there are several objectives, is worth no more than the worst.
    """
    complete = [trial for trial in history.complete if np.isfinite(trial.values or (np.nan,)).all()]
    if not complete:
        return {}
    Y = -np.array([trial.values for trial in complete], dtype=float)
    worst, spread = Y.min(axis=0), np.ptp(Y, axis=0)
    over = np.array([trial.violation for trial in complete])
    if (over > 0).any():
        behind = 1.0 + ranks(-Y, over)[:, None] / len(Y)
        below = worst - 0.1 * np.where(spread > 0, spread, 1.0) * behind
        Y = np.where(over[:, None] > 0, below, Y)
    found = {trial.number: values for trial, values in zip(complete, Y, strict=True)}
    for trial in history.finished:
        if trial.number in found:
            continue
        stopped = trial.state is State.STOPPED and Y.shape[1] == 1
        guess = _projected(trial, complete, history) if stopped else None
        found[trial.number] = worst if guess is None else np.minimum(guess, Y.max(axis=0))
    return found


def order_of(Y: np.ndarray) -> np.ndarray:
    """(n,) places of the results from the best on; of several objectives front by front."""
    return np.argsort(ranks(-Y), kind="stable")


def _projected(trial: Trial, complete: Sequence[Trial], history: History) -> float | None:
    """What a stopped trial would have been worth: its last report and the median gain of complete ones."""
    goal = history.problem.objectives[0]
    if not trial.reports or goal.metric not in trial.reports[-1].metrics:
        return None
    reached = trial.reports[-1]
    value = -goal.sign * float(reached.metrics[goal.metric])
    gains = []
    for other in complete:
        at = [r.metrics.get(goal.metric) for r in other.curve if r.step == reached.step]
        if at and at[0] is not None and np.isfinite(at[0]) and other.values is not None:
            gains.append(-other.values[0] + goal.sign * float(at[0]))
    if not gains or not np.isfinite(value):
        return None
    return value + float(np.median(gains))
