"""What trials say of the architectures that they trained: one number each, higher is better.

| symbol | meaning | shape |
|---|---|---|
| `V` | objective values of complete trials, lower is better | `(n, m)` |
"""

from collections.abc import Sequence

import numpy as np

from autosearch.core import History, State, Trial
from autosearch.core.ranking import ranks
from autosearch.core.seeds import derive_rng

_CHEBYSHEV = 0.05  # share of the sum in the augmented Chebyshev distance (Knowles 2006, "ParEGO", equation 2)


def results(history: History, direction: np.ndarray | None = None) -> dict[int, float]:
    """Number of each finished trial -> how good it is, higher is better; nothing while no trial is complete.

    One objective: its value. Several: the weighted distance to the ideal in `direction`, each objective on the scale
    of its results. A trial that breaks an outcome constraint ranks behind all that keep them; one that was stopped
    is worth what it reported, plus what complete trials typically gained from there on; one that failed is worth no
    more than the worst.
    """
    complete = [trial for trial in history.complete if np.isfinite(trial.values or (np.nan,)).all()]
    if not complete:
        return {}
    V = np.array([trial.values for trial in complete], dtype=float)
    scores = -V[:, 0] if V.shape[1] == 1 else _scalar(V, direction)
    worst, spread = float(scores.min()), float(np.ptp(scores)) or 1.0
    over = np.array([trial.violation for trial in complete])
    if (over > 0).any():
        behind = ranks(-scores[:, None], over)
        broken = over > 0
        scores = np.where(broken, worst - 0.1 * spread * (1 + behind / len(behind)), scores)
    found = {trial.number: float(score) for trial, score in zip(complete, scores, strict=True)}
    for trial in history.finished:
        if trial.number in found:
            continue
        guess = _projected(trial, complete, history) if trial.state is State.STOPPED else None
        found[trial.number] = worst if guess is None or V.shape[1] > 1 else min(guess, float(scores.max()))
    return found


def direction_of(history: History, number: int) -> np.ndarray | None:
    """(m,) weights of the objectives for suggestion `number`, drawn anew each time; None for one objective.

    The first suggestions of each m + 1 take the objectives one by one: the ends of the front are what makes it wide.
    """
    m = len(history.problem.objectives)
    if m == 1:
        return None
    turn = number % (2 * m)
    if turn < m:
        return np.asarray(np.where(np.arange(m) == turn, 1.0, 0.1) / (1.0 + 0.1 * (m - 1)))
    return derive_rng(history.problem.seed, "robot", "direction", number).dirichlet(np.ones(m))


def _scalar(V: np.ndarray, direction: np.ndarray | None) -> np.ndarray:
    """(n,) negative weighted distance to the ideal, each objective in units of its median distance from it."""
    m = V.shape[1]
    weights = np.full(m, 1.0 / m) if direction is None else direction
    best, middle = V.min(axis=0), np.median(V, axis=0)
    gap = (V - best) / np.where(middle > best, middle - best, 1.0) * weights
    return np.asarray(-(gap.max(axis=1) + _CHEBYSHEV * gap.sum(axis=1)))


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
        if at and at[0] is not None and other.values is not None:
            gains.append(-other.values[0] + goal.sign * float(at[0]))
    if not gains or not np.isfinite(value):
        return None
    return value + float(np.median(gains))
