"""Asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", ASHA)."""

from autosearch.core import Decision, History, Problem, State, Suggestion, Trial
from autosearch.schedulers.ladder import Ladder, Rung, newly_reached
from autosearch.schedulers.options import check_geometry, fidelities, rung_steps


class AshaScheduler:
    """Lets the best 1/`reduction` of the trials that reached a rung go on, without waiting for the others.

    Rungs lie at `min * reduction**k` below `max`. By default a trial outside the best is stopped; with `pause` it is
    paused at its rung, and goes on from its checkpoint once it belongs to the best: the paper's promotion, which
    wastes nothing and needs checkpoints. With several objectives the order at a rung is the non-dominated rank;
    infeasible trials stand behind feasible ones, NaN last. The best trial of a rung always goes on.

    Differs from the paper (algorithm 2): a trial that would be promoted at once goes on without a pause; and once no
    new trial may begin and nothing runs, the best of each rung is promoted even where fewer than `reduction` trials
    stand on it, so that a study never ends without a complete trial.

    Args:
        min: first rung, at least 1; default: the study's lower fidelity, else 1.
        max: step at which a trial is complete; default: the study's, else rungs without end.
        reduction: the factor eta between rungs, above 1.
        pause: pause instead of stop.
    """

    def __init__(
        self,
        *,
        min: int | None = None,  # noqa: A002 - the words of the study file
        max: int | None = None,  # noqa: A002
        reduction: float = 3.0,
        pause: bool = False,
    ) -> None:
        check_geometry(min, max, reduction)
        self._min, self._max, self._reduction, self._pause = min, max, reduction, pause
        self._steps: tuple[int, ...] = ()
        self._ladder = Ladder(lambda _: self._steps, lambda _: 0)

    def check(self, problem: Problem) -> None:
        fidelities(self._min, self._max, problem)

    def milestones(self, problem: Problem) -> tuple[int, ...]:
        return rung_steps(*fidelities(self._min, self._max, problem), self._reduction)

    def decide(self, history: History, trial: Trial) -> Decision:
        self._look(history)
        step = newly_reached(trial, self._steps)
        if step is None:
            return Decision.CONTINUE
        rung = self._ladder.rung(0, step)
        if rung.place(trial.number) < self._kept(rung, least=0 if self._pause else 1):
            return Decision.CONTINUE
        return Decision.PAUSE if self._pause else Decision.STOP

    def propose(self, history: History, n: int) -> list[Suggestion]:
        """Promotes paused trials, those of the highest rung first."""
        if not self._pause:
            return []
        self._look(history)
        least = 1 if winding_down(history) else 0
        found: list[Suggestion] = []
        for index, step in reversed(list(enumerate(self._steps))):
            rung = self._ladder.rung(0, step)
            above = self._ladder.rung(0, self._steps[index + 1]) if index + 1 < len(self._steps) else ()
            for number in rung.best(self._kept(rung, least)):
                if len(found) == n:
                    return found
                if history[number].state is State.PAUSED and number not in above:
                    found.append(Suggestion(resume=number, info={"rung": step}))
        return found

    def _look(self, history: History) -> None:
        steps = self.milestones(history.problem)
        if steps != self._steps:
            self._steps = steps
            self._ladder = Ladder(lambda _: self._steps, lambda _: 0)
        self._ladder.look(history)

    def _kept(self, rung: Rung, least: int) -> int:
        """How many of the trials on `rung` go on."""
        kept = int(len(rung) / self._reduction)
        return kept if kept > least else least


def winding_down(history: History) -> bool:
    """Whether no new trial may begin and none runs."""
    limit = history.problem.budget.trials
    if limit is None or len(history) < limit:
        return False
    return all(trial.state is State.PAUSED for trial in history.pending)
