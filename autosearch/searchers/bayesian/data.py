"""From a History to what models are fitted on. Here, and nowhere else, lower-is-better becomes higher-is-better.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `X` | points of complete trials | `(n, D)` |
| `Y` | objectives, higher is better | `(n, m)` |
| `sem` | reported standard errors, NaN where none | `(n, m)` |
| `V` | margins of outcome constraints, feasible where <= 0 | `(n, c)` |
| `failed`, `pending` | points of failed and of unfinished trials | `(f, D)`, `(p, D)` |
"""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from autosearch.core import History, State, Trial
from autosearch.searchers.bayesian.layout import Domain

# Causes that say something about the configuration; a preempted machine or an interrupted driver does not.
CAUSES = frozenset({"crash", "oom", "timeout", "nan"})
_HUGE = 1e300  # differences of two such values are still finite


@dataclass(frozen=True, slots=True)
class Data:
    """What a history says, as arrays; see the table above.

    Attributes:
        keys: identities of all configurations begun so far.
        numbers: (n,) numbers of the complete trials.
    """

    X: np.ndarray
    Y: np.ndarray
    sem: np.ndarray
    V: np.ndarray
    failed: np.ndarray
    pending: np.ndarray
    keys: frozenset[Hashable]
    numbers: np.ndarray

    @property
    def feasible(self) -> np.ndarray:
        """(n,) bool: within every outcome constraint."""
        return np.asarray((self.V <= 0).all(axis=1))


def gather(history: History, domain: Domain) -> Data:
    """The arrays of a history."""
    problem, space = history.problem, history.problem.space
    m = len(problem.objectives)
    complete = [trial for trial in history.complete if trial.values is not None and _is_number(trial)]
    failed = [t for t in history.failed if t.failure is not None and t.failure.cause in CAUSES]
    values = np.array([trial.values for trial in complete], dtype=np.float64).reshape(len(complete), m)
    sem = np.full((len(complete), m), np.nan)
    for i, trial in enumerate(complete):
        if (noise := problem.noise(trial.metrics)) is not None:
            sem[i] = noise
    sem[~(sem >= 0)] = np.nan
    violations = [trial.violations for trial in complete]
    width = max((len(v) for v in violations), default=0)
    V = np.array([v or (np.inf,) * width for v in violations], dtype=np.float64).reshape(len(complete), width)
    return Data(
        X=domain.points([trial.config for trial in complete]),
        Y=-np.clip(values, -_HUGE, _HUGE),
        sem=sem,
        V=np.clip(V, -_HUGE, _HUGE),
        failed=domain.points([trial.config for trial in failed]),
        pending=domain.points([trial.config for trial in history if trial.state in _UNFINISHED]),
        keys=frozenset(space.key(trial.config) for trial in history),
        numbers=np.array([trial.number for trial in complete], dtype=np.int64),
    )


_UNFINISHED = (State.QUEUED, State.RUNNING, State.PAUSED)


def _is_number(trial: Trial) -> bool:
    return trial.values is not None and not any(np.isnan(value) for value in trial.values)
