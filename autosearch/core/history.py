"""History: the ordered, read-only view of a study that every decision is a function of."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from autosearch.core.errors import StudyError
from autosearch.core.ranking import non_dominated
from autosearch.core.records import Budget, Goal, Problem, State, Transition, Trial
from autosearch.space import Config, SearchSpace

if TYPE_CHECKING:
    import pandas as pd


LAST = "finally-"
"""What the name of a last stage begins with; the number of the trial that it goes on from follows."""


class History(Sequence[Trial]):
    """Trials by number, with the problem they belong to.

    The Study's own history grows in place; `snapshot` and `as_of` return views that never change. Trials are
    immutable, and a finished one stays the same object, so a reader may cache by identity.

    Attributes:
        problem: what is searched.
        events: number of events so far; the next event gets this number.
        stages: histories of the finished stages by name.
    """

    __slots__ = ("_finished", "_trials", "events", "problem", "stages")

    def __init__(
        self,
        problem: Problem,
        trials: Sequence[Trial] = (),
        *,
        events: int | None = None,
        stages: Mapping[str, "History"] | None = None,
    ) -> None:
        self.problem = problem
        self._trials = list(trials)
        self.stages: Mapping[str, History] = {} if stages is None else stages
        ended = [trial for trial in self._trials if trial.state.finished]
        self._finished = sorted(ended, key=lambda trial: trial.finished or 0)
        self.events = (
            1 + max((_last_event(t) for t in self._trials), default=-1) if events is None else events
        )

    # -- a sequence of trials ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._trials)

    @overload
    def __getitem__(self, number: int) -> Trial: ...
    @overload
    def __getitem__(self, number: slice) -> list[Trial]: ...
    def __getitem__(self, number: int | slice) -> Trial | list[Trial]:
        return self._trials[number]

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials)

    # -- views ---------------------------------------------------------------------------------------------

    def snapshot(self) -> "History":
        """The history as it stands now; later events do not reach it."""
        view = History.__new__(History)
        view.problem, view.events, view.stages = self.problem, self.events, self.stages
        view._trials, view._finished = list(self._trials), list(self._finished)
        return view

    def as_of(self, trial: Trial) -> "History":
        """What `trial`'s suggestion had seen: the history cut behind its first `trial.seen` events."""
        return self.until_event(trial.seen)

    def until_event(self, event: int) -> "History":
        """The history of the events before `event`."""
        cut = [_cut(trial, event) for trial in self._trials if trial.event < event]
        return History(self.problem, cut, events=event, stages=self.stages)

    def with_problem(self, problem: Problem) -> "History":
        """The same trials under another problem (a changed budget, say)."""
        return History(problem, self._trials, events=self.events, stages=self.stages)

    # -- kinds of trials -----------------------------------------------------------------------------------

    @property
    def finished(self) -> Sequence[Trial]:
        """Complete, stopped and failed trials in the order in which they ended. Not to be changed."""
        return self._finished

    @property
    def complete(self) -> list[Trial]:
        """Trials with objective values, in the order in which they ended."""
        return [trial for trial in self._finished if trial.values is not None]

    @property
    def failed(self) -> list[Trial]:
        return [trial for trial in self._finished if trial.state is State.FAILED]

    @property
    def pending(self) -> list[Trial]:
        """Unfinished trials by number: queued, running and paused."""
        missing = len(self._trials) - len(self._finished)
        found: list[Trial] = []
        # Unfinished trials are nearly always the newest: stop as soon as all are seen.
        for trial in reversed(self._trials):
            if len(found) == missing:
                break
            if not trial.state.finished:
                found.append(trial)
        return found[::-1]

    def by_state(self, *states: State) -> list[Trial]:
        return [trial for trial in self._trials if trial.state in states]

    # -- what was found ------------------------------------------------------------------------------------

    @property
    def incumbent(self) -> Trial | None:
        """The best feasible trial of a study with one objective, ties to the earlier; None without one.

        Raises:
            StudyError: with several objectives, where no single trial is best.
        """
        if len(self.problem.objectives) != 1:
            names = ", ".join(self.problem.metric_names) or "none"
            raise StudyError(f"best: defined for one objective, this study has {names}. Use `front`.")
        best: Trial | None = None
        for trial in self._finished:
            if trial.feasible and (best is None or trial.values < best.values):  # type: ignore[operator]
                best = trial
        return best

    @property
    def front(self) -> list[Trial]:
        """Feasible trials that no other feasible trial dominates, by number. With one objective: the incumbent."""
        if len(self.problem.objectives) == 1:
            return [] if self.incumbent is None else [self.incumbent]
        feasible = sorted((t for t in self._finished if t.feasible and t.values), key=lambda t: t.number)
        if not feasible:
            return []
        front = non_dominated(np.array([trial.values for trial in feasible]))
        return [trial for trial, keep in zip(feasible, front, strict=True) if keep]

    # -- budget --------------------------------------------------------------------------------------------

    @property
    def elapsed_s(self) -> float:
        """Study time at the last event known of any trial, seconds."""
        own = max((trial.started_s + trial.idle_s + trial.seconds for trial in self._trials), default=0.0)
        return max(own, sum(stage.elapsed_s for stage in self._counted))

    @property
    def _counted(self) -> "list[History]":
        """Stages on the study's own budget."""
        return [stage for name, stage in self.stages.items() if not name.startswith(LAST)]

    @property
    def spent(self) -> Budget:
        """What was used so far, in the budget's units; cost is 0 without a price.

        Stages count in minutes and cost; a last stage has a budget of its own.
        """
        price = self.problem.price_per_hour or 0.0
        seconds = sum(trial.seconds for trial in self._trials)
        seconds += sum(trial.seconds for stage in self._counted for trial in stage)
        return Budget(len(self._trials), self.elapsed_s / 60, price * seconds / 3600)

    @property
    def budget_left(self) -> Budget:
        """What is left of each limited unit, at least 0; None for unlimited ones."""
        budget, spent = self.problem.budget, self.spent
        trials = None if budget.trials is None else max(0, budget.trials - (spent.trials or 0))
        minutes = None if budget.minutes is None else max(0.0, budget.minutes - (spent.minutes or 0.0))
        cost = None if budget.cost is None else max(0.0, budget.cost - (spent.cost or 0.0))
        return Budget(trials, minutes, cost)

    # -- other forms ---------------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        X: Sequence[Config] | np.ndarray,  # noqa: N803 - a design matrix
        y: np.ndarray,
        *,
        seed: int = 0,
        workers: int = 1,
    ) -> "History":
        """A history of complete trials from arrays, for searchers used as plain optimisers.

        Args:
            space: the parameters.
            X: (n,) configurations, or (n, d) encoded points.
            y: (n,) or (n, m) objective values, lower is better.
            seed: of the problem.
            workers: of the problem.
        """
        configs = space.decode(X) if isinstance(X, np.ndarray) else [space.complete(config) for config in X]
        values = np.asarray(y, dtype=float).reshape(len(configs), -1) if len(configs) else np.empty((0, 1))
        goals = tuple(Goal(f"y{j}") for j in range(values.shape[1]))
        trials = [
            Trial(
                number=i,
                config=config,
                state=State.COMPLETE,
                seen=2 * i,
                transitions=(Transition(2 * i, State.RUNNING), Transition(2 * i + 1, State.COMPLETE)),
                values=tuple(map(float, row)),
                metrics={goal.metric: float(v) for goal, v in zip(goals, row, strict=True)},
            )
            for i, (config, row) in enumerate(zip(configs, values, strict=True))
        ]
        return cls(Problem(space, goals, seed=seed, workers=workers), trials)

    def to_frame(self) -> "pd.DataFrame":
        """One row a trial: number, state, the searched parameters, every metric, seconds, step, cause."""
        import pandas as pd

        rows = [
            {
                "number": trial.number,
                "state": trial.state.value,
                **{f"config.{name}": value for name, value in trial.config.items()},
                **{f"metrics.{name}": value for name, value in trial.metrics.items()},
                "feasible": trial.feasible,
                "step": trial.step,
                "seconds": trial.seconds,
                "cause": trial.failure.cause if trial.failure else None,
            }
            for trial in self._trials
        ]
        always = ["number", "state", "feasible", "step", "seconds", "cause"]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=always)

    # -- growing (for the Study and for records that load) ---------------------------------------------------

    def _put(self, trial: Trial) -> None:
        """Add or replace a trial. Only the owner of a growing history calls this."""
        if trial.number == len(self._trials):
            self._trials.append(trial)
        else:
            self._trials[trial.number] = trial
        if trial.state.finished:
            self._finished.append(trial)
        self.events = max(self.events, _last_event(trial) + 1)


def _last_event(trial: Trial) -> int:
    last = trial.transitions[-1].event if trial.transitions else 0
    return max(last, trial.reports[-1].event) if trial.reports else last


def _cut(trial: Trial, event: int) -> Trial:
    """`trial` as it stood before `event`; the same object where nothing came later."""
    if _last_event(trial) < event:
        return trial
    transitions = tuple(t for t in trial.transitions if t.event < event)
    reports = tuple(r for r in trial.reports if r.event < event)
    lost = sum(t.state is State.RUNNING for t in trial.transitions) - sum(
        t.state is State.RUNNING for t in transitions
    )
    return dataclasses.replace(
        trial,
        state=transitions[-1].state,
        transitions=transitions,
        reports=reports,
        values=None,
        violations=(),
        metrics=reports[-1].metrics if reports else {},
        data={},
        failure=None,
        attempts=trial.attempts[: max(0, len(trial.attempts) - lost)],
        seconds=reports[-1].seconds if reports else 0.0,
    )
