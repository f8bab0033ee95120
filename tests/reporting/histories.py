"""Synthetic histories: every outcome that a study can have, without running one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autosearch.core import (
    Budget,
    Failure,
    Goal,
    History,
    Problem,
    Report,
    State,
    Transition,
    Trial,
)
from autosearch.space import Categorical, Expression, Float, Int, SearchSpace, Value


def space_of(parameters: int) -> SearchSpace:
    """A space of several kinds; the first parameter matters most, the last one is conditional where there is room."""
    found: dict[str, Any] = {"lr": Float(1e-4, 1e-1, log=True)}
    if parameters > 1:
        found["optimizer"] = Categorical(["sgd", "adamw", "lion"])
    if parameters > 2:
        found["momentum"] = Float(0.0, 0.99, when="optimizer == 'sgd'")
    for i in range(3, parameters):
        found[f"p{i:02d}"] = Int(1, 64) if i % 3 == 0 else Float(0.0, 1.0)
    return SearchSpace(found)


def score(config: Mapping[str, Value]) -> float:
    """Lower is better; about 0.1 at best."""
    lr, optimizer = float(config["lr"]), config.get("optimizer")  # type: ignore[arg-type]
    others = sum(
        0.02 * (float(v) - 0.5) ** 2 for n, v in config.items() if n.startswith("p") and isinstance(v, float)
    )
    return 0.1 + 0.15 * (math.log10(lr) + 2.2) ** 2 + (0.05 if optimizer == "lion" else 0.0) + others


def make_history(
    trials: int,
    parameters: int = 4,
    *,
    objectives: Sequence[Goal] = (Goal("accuracy", maximize=True),),
    constraint: bool = False,
    reports: int = 5,
    seed: int = 0,
    states: Sequence[State] | None = None,
    workers: int = 4,
) -> History:
    """A study of `trials` trials, most complete, some stopped, a few failed."""
    problem = Problem(
        space_of(parameters),
        tuple(objectives),
        constraints=(Expression.parse("params <= 50"),) if constraint else (),
        budget=Budget(trials=trials),
        workers=workers,
        seed=seed,
        price_per_hour=2.5,
    )
    rng = np.random.default_rng(seed)
    configs = problem.space.sample(rng, trials) if trials else []
    found = [
        make_trial(
            problem,
            number,
            config,
            rng,
            reports=reports,
            state=None if states is None else states[number % len(states)],
        )
        for number, config in enumerate(configs)
    ]
    return History(problem, found)


def make_trial(
    problem: Problem,
    number: int,
    config: dict[str, Value],
    rng: np.random.Generator,
    *,
    reports: int = 5,
    state: State | None = None,
    start: float | None = None,
) -> Trial:
    """Trial `number` with a learning curve that ends near its score."""
    luck = rng.random()
    state = state or (State.FAILED if luck < 0.05 else State.STOPPED if luck < 0.35 else State.COMPLETE)
    event = number * (reports + 2)
    final = score(config)
    steps = max(1, reports // 3) if state is State.STOPPED else reports
    curve = []
    for step in range(1, steps + 1):
        error = final + 0.5 * math.exp(-step) + 0.005 * rng.standard_normal()
        metrics = {g.metric: _measured(g, i, error, config) for i, g in enumerate(problem.objectives)}
        metrics["params"] = float(10 + 80 * luck)
        curve.append(Report(step, metrics, 2.0 * step, event + step))
    metrics = dict(curve[-1].metrics) if curve else {}
    complete = state is State.COMPLETE and bool(problem.objectives)
    begun = 12.0 * (number // 4) if start is None else start
    moves: tuple[Transition, ...] = (Transition(event, State.RUNNING),)
    if state.finished:
        moves = (*moves, Transition(event + reports + 1, state, steps))
    failure = (
        Failure("oom", f"CUDA out of memory: tried {number} MiB", 'Traceback:\n  File "train.py", line 7\n')
        if state is State.FAILED
        else None
    )
    model: dict[str, Any] = {"model": "none", "reason": "initial design"}
    if number >= 10:
        model = {"model": "gaussian process", "acquisition": "log noisy expected improvement"}
        model |= {"reason": "explore", "mean": final, "std": 0.02}
    return Trial(
        number=number,
        config=config,
        state=state,
        seen=max(0, event - 2 * (reports + 2)),
        transitions=moves,
        reports=tuple(curve),
        values=problem.signed(metrics) if complete else None,
        violations=problem.violations(metrics) if complete else (),
        metrics=metrics,
        info={"searcher": "bayesian", **model},
        failure=failure,
        attempts=("oom",) if state is State.FAILED else (),
        started_s=begun,
        seconds=2.0 * steps,
        checkpoint="/nowhere/checkpoint" if complete else None,
    )


def _measured(goal: Goal, index: int, error: float, config: Mapping[str, Value]) -> float:
    value = error if index == 0 else 1.0 / (0.1 + error) + 0.1 * len(config)
    return 1.0 - value if goal.maximize and index == 0 else value


class LinePredictor:
    """A predictor that knows the truth up to a bias, for figures."""

    def __init__(self, history: History) -> None:
        self.history = history

    def predict(self, configs: Sequence[Mapping[str, Value]]) -> tuple[np.ndarray, np.ndarray]:
        m = len(self.history.problem.objectives)
        values = np.array([[1.0 - score(c)] * m for c in configs])
        return values, np.full_like(values, 0.03)

    def cross_validate(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        complete = [t for t in self.history.complete if t.values]
        signs = [g.sign for g in self.history.problem.objectives]
        observed = np.array([[s * v for s, v in zip(signs, t.values or (), strict=True)] for t in complete])
        observed = observed.reshape(len(complete), len(signs))
        mean, deviation = self.predict([t.config for t in complete]) if complete else (observed, observed)
        return observed, mean, deviation

    def importances(self) -> dict[str, float]:
        names = list(self.history.problem.space.searched)
        return {name: 1 / len(names) for name in names}
