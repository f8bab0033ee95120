"""Arithmetic and comparison with bounds: what an expression may compute."""

from __future__ import annotations

import ast
import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from autosearch.space.errors import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Callable

Value = None | bool | int | float | str
"""What a parameter or a metric can be."""

INT_LIMIT = 2**63
"""Integers stay below this size, so that no expression can grow one without end."""

_MAX_POWER = 63  # any integer of size two or more leaves the 63 bits above this power


def show(value: object) -> str:
    """A value for a message: at most 60 characters of its repr."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return "an enormous integer"  # the repr of a long integer is slow, or refused by Python
    if isinstance(value, bytes | bytearray):
        return "binary data"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def check_number(value: Any) -> int | float:
    """The value itself if it is a finite number below 2**63 in size.

    Raises:
        ExpressionError: it is not.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"arithmetic and order need numbers, not {show(value)}")
    if isinstance(value, int):
        if not -INT_LIMIT < value < INT_LIMIT:
            raise ExpressionError("an integer must stay below 2**63 in size")
    elif not math.isfinite(value):
        raise ExpressionError(f"{value} is not a finite number")
    return value


def truth(value: Value) -> bool:
    """Whether a value counts as true; text is refused, as 'false' would be true.

    Raises:
        ExpressionError: the value is text or not a finite number.
    """
    if value is None or isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str):
        raise ExpressionError(f"{show(value)} is text, not true or false; compare it with ==")
    return check_number(value) != 0


def order(compare: Callable[[Any, Any], bool], left: Value, right: Value) -> bool:
    """Compare two numbers or two texts.

    Raises:
        ExpressionError: the two have no order.
    """
    if isinstance(left, str) and isinstance(right, str):
        return compare(left, right)
    if isinstance(left, str) or isinstance(right, str):
        raise ExpressionError(f"{show(left)} and {show(right)} have no order")
    return compare(check_number(left), check_number(right))


def _guarded(operation: Callable[[Any, Any], Any]) -> Callable[[Value, Value], int | float]:
    def apply(left: Value, right: Value) -> int | float:
        a, b = check_number(left), check_number(right)
        try:
            result = operation(a, b)
        except ZeroDivisionError:
            raise ExpressionError(f"division by zero with {show(a)} and {show(b)}") from None
        except OverflowError:
            raise ExpressionError(f"the result for {show(a)} and {show(b)} is too large") from None
        if isinstance(result, complex):
            raise ExpressionError(f"{show(a)} ** {show(b)} is not a real number")
        return check_number(result)

    return apply


def _power(a: int | float, b: int | float) -> Any:
    if isinstance(a, int) and isinstance(b, int) and b > _MAX_POWER and abs(a) > 1:
        raise OverflowError
    return a**b


ARITHMETIC: dict[type[ast.operator], Callable[[Value, Value], int | float]] = {
    ast.Add: _guarded(operator.add),
    ast.Sub: _guarded(operator.sub),
    ast.Mult: _guarded(operator.mul),
    ast.Div: _guarded(operator.truediv),
    ast.FloorDiv: _guarded(operator.floordiv),
    ast.Mod: _guarded(operator.mod),
    ast.Pow: _guarded(_power),
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
