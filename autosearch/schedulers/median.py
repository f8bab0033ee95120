"""The median stopping rule (Golovin et al. 2017, "Google Vizier", section 3.2.1)."""

import bisect
import math
from dataclasses import dataclass

import numpy as np

from autosearch.core import Decision, History, OptionError, Problem, Suggestion, Trial
from autosearch.core.ranking import ranks
from autosearch.schedulers.ladder import changed, same_order, standing
from autosearch.schedulers.options import check_at_least

Values = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """What the rule needs of one trial, at each of its reports.

    Attributes:
        steps: of its reports, ascending.
        averages: mean of each objective over the reports so far, lower is better; inf where the report is
            infeasible, or any so far is NaN.
        best: least value of each objective so far, inf where there is none.
        values: of each report, inf where it is infeasible or NaN.
    """

    steps: tuple[int, ...]
    averages: tuple[Values, ...]
    best: tuple[Values, ...]
    values: tuple[Values, ...]

    @classmethod
    def of(cls, problem: Problem, trial: Trial) -> "Curve":
        reports = trial.curve
        standings = [standing(problem, report.metrics) for report in reports]
        raw = np.array([values for _, values in standings]).reshape(len(reports), len(problem.objectives))
        numbers = np.where(np.isnan(raw), math.inf, raw)
        infeasible = np.array([violation > 0 for violation, _ in standings], dtype=bool)
        numbers[infeasible] = math.inf
        counts = np.arange(1, len(reports) + 1)[:, None]
        averages = np.cumsum(raw, axis=0) / counts
        averages[np.isnan(averages).any(axis=1) | infeasible] = math.inf
        best = np.minimum.accumulate(numbers, axis=0)
        return cls(tuple(r.step for r in reports), _rows(averages), _rows(best), _rows(numbers))

    def until(self, step: int) -> int | None:
        """Index of the last report at or before `step`, None where the trial did not reach `step`."""
        if not self.steps or self.steps[-1] < step:
            return None
        index = bisect.bisect_right(self.steps, step) - 1
        return index if index >= 0 else None


def _rows(array: np.ndarray) -> tuple[Values, ...]:
    return tuple(map(tuple, array.tolist()))


class MedianScheduler:
    """Stops a trial whose best value so far is worse than the median of the other trials' running averages.

    Compared are all trials that reached the same step, whatever became of them. An infeasible or NaN report counts
    as the worst there is. With several objectives the running averages are compared by non-dominated rank, the
    trial's own included. A trial whose present value is the best at its step goes on.

    Differs from the paper: trials that still run and stopped ones are compared with as well, so that the rule works
    from the first finished trials on.

    Args:
        min: no trial is stopped before this step.
        warmup: how many other trials must have reached a step before the rule acts there.
        percentile: share of trials, in percent, that would go on; 50 is the median, less stops more.
    """

    def __init__(self, *, min: int = 1, warmup: int = 5, percentile: float = 50.0) -> None:  # noqa: A002
        check_at_least("min", min, 1)
        check_at_least("warmup", warmup, 1)
        if not 0 < percentile < 100:
            raise OptionError(f"percentile must lie between 0 and 100, got {percentile:g}.", "percentile")
        self._min, self._warmup, self._share = min, warmup, percentile / 100
        self._problem: Problem | None = None
        self._seen: list[Trial] = []
        self._curves: list[Curve] = []

    def milestones(self, problem: Problem) -> tuple[int, ...]:  # noqa: ARG002
        return (self._min,)

    def decide(self, history: History, trial: Trial) -> Decision:
        step = trial.reports[-1].step
        if step < self._min:
            return Decision.CONTINUE
        self._look(history)
        mine = self._curves[trial.number]
        others = [
            (curve.averages[index], curve.values[index])
            for number, curve in enumerate(self._curves)
            if number != trial.number and (index := curve.until(step)) is not None
        ]
        if len(others) < self._warmup or not others:
            return Decision.CONTINUE
        behind = self._behind(mine, others)
        return Decision.STOP if behind else Decision.CONTINUE

    def propose(self, history: History, n: int) -> list[Suggestion]:  # noqa: ARG002
        return []

    def _behind(self, mine: Curve, others: list[tuple[Values, Values]]) -> bool:
        """Whether the trial is worse than the percentile of the others."""
        allowed = max(1, math.ceil(self._share * len(others)))
        if len(mine.best[-1]) == 1:
            if all(mine.values[-1] < values for _, values in others):
                return False
            return mine.best[-1] > sorted(average for average, _ in others)[allowed - 1]
        present = ranks(np.array([mine.values[-1], *(values for _, values in others)]))
        if present[0] < present[1:].min():
            return False
        averages = ranks(np.array([mine.averages[-1], *(average for average, _ in others)]))
        return int((averages[1:] < averages[0]).sum()) >= allowed

    def _look(self, history: History) -> None:
        """Compute what is new; a trial that is the same object has the same curve."""
        problem = history.problem
        if self._problem is None or not same_order(self._problem, problem):
            self._seen, self._curves = [], []
        self._problem = problem
        del self._seen[len(history) :], self._curves[len(history) :]
        for trial in changed(history, self._seen):
            self._curves[trial.number] = Curve.of(problem, trial)
        self._curves += [Curve.of(problem, trial) for trial in history[len(self._seen) :]]
        self._seen = history[:]
