"""From a History to what models are fitted on. Here, and nowhere else, lower-is-better becomes higher-is-better.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `X` | points of complete trials | `(n, D)` |
| `Y` | objectives, higher is better | `(n, m)` |
| `sem` | reported standard errors, NaN where none | `(n, m)` |
| `V` | margins of outcome constraints, feasible where <= 0 | `(n, c)` |
| `X_partial`, … | the same of reports before the end; the fidelity is the last column | `(r, …)` |
| `trial`, `trial_partial` | number of the trial that a row comes from | `(n,)`, `(r,)` |
| `failed`, `pending` | points of failed and of unfinished trials | `(f, D)`, `(p, D)` |
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np

from autosearch.core import History, Problem, State, Trial
from autosearch.core.records import Report
from autosearch.searchers.bayesian.layout import Domain

# Causes that say something about the configuration; a preempted machine or an interrupted driver does not.
CAUSES = frozenset({"crash", "oom", "timeout", "nan"})
_RUNGS = 3
_HUGE = 1e300  # differences of two such values are still finite


@dataclass(frozen=True, slots=True)
class Data:
    """What a history says, as arrays; see the table above.

    Attributes:
        keys: identities of all configurations begun so far.
    """

    X: np.ndarray
    Y: np.ndarray
    sem: np.ndarray
    V: np.ndarray
    failed: np.ndarray
    pending: np.ndarray
    keys: frozenset[Hashable]
    X_partial: np.ndarray
    Y_partial: np.ndarray
    sem_partial: np.ndarray
    trial: np.ndarray
    trial_partial: np.ndarray

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
        trial=np.array([trial.number for trial in complete], dtype=np.int64),
        **_partial(history, domain, complete),
    )


def with_noise(data: Data, noise: float | None) -> Data:
    """The data, with `noise` as the standard error of results that say none."""
    if noise is None:
        return data
    sem, partial = (np.where(np.isnan(s), noise, s) for s in (data.sem, data.sem_partial))
    return replace(data, sem=sem, sem_partial=partial)


def has_partial(history: History) -> bool:
    """Whether some trial has reports of every objective but no result: it was left before its end, or is running."""
    return any(_open(trial) and _measured(history.problem, trial.reports[-1]) for trial in history)


def _open(trial: Trial) -> bool:
    return trial.state in (State.STOPPED, State.PAUSED, State.RUNNING) and bool(trial.reports)


def _measured(problem: Problem, report: Report) -> bool:
    values = problem.signed(report.metrics)
    return values is not None and bool(np.isfinite(values).all())


def _partial(history: History, domain: Domain, complete: list[Trial]) -> dict[str, np.ndarray]:
    """Reports at the steps that trials without a result have reached: of these, and of complete ones for comparison."""
    problem, m = history.problem, len(history.problem.objectives)
    column = domain.layout.fidelity
    rows: list[tuple[Trial, Report]] = []
    if column is not None:
        reached = [trial for trial in history if _open(trial) and _measured(problem, trial.reports[-1])]
        rows = [(trial, trial.curve[-1]) for trial in reached]
        ends = Counter(report.step for _, report in rows)
        # The steps that most have reached; more would only repeat what the same curves say. Running trials alone are
        # too few to be worth another row of every trial for each of their steps.
        most = 1 if all(trial.state is State.RUNNING for trial in reached) else _RUNGS
        rungs = {step for step, _ in sorted(ends.items(), key=lambda item: (-item[1], -item[0]))[:most]}
        for trial in [*complete, *reached]:
            before = [r for r in trial.curve[:-1] if r.step in rungs and _measured(problem, r)]
            rows += [(trial, report) for report in before]
    points = domain.points([trial.config for trial, _ in rows])
    last = max((t.reports[-1].step for t in complete if t.reports), default=0)
    full = problem.fidelity[1] or max([last, *(report.step for _, report in rows)], default=1)
    if column is not None:
        points[:, column] = [min(1.0, np.log1p(report.step) / np.log1p(max(full, 1))) for _, report in rows]
    values = np.array([problem.signed(report.metrics) for _, report in rows], dtype=np.float64)
    sem = np.full((len(rows), m), np.nan)
    for i, (_, report) in enumerate(rows):
        if (noise := problem.noise(report.metrics)) is not None:
            sem[i] = noise
    sem[~(sem >= 0)] = np.nan
    return {
        "X_partial": points,
        "Y_partial": -np.clip(values.reshape(len(rows), m), -_HUGE, _HUGE),
        "sem_partial": sem,
        "trial_partial": np.array([trial.number for trial, _ in rows], dtype=np.int64),
    }


_UNFINISHED = (State.QUEUED, State.RUNNING, State.PAUSED)


def _is_number(trial: Trial) -> bool:
    return trial.values is not None and not any(np.isnan(value) for value in trial.values)
