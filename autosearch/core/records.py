"""The records: plain frozen values that every room reads and only the `Study` makes.

Signs: `Trial.values` is lower-is-better for every objective; `Trial.metrics` and `Report.metrics` hold what the
training code measured, as it measured it. The flip happens in `Problem.signed` and nowhere else.

Order: every change of a study is an *event* with the next whole number (a trial begins, reports, pauses, goes on,
ends). What happened before what is read from these numbers, never from clocks.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from autosearch.space import Config, Expression, ExpressionError, SearchSpace, Value, nest

Json = Any  # None, bool, int, float, str, lists and string-keyed mappings of these


class State(StrEnum):
    """Where a trial stands. QUEUED, RUNNING and PAUSED are unfinished; the others never change again."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def finished(self) -> bool:
        return self in _FINISHED


_FINISHED = frozenset({State.COMPLETE, State.STOPPED, State.FAILED})


class Decision(StrEnum):
    """What a scheduler says of a running trial."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Goal:
    """One objective: a metric's name and whether more of it is better."""

    metric: str
    maximize: bool = False

    @property
    def sign(self) -> float:
        """+1 for minimize, -1 for maximize: `sign * metric` is lower-is-better."""
        return -1.0 if self.maximize else 1.0

    @property
    def direction(self) -> str:
        return "maximize" if self.maximize else "minimize"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a study may spend; None is without limit. `minutes` is time of the study, not summed over trials."""

    trials: int | None = None
    minutes: float | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One report of a running trial.

    Attributes:
        step: fidelity reached, at least 0 (epochs for built-in tasks).
        metrics: every number reported, unsigned; may hold NaN.
        seconds: running time of the trial so far, earlier attempts included.
        event: place of this report in the study's order of events.
        attempt: which attempt of the trial made it, from 0.
    """

    step: int
    metrics: Mapping[str, float]
    seconds: float
    event: int
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended: a cause that policies read, a line that people read, a traceback.

    `cause` is one of `crash`, `oom`, `timeout`, `nan`, `preempted`, `interrupted`, `invalid`; or `rejected`, where the
    objective turned the configuration away: the trial then is stopped, and its `data` says why.
    """

    cause: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a trial's state: at `event` it became `state`; a new attempt goes on from `step`."""

    event: int
    state: State
    step: int = 0


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What runs next.

    Attributes:
        config: a whole or partial configuration; the Study completes and validates it.
        parent: number of the trial whose last checkpoint it starts from.
        until: fidelity at which the trial is complete, None for its natural end.
        resume: number of the paused trial to thaw; `config` is then ignored.
        info: what the record keeps about this decision (model, acquisition value, reason); JSON.
    """

    config: Mapping[str, Value] = field(default_factory=dict)
    parent: int | None = None
    until: int | None = None
    resume: int | None = None
    info: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration and all that is known of it.

    Attributes:
        number: from 0, in order of creation.
        config: flat, dotted names, active parameters only, fixed and derived ones included.
        state: where it stands.
        seen: number of events that its suggestion had seen.
        transitions: every change of state, in order; the first is its creation.
        reports: every report kept, in order of events, those of lost attempts included (see `curve`).
        values: (m,) objectives, lower is better; None unless complete.
        violations: (c,) outcome-constraint margins, feasible where <= 0; empty unless complete.
        metrics: all numbers of its last report or its result, unsigned.
        info: what the searcher or scheduler said when it suggested the trial.
        data: what the training code handed over besides numbers; JSON.
        parent: trial whose checkpoint it started from.
        until: fidelity at which it is complete.
        checkpoint: newest checkpoint's folder.
        checkpoint_step: fidelity of that checkpoint.
        failure: why it failed; None unless failed.
        attempts: causes of the attempts that were lost before the present one.
        started_s: study time at which it first ran, seconds.
        idle_s: study time from then on in which it did not run: paused, or waiting for its next attempt.
        seconds: running time over all attempts.
        batch: (index, size) among the suggestions made at once.
    """

    number: int
    config: Config
    state: State = State.RUNNING
    # What a person who prints a trial does not look for stays out of its representation.
    seen: int = field(default=0, repr=False)
    transitions: tuple[Transition, ...] = field(default=(), repr=False)
    reports: tuple[Report, ...] = field(default=(), repr=False)
    values: tuple[float, ...] | None = field(default=None, repr=False)
    violations: tuple[float, ...] = field(default=(), repr=False)
    metrics: Mapping[str, float] = field(default_factory=dict)
    info: Mapping[str, Json] = field(default_factory=dict, repr=False)
    data: Mapping[str, Json] = field(default_factory=dict, repr=False)
    parent: int | None = None
    until: int | None = None
    checkpoint: str | None = None
    checkpoint_step: int = 0
    failure: Failure | None = None
    attempts: tuple[str, ...] = ()
    started_s: float = field(default=0.0, repr=False)
    seconds: float = 0.0
    batch: tuple[int, int] = field(default=(0, 1), repr=False)
    idle_s: float = field(default=0.0, repr=False)

    @property
    def nested(self) -> dict[str, Any]:
        """The configuration as training code gets it: dotted names nested."""
        return nest(self.config)

    @property
    def feasible(self) -> bool:
        """Complete and within every outcome constraint."""
        return self.values is not None and all(v <= 0 for v in self.violations)

    @property
    def violation(self) -> float:
        """Sum of what is too much over all outcome constraints, 0 if feasible."""
        return sum(max(0.0, v) for v in self.violations)

    @property
    def event(self) -> int:
        """Event of its creation."""
        return self.transitions[0].event if self.transitions else 0

    @property
    def finished(self) -> int | None:
        """Event of its end, None while unfinished."""
        return self.transitions[-1].event if self.state.finished and self.transitions else None

    @property
    def curve(self) -> tuple[Report, ...]:
        """The learning curve: reports by increasing step; what a later attempt repeated is replaced."""
        return effective_reports(self.reports)

    @property
    def step(self) -> int:
        """Fidelity reached, 0 before the first report."""
        reported = self.reports[-1].step if self.reports else 0
        left = self.transitions and self.state not in (State.QUEUED, State.RUNNING)
        return max(reported, self.transitions[-1].step) if left else reported


def effective_reports(reports: Sequence[Report]) -> tuple[Report, ...]:
    """Reports by strictly increasing step, where a later report removes earlier ones at the same or a later step."""
    kept: list[Report] = []
    for report in reports:
        while kept and kept[-1].step >= report.step:
            kept.pop()
        kept.append(report)
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is searched: everything besides the history that a decision may depend on.

    Attributes:
        space: the parameters.
        objectives: one or several; none only in stages.
        constraints: outcome constraints over metrics.
        budget: limits of the study.
        workers: trials that run at once, at least 1.
        seed: of the study.
        fidelity: (min, max) steps that the scheduler works between; max is where a trial is complete.
        price_per_hour: of one running trial, None where no price is known.
    """

    space: SearchSpace
    objectives: tuple[Goal, ...]
    constraints: tuple[Expression, ...] = ()
    budget: Budget = field(default_factory=Budget)
    workers: int = 1
    seed: int = 0
    fidelity: tuple[int | None, int | None] = (None, None)
    price_per_hour: float | None = None

    @property
    def metric_names(self) -> tuple[str, ...]:
        return tuple(goal.metric for goal in self.objectives)

    def signed(self, metrics: Mapping[str, float]) -> tuple[float, ...] | None:
        """(m,) objective values, lower is better; None where an objective's metric is missing."""
        if any(goal.metric not in metrics for goal in self.objectives):
            return None
        return tuple(goal.sign * float(metrics[goal.metric]) for goal in self.objectives)

    def violations(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """(c,) margins of the outcome constraints, feasible where <= 0; +inf where a metric is not finite.

        Raises:
            ExpressionError: where a constraint names a metric that is missing, or cannot be computed.
        """
        margins: list[float] = []
        for constraint in self.constraints:
            missing = sorted(constraint.names - metrics.keys())
            if missing:
                raise ExpressionError(f"{constraint.text}: the metric {missing[0]!r} was not reported")
            finite = all(math.isfinite(metrics[name]) for name in constraint.names)
            margins += constraint.margins(metrics) if finite else [math.inf]
        return tuple(margins)

    def noise(self, metrics: Mapping[str, float]) -> tuple[float, ...] | None:
        """(m,) reported standard errors (`METRIC_sem`), NaN where one is missing; None where all are."""
        sems = tuple(float(metrics.get(f"{goal.metric}_sem", math.nan)) for goal in self.objectives)
        return None if all(math.isnan(sem) for sem in sems) else sems

    def to_dict(self) -> dict[str, Json]:
        """JSON form for the record."""
        return {
            "space": self.space.to_dict(),
            "objectives": {goal.metric: goal.direction for goal in self.objectives},
            "constraints": [constraint.text for constraint in self.constraints],
            "budget": dataclasses.asdict(self.budget),
            "workers": self.workers,
            "seed": self.seed,
            "fidelity": list(self.fidelity),
            "price_per_hour": self.price_per_hour,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> "Problem":
        """The inverse of `to_dict`; hooks of Python spaces do not come back."""
        low, high = data["fidelity"]
        return cls(
            space=SearchSpace.from_dict(data["space"]),
            objectives=tuple(Goal(name, d == "maximize") for name, d in data["objectives"].items()),
            constraints=tuple(Expression.parse(text) for text in data["constraints"]),
            budget=Budget(**data["budget"]),
            workers=data["workers"],
            seed=data["seed"],
            fidelity=(low, high),
            price_per_hour=data["price_per_hour"],
        )

    def differences(self, other: "Problem") -> list[str]:
        """What would make results of `self` and `other` incomparable, one line each; empty if nothing does."""
        lines = [f"space: {line}" for line in self.space.diff(other.space)]
        mine = {goal.metric: goal.direction for goal in self.objectives}
        theirs = {goal.metric: goal.direction for goal in other.objectives}
        if list(mine.items()) != list(theirs.items()):
            lines.append(f"objectives: {mine} -> {theirs}")
        before, after = [c.text for c in self.constraints], [c.text for c in other.constraints]
        if before != after:
            lines.append(f"constraints: {before} -> {after}")
        return lines
