"""What callers may write, turned into records: objectives, constraints, budgets, metrics, errors."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, TypeVar

import numpy as np

from autosearch.core import failures, plugins
from autosearch.core.errors import ExpressionError, OptionError, StudyError
from autosearch.core.records import Budget, Failure, Goal
from autosearch.space import Expression

Direction = Literal["minimize", "maximize"]
T = TypeVar("T")


def goals(objectives: Mapping[str, Direction] | Sequence[Goal]) -> tuple[Goal, ...]:
    if not isinstance(objectives, Mapping):
        if isinstance(objectives, str) or not all(isinstance(goal, Goal) for goal in objectives):
            raise OptionError(
                f"objectives: must be a mapping such as {{'loss': 'minimize'}}, got {objectives!r}.",
                "objectives",
            )
        return tuple(objectives)
    for metric, direction in objectives.items():
        if direction not in ("minimize", "maximize"):
            raise OptionError(
                f"objectives.{metric}: direction must be 'minimize' or 'maximize', got {direction!r}.", metric
            )
    return tuple(Goal(metric, direction == "maximize") for metric, direction in objectives.items())


def constraint(text: str | Expression, index: int) -> Expression:
    expression = Expression.parse(text, ("constraints", index)) if isinstance(text, str) else text
    if not expression.is_inequality:
        raise ExpressionError(
            f"a constraint must compare with <= or >=, got {expression.text!r}.", ("constraints", index)
        )
    return expression


def plugin(kind: str, given: Any, name: str) -> Any:
    """A plug-in of a `kind` from what the argument `name` holds; what is wrong with an option names both."""
    try:
        return plugins.build(kind, given)
    except OptionError as error:
        place = f"{name}.{error.option}" if error.option else name
        raise OptionError(f"{place}: {error}", error.option) from error


def study_name(name: str) -> str:
    """A study's name as it is, if no stage of another study can have it."""
    if not isinstance(name, str) or not name.strip() or "/" in name:
        raise OptionError(
            f"name: must be text without '/', which stands before a stage's name, got {name!r}.", "name"
        )
    return name


def settings(kind: type[T], given: T | Mapping[str, Any], name: str) -> T:
    """An instance of one of the dataclasses of `core.settings`, from a mapping of its fields or as it is."""
    if isinstance(given, kind):
        return given
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if not isinstance(given, Mapping) or not set(given) <= set(known):
        raise OptionError(f"{name}: must be a mapping with any of {', '.join(known)}, got {given!r}.", name)
    for key, value in given.items():
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0
        ):
            raise OptionError(f"{name}.{key}: must be a number of at least 0, got {value!r}.", key)
    return kind(**given)


def budget(limits: Mapping[str, float | None]) -> Budget:
    unknown = set(limits) - {"trials", "minutes", "cost"}
    if unknown:
        raise OptionError(
            f"budget: unknown key {min(unknown)!r}. Known: trials, minutes, cost.", min(unknown)
        )
    for name, limit in limits.items():
        rule = "a whole number of at least 1" if name == "trials" else "a number above 0"
        positive = isinstance(limit, Real) and not isinstance(limit, bool) and limit > 0
        if limit is not None and not (positive and (name != "trials" or limit % 1 == 0)):
            raise OptionError(f"budget.{name}: must be {rule}, or None without limit, got {limit!r}.", name)
    trials = limits.get("trials")
    return Budget(None if trials is None else int(trials), limits.get("minutes"), limits.get("cost"))


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are numbers, as floats; texts and the like that training code reports beside are left out.

    Raises:
        StudyError: if it is no mapping.
    """
    if not isinstance(metrics, Mapping):
        raise StudyError(f"metrics are a mapping of names to numbers, got {type(metrics).__name__}.")
    numbers = {}
    for name, value in metrics.items():
        if isinstance(value, str | bytes):
            continue
        try:
            # An array or a tensor of one number is that number, whatever its shape.
            numbers[str(name)] = float(value.item() if hasattr(value, "item") else value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            continue
    return numbers


def step(value: Any) -> int:
    """A fidelity.

    Raises:
        StudyError: if it is no whole number of at least 0.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not number.is_integer() or number < 0:
        raise StudyError(f"a report's step is a whole number of at least 0, got {value!r}.")
    return int(number)


def json_problem(value: Any, where: str) -> str | None:
    """What keeps a value from being recorded as JSON, with its place; None if nothing does."""
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return None
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            return f"{where}: keys are text, got {wrong!r}"
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        return f"{where}: got {type(value).__name__}"
    found = (json_problem(part, f"{where}[{key!r}]") for key, part in parts)
    return next((problem for problem in found if problem), None)


def failure(error: str | BaseException | Failure) -> Failure:
    if isinstance(error, Failure):
        return error
    return failures.from_text(error) if isinstance(error, str) else failures.from_exception(error)
