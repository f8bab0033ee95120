"""Histories for the tests of this folder."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from autosearch.core import Budget, Goal, History, Problem, State, Trial
from autosearch.core.records import Failure, Report, Transition
from autosearch.searchers.bayesian.searcher import BayesianSearcher
from autosearch.space import Config, Expression, SearchSpace

SQUARE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "y": {"type": "float", "low": 0.0, "high": 1.0},
}
MIXED = {
    "lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
    "width": {"type": "int", "low": 16, "high": 512, "log": True},
    "layers": {"type": "int", "low": 1, "high": 4},
    "size": {"type": "ordinal", "choices": ["s", "m", "l"]},
    "opt": ["sgd", "adam", "rms"],
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": "opt == 'sgd'"},
    "nesterov": {"type": "categorical", "choices": [True, False], "when": "momentum > 0.5"},
}


class Builder:
    """A history that grows trial by trial, in the order in which trials begin."""

    def __init__(
        self,
        space: SearchSpace | Mapping,
        objectives: Sequence[Goal] = (Goal("loss"),),
        constraints: Sequence[str] = (),
        **problem,
    ) -> None:
        space = space if isinstance(space, SearchSpace) else SearchSpace(space)
        parsed = tuple(Expression.parse(text) for text in constraints)
        self.problem = Problem(space, tuple(objectives), parsed, **problem)
        self.trials: list[Trial] = []

    def begin(self, config: Config) -> int:
        n = len(self.trials)
        config = self.problem.space.complete(config)
        self.trials.append(Trial(n, config, seen=2 * n, transitions=(Transition(2 * n, State.RUNNING),)))
        return n

    def complete(self, config: Config, **metrics: float) -> None:
        n = self.begin(config)
        self._end(
            n,
            State.COMPLETE,
            values=self.problem.signed(metrics),
            violations=self.problem.violations(metrics),
            metrics=metrics,
        )

    def run(self, config: Config, curve: Sequence[float], state: State = State.COMPLETE) -> None:
        """A trial that reported `curve` at steps 1, 2, … and then ended, or is still running."""
        n = self.begin(config)
        if state is State.RUNNING:
            self.trials[n] = dataclasses.replace(self.trials[n], reports=_reports(n, curve))
            return
        reports = _reports(n, curve)
        values = (curve[-1],) if state is State.COMPLETE else None
        self._end(n, state, values=values, reports=reports, metrics={"loss": curve[-1]})

    def fail(self, config: Config, cause: str = "crash") -> None:
        self._end(self.begin(config), State.FAILED, failure=Failure(cause, "boom"))

    def _end(self, n: int, state: State, **changes) -> None:
        transitions = (*self.trials[n].transitions, Transition(2 * n + 1, state))
        self.trials[n] = dataclasses.replace(self.trials[n], state=state, transitions=transitions, **changes)

    def history(self) -> History:
        return History(self.problem, list(self.trials))


def _reports(n: int, curve: Sequence[float]) -> tuple[Report, ...]:
    return tuple(Report(i + 1, {"loss": value}, 0.0, 2 * n) for i, value in enumerate(curve))


def optimise(
    searcher: BayesianSearcher,
    builder: Builder,
    f: Callable[[Config], dict[str, float] | str],
    trials: int,
) -> History:
    """Ask and tell one by one; a string from `f` is the cause of a failure."""
    for _ in range(trials):
        found = searcher.suggest(builder.history(), 1)
        if not found:
            break
        config = builder.problem.space.validate(found[0].config)
        result = f(config)
        if isinstance(result, str):
            builder.fail(config, result)
        else:
            builder.complete(config, **result)
    return builder.history()


def random_history(space: Mapping, f: Callable[[Config], float], n: int, seed: int = 0, **problem) -> Builder:
    builder = Builder(space, seed=seed, **problem)
    for config in builder.problem.space.sample(np.random.default_rng(seed), n):
        builder.complete(config, loss=f(config))
    return builder


__all__ = ["MIXED", "SQUARE", "Budget", "Builder", "optimise", "random_history"]
