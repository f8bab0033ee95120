"""Ladder: how trials stood when they reached each rung, kept up to date as the history grows.

A trial stands on a rung from its first report at or beyond the rung's step. Its standing there is that report's:
feasible before infeasible, then by value, or by non-dominated rank with several objectives; NaN is last.
"""

import bisect
import itertools
import math
import operator
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from autosearch.core import History, Problem, State, Trial
from autosearch.core.errors import ExpressionError
from autosearch.core.ranking import ranks

Spot = tuple[Hashable, int]  # group of trials that compete, step of the rung


class Rung:
    """The trials that reached one rung.

    With one objective they are kept sorted by (violation, value), so that a place costs a bisection.
    """

    def __init__(self, objectives: int) -> None:
        self._single = objectives == 1
        self._standings: dict[int, tuple[float, tuple[float, ...]]] = {}
        self._sorted: list[tuple[float, float, int]] = []
        self._ranks: dict[int, int] | None = None

    def __len__(self) -> int:
        return len(self._standings)

    def __contains__(self, number: int) -> bool:
        return number in self._standings

    def put(self, number: int, violation: float, values: tuple[float, ...]) -> None:
        self._standings[number] = violation, values
        self._ranks = None
        if self._single:
            bisect.insort(self._sorted, (*_key(violation, values), number))

    def remove(self, number: int) -> None:
        violation, values = self._standings.pop(number)
        self._ranks = None
        if self._single:
            entry = (*_key(violation, values), number)
            del self._sorted[bisect.bisect_left(self._sorted, entry)]

    def place(self, number: int) -> int:
        """How many trials stand strictly before `number`."""
        if self._single:
            return bisect.bisect_left(self._sorted, _key(*self._standings[number]))
        by_number = self._ranked()
        return sum(rank < by_number[number] for rank in by_number.values())

    def best(self, k: int) -> list[int]:
        """Numbers of the first `k` trials, ties by number."""
        if self._single:
            return [number for _, _, number in self._sorted[:k]]
        by_number = self._ranked()
        return sorted(by_number, key=lambda number: (by_number[number], number))[:k]

    def _ranked(self) -> dict[int, int]:
        if self._ranks is None:
            values = np.array([values for _, values in self._standings.values()])
            violations = np.array([violation for violation, _ in self._standings.values()])
            self._ranks = dict(zip(self._standings, ranks(values, violations).tolist(), strict=True))
        return self._ranks


def _key(violation: float, values: tuple[float, ...]) -> tuple[float, float]:
    """Order of single values: feasible by value, then infeasible by violation, then NaN."""
    if math.isnan(values[0]):
        return math.inf, math.inf
    return (violation, 0.0) if violation > 0 else (0.0, values[0])


class Ladder:
    """Every rung of a study, as a function of the history; what did not change since the last look is kept.

    Args:
        steps: rungs that a trial of this number climbs, ascending.
        group: with whom it competes.
    """

    def __init__(self, steps: Callable[[int], Sequence[int]], group: Callable[[int], Hashable]) -> None:
        self._steps, self._group = steps, group
        self._problem: Problem | None = None
        self._seen: list[Trial] = []
        self._rungs: dict[Spot, Rung] = {}
        self._spots: list[list[Spot]] = []

    def look(self, history: History) -> None:
        """Bring the rungs to the state of `history`."""
        problem = history.problem
        if self._problem is None or not same_order(self._problem, problem):
            self._seen, self._rungs, self._spots = [], {}, []
        self._problem = problem
        for number in range(len(history), len(self._seen)):
            self._remove(number)
        del self._seen[len(history) :], self._spots[len(history) :]
        for trial in changed(history, self._seen):
            self._remove(trial.number)
            self._spots[trial.number] = self._put(problem, trial)
        self._spots += [self._put(problem, trial) for trial in history[len(self._seen) :]]
        self._seen = history[:]

    def rung(self, group: Hashable, step: int) -> Rung:
        """The rung at `step` of a group; empty where nobody got there."""
        found = self._rungs.get((group, step))
        return Rung(1) if found is None else found

    def _remove(self, number: int) -> None:
        for spot in self._spots[number]:
            self._rungs[spot].remove(number)

    def _put(self, problem: Problem, trial: Trial) -> list[Spot]:
        if not trial.reports:
            return []
        curve, spots, at = trial.curve, [], 0
        group = self._group(trial.number)
        for step in self._steps(trial.number):
            while at < len(curve) and curve[at].step < step:
                at += 1
            if at == len(curve):
                break
            violation, values = standing(problem, curve[at].metrics)
            spot = (group, step)
            self._rungs.setdefault(spot, Rung(len(values))).put(trial.number, violation, values)
            spots.append(spot)
        return spots


def changed(history: History, seen: Sequence[Trial]) -> list[Trial]:
    """Trials that are another object than in `seen`; as trials are immutable, the others are as they were."""
    trials = history[:]
    return list(itertools.compress(trials, map(operator.is_not, trials, seen)))


def standing(problem: Problem, metrics: Mapping[str, float]) -> tuple[float, tuple[float, ...]]:
    """(summed violation, objective values) of one report; what is missing is NaN, or no violation."""
    nan = math.nan
    values = tuple(goal.sign * float(metrics.get(goal.metric, nan)) for goal in problem.objectives)
    try:
        margins = problem.violations(metrics) if problem.constraints else ()
    except ExpressionError:  # a constraint's metric may come with the result only
        margins = ()
    return sum(max(0.0, margin) for margin in margins), values


def newly_reached(trial: Trial, steps: Sequence[int]) -> int | None:
    """The highest rung that the trial's last report is the first to reach; None where it reaches no new one.

    A rung from which it was thawed stays behind it, even where it had to start from scratch.
    """
    curve = trial.curve
    before = curve[-2].step if len(curve) > 1 else 0
    thawed = max((t.step for t in trial.transitions[:-1] if t.state is State.PAUSED), default=0)
    reached = bisect.bisect_right(steps, curve[-1].step)
    return steps[reached - 1] if reached and steps[reached - 1] > max(before, thawed) else None


def same_order(one: Problem, other: Problem) -> bool:
    """Whether two problems order results alike."""
    return one is other or (one.objectives, one.constraints) == (other.objectives, other.constraints)
