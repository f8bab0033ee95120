"""Hyperband (Li et al. 2018, "Hyperband: A Novel Bandit-Based Approach", JMLR 18, algorithm 1).

Symbols: R `max`; eta `reduction`; s_max + 1 the number of rungs, that at R included; s = s_max, ..., 0 the bracket,
whose n_s = ceil((s_max + 1) / (s + 1) * eta**s) trials first meet a decision at about R * eta**-s.
"""

import bisect
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from autosearch.core import Decision, History, OptionError, Problem, State, Suggestion, Trial
from autosearch.schedulers.asha import winding_down
from autosearch.schedulers.ladder import Ladder, newly_reached
from autosearch.schedulers.options import UNBOUNDED, check_at_least, check_geometry, fidelities, rung_steps


@dataclass(frozen=True)
class Brackets:
    """Which bracket a trial belongs to: a function of its number, in cycles of all brackets, the widest first.

    Attributes:
        steps: all rungs below R; bracket b (from 0) climbs `steps[b:]`.
        sizes: trials of each bracket in a cycle.
    """

    steps: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, steps: tuple[int, ...], reduction: float, count: int | None) -> "Brackets":
        levels = len(steps) + 1
        sizes = [math.ceil(levels / (s + 1) * reduction**s) for s in range(levels - 1, -1, -1)]
        return cls(steps, tuple(sizes[:count]))

    def find(self, number: int) -> tuple[int, int]:
        """(cycle, bracket) of trial `number`."""
        cycle, position = divmod(number, sum(self.sizes))
        return cycle, bisect.bisect_right(list(itertools.accumulate(self.sizes)), position)

    def climbs(self, number: int) -> tuple[int, ...]:
        """Rungs of trial `number`."""
        return self.steps[self.find(number)[1] :]

    def instances(self, trials: int) -> Iterator[tuple[tuple[int, int], range]]:
        """Every (cycle, bracket) that the first `trials` trials begin, with the numbers that belong to it."""
        first, cycle = 0, 0
        while first < trials:
            for bracket, size in enumerate(self.sizes):
                if first < trials:
                    yield (cycle, bracket), range(first, first + size)
                first += size
            cycle += 1


class HyperbandScheduler:
    """Successive halving in several brackets at once, which hedge between many short and few long trials.

    By default a bracket's trials are stopped asynchronously, as by `asha`, among all trials of that bracket. With
    `pause` each bracket is the paper's synchronised successive halving: trials pause at a rung until all of their
    bracket have come or failed, and the best 1/`reduction` of them go on. Order at a rung as in `asha`.

    Args:
        min: first rung of the widest bracket, at least 1; default: the study's lower fidelity, else 1.
        max: R; default: the study's upper fidelity. One of them is required.
        reduction: eta, above 1.
        brackets: how many, the widest first; default: all, the last of which lets every trial run to its end.
        pause: synchronise instead of stop.
    """

    def __init__(
        self,
        *,
        min: int | None = None,  # noqa: A002 - the words of the study file
        max: int | None = None,  # noqa: A002
        reduction: float = 3.0,
        brackets: int | None = None,
        pause: bool = False,
    ) -> None:
        check_geometry(min, max, reduction)
        check_at_least("brackets", brackets, 1)
        self._min, self._max, self._reduction = min, max, reduction
        self._count, self._pause = brackets, pause
        self._brackets = Brackets((), (1,))
        self._ladder = self._new_ladder()

    def check(self, problem: Problem) -> None:
        """Refuse a problem without an end.

        Raises:
            OptionError: where neither `max` nor the study's fidelity says when a trial is complete.
        """
        if fidelities(self._min, self._max, problem)[1] == UNBOUNDED:
            raise OptionError("hyperband needs to know when a trial is complete: give `max`.", "max")

    def milestones(self, problem: Problem) -> tuple[int, ...]:
        return rung_steps(*fidelities(self._min, self._max, problem), self._reduction)

    def decide(self, history: History, trial: Trial) -> Decision:
        self._look(history)
        step = newly_reached(trial, self._brackets.climbs(trial.number))
        if step is None:
            return Decision.CONTINUE
        if self._pause:
            return Decision.PAUSE
        rung = self._ladder.rung(self._group(trial.number), step)
        kept = int(len(rung) / self._reduction) or 1
        return Decision.CONTINUE if rung.place(trial.number) < kept else Decision.STOP

    def propose(self, history: History, n: int) -> list[Suggestion]:
        """Thaws the best of every rung on which a whole bracket has come together."""
        if not self._pause:
            return []
        self._look(history)
        closed = winding_down(history)
        found: list[Suggestion] = []
        for group, numbers in self._brackets.instances(len(history)):
            present = [number for number in numbers if number < len(history)]
            if closed or len(present) == len(numbers):
                found += self._promotions(history, group, present)
            if len(found) >= n:
                break
        return found[:n]

    def _promotions(self, history: History, group: tuple[int, int], members: list[int]) -> list[Suggestion]:
        """Paused trials of one bracket that go on now."""
        kept = float(len(members))
        for step in self._brackets.steps[group[1] :]:
            rung = self._ladder.rung(group, step)
            if not all(number in rung or history[number].state.finished for number in members):
                return []
            kept /= self._reduction
            members = rung.best(int(kept) or 1)
            waiting = [
                number
                for number in members
                if history[number].state is State.PAUSED and history[number].step < self._next(step)
            ]
            if waiting:
                info = {"bracket": group[1], "rung": step}
                return [Suggestion(resume=number, info=info) for number in waiting]
        return []

    def _next(self, step: int) -> float:
        """The rung above `step`."""
        above = bisect.bisect_right(self._brackets.steps, step)
        return self._brackets.steps[above] if above < len(self._brackets.steps) else math.inf

    def _group(self, number: int) -> tuple[int, int]:
        """Those with whom a trial competes: of its own cycle where brackets are synchronised."""
        cycle, bracket = self._brackets.find(number)
        return (cycle if self._pause else 0), bracket

    def _look(self, history: History) -> None:
        brackets = Brackets.of(self.milestones(history.problem), self._reduction, self._count)
        if brackets != self._brackets:
            self._brackets, self._ladder = brackets, self._new_ladder()
        self._ladder.look(history)

    def _new_ladder(self) -> Ladder:
        return Ladder(lambda number: self._brackets.climbs(number), self._group)
