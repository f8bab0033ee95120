"""What a training task refuses of a study, before anything is trained: parameters, values, metrics."""

from collections.abc import Sequence
from typing import Any, Protocol

from autosearch.core import OptionError, Problem
from autosearch.space import Categorical, Derived, Fixed, Float, Int, Ordinal, Value, did_you_mean
from autosearch.tasks.architectures import Builds, architecture_problems


class Trains(Builds, Protocol):
    """What is asked of a task, besides what it builds."""

    @property
    def model(self) -> str: ...
    @property
    def epochs(self) -> int: ...


def parameter_problems(task: Trains, problem: Problem, arguments: Sequence[str]) -> list[str]:
    """A line, with its place, for each parameter or value of the space that a task does not take.

    Args:
        task: with the arguments that the study gives it.
        problem: of the study.
        arguments: names of those that it has.
    """
    parameters = problem.space.parameters
    formulas = [p.expression for p in parameters.values() if isinstance(p, Derived)]
    used = set().union(*(e.names for e in [*formulas, *problem.space.conditions.values()]))
    models: list[Value] = corners(parameters["model"]) if "model" in parameters else [task.model]
    lines = []
    if "lr_schedule.peak" in parameters and "lr" in parameters:
        lines.append(
            "space.lr: the lr schedule has a peak, which is the learning rate; leave one of them out."
        )
    for name, parameter in parameters.items():
        argument = name.split(".")[0]
        if argument not in arguments:
            if name not in used:
                known = did_you_mean(name, arguments) or f" Its arguments: {', '.join(arguments)}."
                lines.append(f"space.{name}: the task has no argument of that name.{known}")
        elif argument == name:
            values = corners(parameter)
            lines += _value_problems(task, name, values, models)
            if name == "epochs" and any(isinstance(v, int) and v > task.epochs for v in values):
                lines.append(f"space.epochs: goes beyond the epochs of the run, {task.epochs}.")
    return lines + architecture_problems(task, problem.space, [str(model) for model in models])


def _value_problems(task: Trains, name: str, values: list[Value], models: list[Value]) -> list[str]:
    """What is wrong with setting `name` to each of `values`; of the models it suits one is enough."""
    lines: list[str] = []
    for value in values:
        found: list[str] = []
        for model in models:
            try:
                task.with_config({"model": model, name: value})
            except OptionError as error:
                found.append(f"space.{error}")
                continue
            break
        else:
            lines += found[:1]
    return list(dict.fromkeys(lines))


def metric_problems(problem: Problem, metrics: Sequence[str]) -> list[str]:
    """A line, with its place, for each metric of objectives and constraints that a task does not report."""
    asked = dict.fromkeys(problem.metric_names, "objectives")
    for constraint in problem.constraints:
        asked.update(dict.fromkeys(constraint.names, "constraints"))
    return [
        f"{where}.{name}: the task reports no such metric.{did_you_mean(name, metrics)} "
        f"It reports {', '.join(metrics)}."
        for name, where in asked.items()
        if name not in metrics
    ]


def corners(parameter: Any) -> list[Value]:
    """The values that decide whether all are allowed: bounds, choices, the fixed value; none of a derived one."""
    if isinstance(parameter, Float | Int):
        return [parameter.low, parameter.high]
    if isinstance(parameter, Categorical | Ordinal):
        return list(parameter.choices)
    return [parameter.value] if isinstance(parameter, Fixed) else []
