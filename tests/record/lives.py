"""Histories of every kind, written into a record step by step as a Study writes them."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from autosearch.core import Goal, Problem, State, Trial
from autosearch.core.records import Failure, Report, Transition
from autosearch.record import open_journal, open_memory, open_rdb
from autosearch.record.record import StudyRecord
from autosearch.space import Categorical, Derived, Expression, Fixed, Float, Int, Ordinal, SearchSpace

KINDS = ("memory", "journal", "sqlite")

SPACE = SearchSpace(
    {
        "lr": Float(1e-6, 1.0, log=True),
        "dropout": Float(0.0, 0.9, grid=0.1),
        "third": Float(0.0, 1.0, grid=1 / 3),
        "width": Int(1, 2**39, log=True),
        "depth": Int(2, 11, grid=4),
        "mixed": Categorical([None, True, 2, 0.5, "none"]),
        "size": Ordinal([16, 32.0, "large"]),
        "net.momentum": Float(-1.0, 1.0, when="mixed == 0.5"),
        "net.seed": Int(0, 0),
        "kind": Fixed("mlp"),
        "decay": Derived("lr * 0.5"),
    }
)


def problem(
    objectives: int = 1, constraints: bool = True, space: SearchSpace = SPACE, **more: Any
) -> Problem:
    goals = (Goal("accuracy", maximize=True), Goal("loss"))[:objectives]
    limits = (Expression.parse("1 <= params <= 10"),) if constraints else ()
    return Problem(space, goals, limits, **more)


def open_as(kind: str, folder: Path, asked: Problem, name: str = "study", **more: Any) -> StudyRecord:
    if kind == "memory":
        return open_memory("", name, asked, **more)
    if kind == "journal":
        return open_journal(str(folder / "study.journal"), name, asked, **more)
    return open_rdb(f"sqlite:///{folder / 'study.db'}", name, asked, **more)


class Driver:
    """Writes trials into a record and remembers what it wrote."""

    def __init__(self, record: StudyRecord, asked: Problem) -> None:
        self.record, self.problem = record, asked
        self.trials: list[Trial] = []
        self.event = 0

    def _next(self) -> int:
        self.event += 1
        return self.event - 1

    def begin(self, config: dict[str, Any], state: State = State.RUNNING, **more: Any) -> int:
        trial = Trial(
            number=len(self.trials),
            config=self.problem.space.complete(config),
            state=state,
            seen=self.event,
            transitions=(Transition(self._next(), state),),
            started_s=self.event / 7,
            **more,
        )
        self.record.begin(trial)
        self.trials.append(trial)
        return trial.number

    def report(self, number: int, metrics: dict[str, float], step: int | None = None) -> None:
        trial = self.trials[number]
        step = len(trial.reports) + 1 if step is None else step
        report = Report(step, metrics, trial.seconds + 0.1, self._next(), len(trial.attempts))
        self.trials[number] = dataclasses.replace(
            trial, reports=(*trial.reports, report), metrics=metrics, seconds=report.seconds
        )
        self.record.report(self.trials[number])

    def amend(self, number: int, state: State = State.RUNNING, **more: Any) -> None:
        trial = self.trials[number]
        moves = (*trial.transitions, Transition(self._next(), state, trial.checkpoint_step))
        self.trials[number] = dataclasses.replace(trial, state=state, transitions=moves, **more)
        self.record.amend(self.trials[number])

    def finish(self, number: int, state: State = State.COMPLETE, **more: Any) -> None:
        trial = dataclasses.replace(self.trials[number], **more)
        if state is State.COMPLETE:
            trial = dataclasses.replace(
                trial,
                values=self.problem.signed(trial.metrics),
                violations=self.problem.violations(trial.metrics),
            )
        moves = (*trial.transitions, Transition(self._next(), state, trial.step))
        self.trials[number] = dataclasses.replace(trial, state=state, transitions=moves)
        self.record.finish(self.trials[number])


CONFIG = {
    "lr": 1e-3,
    "dropout": 0.3,
    "third": 2 / 3,
    "width": 2**30 + 1,
    "depth": 6,
    "mixed": 0.5,
    "size": 32.0,
    "net.momentum": 0.25,
    "net.seed": 0,
}


def every_kind(driver: Driver) -> None:
    """One trial of every state and way to get there."""
    good = {"accuracy": 0.75, "loss": 0.5, "params": 4.0}
    done = driver.begin(CONFIG, info={"model": "gp", "acquisition": -1.5, "pending": [3, 4]}, batch=(0, 2))
    driver.report(done, good, step=1)
    driver.report(done, {"loss": math.nan, "accuracy": math.inf}, step=2)
    driver.report(done, good, step=5)
    driver.finish(done, data={"curve": [1.0, math.inf, None], "deep": {"$float": "no number"}})

    child = driver.begin(CONFIG | {"mixed": "none"}, parent=done, until=9, batch=(1, 2))
    driver.report(child, {**good, "params": 40.0})
    driver.finish(child, State.STOPPED)

    lost = driver.begin(CONFIG | {"mixed": None})
    driver.report(lost, good)
    driver.amend(lost, checkpoint="/somewhere/c1", checkpoint_step=1, attempts=("oom",))
    driver.report(lost, good, step=1)
    driver.finish(lost, State.FAILED, failure=Failure("crash", "ValueError: ö", "Traceback\n  …"))

    paused = driver.begin(CONFIG | {"mixed": True})
    driver.report(paused, good)
    driver.amend(paused, State.PAUSED, checkpoint="c", checkpoint_step=1)

    queued = driver.begin(CONFIG | {"mixed": 2}, State.QUEUED, info={"reason": "queued"})
    driver.begin(CONFIG, State.QUEUED)
    driver.amend(queued)

    infeasible = driver.begin(CONFIG)
    driver.report(infeasible, {**good, "params": math.nan})
    driver.finish(infeasible)

    running = driver.begin(CONFIG)
    driver.report(running, {"accuracy": math.nan})


# -- hypothesis --------------------------------------------------------------------------------------------

numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-3, 3).map(float)
finite = st.floats(-1e300, 1e300)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | numbers | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(["$float", "$map", "$parts"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
mappings = st.dictionaries(st.text(max_size=6), json_values, max_size=4)
configs = st.lists(st.floats(0, 1), min_size=SPACE.dimensions, max_size=SPACE.dimensions)
metrics = st.dictionaries(st.sampled_from(["accuracy", "loss", "params", "é"]), numbers, max_size=4)
results = st.fixed_dictionaries({"accuracy": finite, "loss": finite, "params": numbers, "x": numbers})


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Steps of a study: (verb, arguments…) with trials chosen by index among the unfinished ones."""
    steps: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(1, 8))):
        verb = draw(
            st.sampled_from(["begin", "queue", "report", "report", "pause", "go on", "stop", "end", "fail"])
        )
        steps.append(
            (verb, draw(st.integers(0, 9)), draw(configs), draw(metrics), draw(results), draw(mappings))
        )
    return steps


def play(driver: Driver, script: list[tuple[Any, ...]]) -> None:
    """Write a script's steps; those that the states do not allow are left out."""
    import numpy as np

    for verb, which, unit, some, result, extra in script:
        open_ones = [t for t in driver.trials if not t.state.finished]
        if verb in ("begin", "queue") or not open_ones:
            state = State.QUEUED if verb == "queue" else State.RUNNING
            driver.begin(driver.problem.space.decode(np.array([unit]))[0], state, info=extra)
            continue
        trial = open_ones[which % len(open_ones)]
        if verb == "go on" and trial.state is not State.RUNNING:
            driver.amend(trial.number, until=which, attempts=(*trial.attempts, "interrupted"))
        elif trial.state is not State.RUNNING:
            continue
        elif verb == "report":
            driver.report(trial.number, some, step=which)
        elif verb == "pause":
            driver.amend(trial.number, State.PAUSED, checkpoint=f"c{which}", checkpoint_step=which)
        elif verb == "stop":
            driver.finish(trial.number, State.STOPPED, seconds=trial.seconds + 1)
        elif verb == "end":
            driver.finish(trial.number, metrics=result, data=extra)
        elif verb == "fail":
            driver.finish(trial.number, State.FAILED, failure=Failure("nan", "x" * which), data=extra)
