"""A new study that takes over the finished trials of another which still fit."""

import dataclasses
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from autosearch.core.errors import ExpressionError, RecordError, SpaceError
from autosearch.core.history import History
from autosearch.core.records import Problem, State, Trial
from autosearch.record.record import StudyRecord

_MARK = "forked_from"


def fork(source: History, target: StudyRecord, origin: str) -> int:
    """Copy the finished trials of `source` that fit the target's problem; the number of them.

    One fits if its configuration is valid in the new space and, unless it failed, every objective and every metric of
    a constraint was measured. Trials and events are numbered anew in the same order; `info` keeps where each came
    from. Calling it again after a crash goes on where it was cut off.

    Args:
        source: the study that is taken over; only read.
        target: the new study's record, open for writing.
        origin: name of the source study.

    Raises:
        RecordError: if the target holds trials of its own.
    """
    kept = {trial.number: fitting for trial in source if (fitting := _fitting(target.problem, trial))}
    trials = _renumbered(list(kept.values()), origin)
    present = target.history()
    if [_came_from(trial) for trial in present] != [_came_from(trial) for trial in trials[: len(present)]]:
        raise RecordError(
            f"study {target.name!r} holds other trials already. Choose another name for the fork."
        )
    if len(present) < len(trials):
        target.begin_all(trials[len(present) :])
    return len(trials)


def _came_from(trial: Trial) -> object:
    return trial.info.get(_MARK)


def _fitting(problem: Problem, trial: Trial) -> Trial | None:
    """`trial` as the new problem sees it; None where it does not fit."""
    if not trial.state.finished:
        return None
    try:
        config = problem.space.validate(trial.config)
        if trial.state is State.FAILED:
            return dataclasses.replace(trial, config=config)
        values = problem.signed(trial.metrics)
        violations = problem.violations(trial.metrics) if trial.state is State.COMPLETE else ()
    except (SpaceError, ExpressionError):
        return None
    if values is None:
        return None
    if trial.state is not State.COMPLETE:
        return dataclasses.replace(trial, config=config)
    return dataclasses.replace(trial, config=config, values=values, violations=violations)


def _renumbered(trials: Sequence[Trial], origin: str) -> list[Trial]:
    numbers = {trial.number: i for i, trial in enumerate(trials)}
    events = sorted(
        {t.event for trial in trials for t in trial.transitions}
        | {r.event for trial in trials for r in trial.reports}
    )
    places = {event: i for i, event in enumerate(events)}
    return [_moved(trial, numbers, places, events, origin) for trial in trials]


def _moved(
    trial: Trial, numbers: Mapping[int, int], places: Mapping[int, int], events: Sequence[int], origin: str
) -> Trial:
    return dataclasses.replace(
        trial,
        number=numbers[trial.number],
        seen=bisect_left(events, trial.seen),
        transitions=tuple(dataclasses.replace(t, event=places[t.event]) for t in trial.transitions),
        reports=tuple(dataclasses.replace(r, event=places[r.event]) for r in trial.reports),
        parent=None if trial.parent is None else numbers.get(trial.parent),
        info={**trial.info, _MARK: {"study": origin, "trial": trial.number}},
    )
