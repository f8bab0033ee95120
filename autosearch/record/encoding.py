"""A `Trial` as rows of an Optuna storage, and back, exactly.

| where | what |
|---|---|
| parameters | values of the searched parameters; fixed and derived ones are computed again when read |
| values | objectives as measured; of a stopped trial of one objective the last report's, for the dashboard |
| system attribute `constraints` | margins of the outcome constraints, in the form that the dashboard shades by |
| `autosearch:born` | what never changes: info, parent, batch |
| `autosearch:now` | what changes while it is unfinished |
| `autosearch:end` | the same at its end, beside `now`: a crash between it and the state leaves `now` in force |
| `autosearch:report:N` | report N, with its seconds, event and attempt |
| user attributes | what people sort by; never read back |
"""

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from autosearch.core.errors import RecordError, SpaceError
from autosearch.core.records import Failure, Json, Problem, Report, State, Transition, Trial
from autosearch.record import packing
from autosearch.record.store import MALFORMED, MAX_STEP, Change, Row, Status
from autosearch.space import Categorical, Derived, Float, Int, Ordinal, Parameter, Value

BORN, NOW, END, REPORT = "autosearch:born", "autosearch:now", "autosearch:end", "autosearch:report:"
CONSTRAINTS = "constraints"

# Dashboards read JSON in a browser, which knows no infinity: the largest float stands for it.
_INFINITE = sys.float_info.max

# Columns of the dashboard, by source: with `own` ones and attributes of the machine at most 20 a trial.
_INFO_COLUMNS, _PARAMETER_COLUMNS, _METRIC_COLUMNS = 4, 2, 3
_TEXT_COLUMN = 500


# -- parameters --------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def distribution(parameter: Parameter) -> str:
    """Optuna's JSON of the distribution that shows `parameter` best; ordinals as categoricals, with their labels."""
    if isinstance(parameter, Categorical | Ordinal):
        return _distribution("Categorical", choices=parameter.choices)
    if isinstance(parameter, Float):
        low, high, step = parameter.low, parameter.high, parameter.grid
        if step is not None:
            high = float(parameter.from_unit(1.0))  # type: ignore[arg-type]
            # Optuna counts in decimals and would cut the range where the spacing has none, such as 1/3.
            step = None if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)) else step
        return _distribution("Float", step=step, low=low, high=high, log=parameter.log)
    if isinstance(parameter, Int):
        grid = parameter.grid or 1
        high_int = int(parameter.from_unit(1.0)) if parameter.grid else parameter.high  # type: ignore[arg-type]
        return _distribution("Int", log=parameter.log, step=grid, low=parameter.low, high=high_int)
    raise RecordError(f"a parameter of kind {parameter.kind!r} cannot be recorded.")


def _distribution(kind: str, **attributes: Any) -> str:
    return json.dumps({"name": f"{kind}Distribution", "attributes": attributes})


def internal(parameter: Parameter, value: Value) -> float:
    """A value as the number that Optuna stores."""
    if isinstance(parameter, Categorical | Ordinal):
        return parameter.choices.index(value)
    return value  # type: ignore[return-value]


def external(parameter: Parameter, number: float) -> Value:
    """The inverse of `internal`."""
    if isinstance(parameter, Categorical | Ordinal):
        return parameter.choices[int(number)]
    return int(number) if isinstance(parameter, Int) else float(number)


def parameters_of(problem: Problem, trial: Trial) -> tuple[dict[str, float], dict[str, str]]:
    """Internal values and distributions of the searched parameters that are active in `trial`."""
    known = problem.space.parameters
    active = [name for name in problem.space.searched if name in trial.config]
    params = {name: internal(known[name], trial.config[name]) for name in active}
    return params, {name: distribution(known[name]) for name in active}


# -- states ------------------------------------------------------------------------------------------------


def status(problem: Problem, trial: Trial) -> Status:
    """The state that Optuna is told: a trial without objectives must not be complete, nor a paused one finished."""
    if trial.state is State.QUEUED:
        return Status.WAITING
    if trial.state is State.FAILED:
        return Status.FAIL
    if trial.state is State.COMPLETE and problem.objectives:
        return Status.COMPLETE
    return Status.PRUNED if trial.state.finished else Status.RUNNING


def shown_values(problem: Problem, trial: Trial) -> list[float] | None:
    """Optuna's values of a finished trial: objectives as measured."""
    if trial.state is State.COMPLETE and trial.values:
        return [goal.sign * value for goal, value in zip(problem.objectives, trial.values, strict=True)]
    if trial.state is State.STOPPED and len(problem.objectives) == 1:
        last = trial.metrics.get(problem.objectives[0].metric, math.nan)
        return [float(last)] if math.isfinite(last) else None
    return None


# -- writing -----------------------------------------------------------------------------------------------


def birth(problem: Problem, trial: Trial) -> Change:
    """The whole content of a new trial, finished or not."""
    where = f"trial {trial.number}"
    born: dict[str, Json] = {"info": packing.pack(trial.info, f"{where} info")}
    if trial.parent is not None:
        born["parent"] = trial.parent
    if trial.batch != (0, 1):
        born["batch"] = list(trial.batch)
    end = ending(problem, trial) if trial.state.finished else amendment(trial)
    intermediate: dict[int, float] = {}
    reports: dict[str, Json] = {}
    for index in range(len(trial.reports)):
        part = report(problem, trial, index)
        intermediate |= part.intermediate
        reports |= part.system
    return Change(
        intermediate=intermediate,
        user={**columns_at_birth(problem, trial), **end.user},
        system={**packing.split(BORN, born), **reports, **end.system},
        values=end.values,
    )


def report(problem: Problem, trial: Trial, index: int = -1) -> Change:
    """One report of `trial`, the last one by default."""
    index %= len(trial.reports)
    item = trial.reports[index]
    intermediate: dict[int, float] = {}
    if problem.objectives and item.step <= MAX_STEP:
        value = item.metrics.get(problem.objectives[0].metric)
        intermediate = {} if value is None else {item.step: float(value)}
    packed = [item.step, item.seconds, item.event, item.attempt, packing.numbers(item.metrics)]
    return Change(intermediate=intermediate, system=packing.split(f"{REPORT}{index}", packed))


def amendment(trial: Trial) -> Change:
    """The present state of an unfinished trial."""
    paused = any(transition.state is State.PAUSED for transition in trial.transitions)
    user = {"paused": trial.state is State.PAUSED} if paused else {}
    return Change(user=user, system=packing.split(NOW, _standing(trial)))


def with_status(change: Change, status: Status) -> Change:
    """The same change, which also leads to `status`."""
    return dataclasses.replace(change, status=status)


def ending(problem: Problem, trial: Trial) -> Change:
    """The end of a trial."""
    system = packing.split(END, _standing(trial))
    if trial.violations:
        system[CONSTRAINTS] = [max(-_INFINITE, min(_INFINITE, margin)) for margin in trial.violations]
    return Change(
        user=columns_at_end(problem, trial),
        system=system,
        status=status(problem, trial),
        values=shown_values(problem, trial),
    )


def _standing(trial: Trial) -> dict[str, Json]:
    """Everything that may have changed since birth and is no report; defaults are left out."""
    where = f"trial {trial.number}"
    standing: dict[str, Json] = {
        "state": trial.state.value,
        "seen": trial.seen,
        "transitions": [[t.event, t.state.value, t.step] for t in trial.transitions],
        "reports": len(trial.reports),
        "started": trial.started_s,
        "seconds": trial.seconds,
    }
    if trial.idle_s:
        standing["idle"] = trial.idle_s
    if trial.metrics != (trial.reports[-1].metrics if trial.reports else {}):
        standing["metrics"] = packing.numbers(trial.metrics)
    if trial.data:
        standing["data"] = packing.pack(trial.data, f"{where} data")
    if trial.until is not None:
        standing["until"] = trial.until
    if trial.checkpoint is not None or trial.checkpoint_step:
        standing["checkpoint"] = [trial.checkpoint, trial.checkpoint_step]
    if trial.attempts:
        standing["attempts"] = list(trial.attempts)
    if trial.failure is not None:
        standing["failure"] = [trial.failure.cause, trial.failure.message, trial.failure.traceback]
    return standing


# -- columns for people ------------------------------------------------------------------------------------


def columns_at_birth(problem: Problem, trial: Trial) -> dict[str, Json]:
    """Where the suggestion came from, and derived parameters."""
    scalars = {name: _column(value) for name, value in trial.info.items() if _is_scalar(value)}
    columns = dict(list(scalars.items())[:_INFO_COLUMNS])
    others = [
        name
        for name, parameter in problem.space.parameters.items()
        if isinstance(parameter, Derived) and name in trial.config
    ]
    columns |= {name: _column(trial.config[name]) for name in others[:_PARAMETER_COLUMNS]}
    if trial.parent is not None:
        columns["parent"] = trial.parent
    return columns


def columns_at_end(problem: Problem, trial: Trial) -> dict[str, Json]:
    """Time, fidelity, further metrics, and why it failed."""
    named = [name for name in trial.metrics if name not in problem.metric_names]
    columns: dict[str, Json] = {name: _column(trial.metrics[name]) for name in named[:_METRIC_COLUMNS]}
    columns |= {"seconds": round(trial.seconds, 3), "step": trial.step}
    if trial.attempts:
        columns["lost attempts"] = ", ".join(trial.attempts)[:_TEXT_COLUMN]
    if trial.failure is not None:
        columns |= {"cause": trial.failure.cause, "failure": trial.failure.message[:_TEXT_COLUMN]}
    return columns


def _is_scalar(value: Json) -> bool:
    return isinstance(value, bool | int | float | str)


def _column(value: Json) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value[:_TEXT_COLUMN] if isinstance(value, str) else value


# -- reading -----------------------------------------------------------------------------------------------


def trial_of(problem: Problem, number: int, row: Row) -> Trial:
    """The trial that a row holds.

    Raises:
        RecordError: if it was not written by this room, was changed since, or no longer fits the space.
    """
    try:
        return _sound(problem, _trial(problem, number, row))
    except MALFORMED as error:
        raise RecordError(
            f"trial {number} cannot be read, it was changed since it was written: {type(error).__name__}: {error}"
        ) from error


def _trial(problem: Problem, number: int, row: Row) -> Trial:
    ended = row.status.finished
    standing = packing.join(END if ended else NOW, row.system)
    born = packing.join(BORN, row.system)
    if not isinstance(standing, dict) or not isinstance(born, dict):
        raise RecordError(
            f"trial {number} was not written by autosearch. Give other programs their own study."
        )
    state = State(standing["state"])
    reports = _reports(row.system)
    late = len(reports) > standing["reports"]
    metrics = reports[-1].metrics if reports else {}
    if "metrics" in standing and not late:
        metrics = packing.read_numbers(standing["metrics"])
    path, step = standing.get("checkpoint", (None, 0))
    return Trial(
        number=number,
        config=_config(problem, number, row.params),
        state=state,
        seen=standing["seen"],
        transitions=tuple(Transition(e, _STATES[s], at) for e, s, at in standing["transitions"]),
        reports=reports,
        values=_values(problem, row.values) if state is State.COMPLETE else None,
        violations=_violations(row.system) if ended else (),
        metrics=metrics,
        info=packing.unpack(born["info"]),
        data=packing.unpack(standing.get("data", {})),
        parent=born.get("parent"),
        until=standing.get("until"),
        checkpoint=path,
        checkpoint_step=step,
        failure=Failure(*standing["failure"]) if "failure" in standing else None,
        attempts=tuple(standing.get("attempts", ())),
        started_s=standing["started"],
        idle_s=standing.get("idle", 0.0),
        seconds=reports[-1].seconds if late else standing["seconds"],
        batch=tuple(born.get("batch", (0, 1))),
    )


def _sound(problem: Problem, trial: Trial) -> Trial:
    """The trial, if all that decisions rest on is of its kind.

    Raises:
        TypeError, ValueError: naming what is not.
    """
    values = trial.values or ()
    reports = trial.reports
    whole = {
        "seen": [trial.seen],
        "transitions": [n for t in trial.transitions for n in (t.event, t.step)],
        "reports": [n for r in reports for n in (r.step, r.event, r.attempt)],
        "batch": trial.batch,
        "checkpoint": [trial.checkpoint_step],
        "until and parent": [n for n in (trial.until, trial.parent) if n is not None],
    }
    real = {
        "values": [*values, *trial.violations],
        "metrics": [*trial.metrics.values(), *(n for r in reports for n in r.metrics.values())],
        "seconds": [trial.started_s, trial.idle_s, trial.seconds, *(r.seconds for r in reports)],
    }
    for kinds, groups in (((int,), whole), ((int, float), real)):
        for name, found in groups.items():
            if not all(type(number) in kinds for number in found):
                raise TypeError(f"{name} hold {found!r:.80}")
    texts = (*trial.attempts, *([] if trial.checkpoint is None else [trial.checkpoint]))
    if trial.failure is not None:
        texts += tuple(getattr(trial.failure, f.name) for f in dataclasses.fields(trial.failure))
    if not all(isinstance(text, str) for text in texts) or not isinstance(trial.info, dict):
        raise TypeError("texts or notes are of another kind")
    if trial.parent is not None and not 0 <= trial.parent < trial.number:
        raise ValueError(f"its parent is trial {trial.parent}")
    if trial.state is State.COMPLETE and len(values) != len(problem.objectives):
        raise ValueError(f"it has {len(values)} values for {len(problem.objectives)} objectives")
    return trial


_STATES = {state.value: state for state in State}


def _config(problem: Problem, number: int, params: Mapping[str, float]) -> dict[str, Value]:
    known = problem.space.parameters
    try:
        return problem.space.complete({name: external(known[name], value) for name, value in params.items()})
    except (SpaceError, KeyError, IndexError) as error:
        raise RecordError(f"trial {number} does not fit the recorded space: {error}") from error


def _reports(system: Mapping[str, Any]) -> tuple[Report, ...]:
    reports: list[Report] = []
    while (found := system.get(f"{REPORT}{len(reports)}")) is not None:
        step, seconds, event, attempt, metrics = (
            found if isinstance(found, list) else packing.join(f"{REPORT}{len(reports)}", system)
        )
        reports.append(Report(step, packing.read_numbers(metrics), seconds, event, attempt))
    return tuple(reports)


def _values(problem: Problem, shown: Sequence[float] | None) -> tuple[float, ...]:
    return tuple(goal.sign * value for goal, value in zip(problem.objectives, shown or (), strict=True))


def _violations(system: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(
        math.copysign(math.inf, margin) if abs(margin) >= _INFINITE else margin
        for margin in system.get(CONSTRAINTS, ())
    )
