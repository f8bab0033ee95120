"""Histories written by hand: trials as curves of reports."""

from collections.abc import Mapping, Sequence

from autosearch.core import Budget, Goal, History, Problem, Report, State, Transition, Trial
from autosearch.space import Expression, Float, SearchSpace

SPACE = SearchSpace({"x": Float(0.0, 1.0)})
Curve = Mapping[int, float | Mapping[str, float]]


def problem(
    *metrics: str,
    maximize: bool = False,
    fidelity: tuple[int | None, int | None] = (1, 27),
    trials: int | None = None,
    constraints: Sequence[str] = (),
) -> Problem:
    return Problem(
        SPACE,
        tuple(Goal(name, maximize) for name in metrics or ("loss",)),
        fidelity=fidelity,
        budget=Budget(trials=trials),
        constraints=tuple(Expression.parse(text) for text in constraints),
    )


def history(
    curves: Sequence[Curve], states: Mapping[int, State] | None = None, of: Problem | None = None
) -> History:
    """Trials, one after the other, by their reports (step -> loss or metrics); running unless `states` says else."""
    trials, event = [], 0
    for number, curve in enumerate(curves):
        transitions = [Transition(event, State.RUNNING)]
        event += 1
        reports = []
        for step, value in curve.items():
            metrics = value if isinstance(value, Mapping) else {"loss": value}
            reports.append(Report(step, metrics, float(step), event))
            event += 1
        state = (states or {}).get(number, State.RUNNING)
        if state is not State.RUNNING:
            transitions.append(Transition(event, state, max(curve, default=0)))
            event += 1
        trials.append(
            Trial(
                number, {"x": 0.5}, state, transitions=tuple(transitions), reports=tuple(reports), values=None
            )
        )
    return History(of or problem(), trials)


def decision(scheduler, curves: Sequence[Curve], **options):
    """What `scheduler` says of the last trial."""
    seen = history(curves, **options)
    return scheduler.decide(seen, seen[-1])
