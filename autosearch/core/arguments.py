"""What callers may write, turned into records: objectives, constraints, budgets, metrics, errors."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from autosearch.core import failures
from autosearch.core.errors import ExpressionError, OptionError
from autosearch.core.records import Budget, Failure, Goal
from autosearch.space import Expression

Direction = Literal["minimize", "maximize"]


def goals(objectives: Mapping[str, Direction] | Sequence[Goal]) -> tuple[Goal, ...]:
    if not isinstance(objectives, Mapping):
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


def budget(limits: Mapping[str, float]) -> Budget:
    unknown = set(limits) - {"trials", "minutes", "cost"}
    if unknown:
        raise OptionError(
            f"budget: unknown key {min(unknown)!r}. Known: trials, minutes, cost.", min(unknown)
        )
    trials = limits.get("trials")
    return Budget(None if trials is None else int(trials), limits.get("minutes"), limits.get("cost"))


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are numbers, as floats; texts and the like that training code reports beside are left out."""
    numbers = {}
    for name, value in metrics.items():
        if isinstance(value, str | bytes):
            continue
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
    return numbers


def failure(error: str | BaseException | Failure) -> Failure:
    if isinstance(error, Failure):
        return error
    return failures.from_text(error) if isinstance(error, str) else failures.from_exception(error)
