"""The kinds of parameters: searched ones, constants and derived ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from autosearch.space.base import CONFIDENCES, Base, Confidence, Prior, Searched, is_value
from autosearch.space.choices import Categorical, Ordinal
from autosearch.space.errors import ExpressionError, SpaceError
from autosearch.space.expressions import Expression
from autosearch.space.numeric import Float, Int
from autosearch.space.operators import Value, show

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CONFIDENCES",
    "Categorical",
    "Confidence",
    "Derived",
    "Fixed",
    "Float",
    "Int",
    "Ordinal",
    "Parameter",
    "Prior",
    "Searched",
    "is_value",
]


@dataclass(frozen=True, slots=True)
class Fixed(Base):
    """A constant that reaches the trial with every configuration.

    Attributes:
        value: the constant.
        when: condition under which it is part of the configuration.

    Raises:
        SpaceError: the value is no scalar.
    """

    kind: ClassVar[str] = "fixed"

    value: Value
    when: Expression | str | None = field(default=None, kw_only=True)

    def _problems(self) -> Iterable[SpaceError]:
        if isinstance(self.value, np.generic):
            self._set("value", self.value.item())
        if not is_value(self.value):
            yield SpaceError(
                f"must be a finite number, text, true, false or null, not {show(self.value)}", ("value",)
            )
        yield from self._parse_when()


@dataclass(frozen=True, slots=True)
class Derived(Base):
    """A value computed from other parameters.

    Attributes:
        expr: the expression; if it touches an inactive parameter, the derived one is absent too.
        when: condition under which it is part of the configuration.

    Raises:
        SpaceError: an expression cannot be parsed.
    """

    kind: ClassVar[str] = "derived"

    expr: Expression | str
    when: Expression | str | None = field(default=None, kw_only=True)

    def _problems(self) -> Iterable[SpaceError]:
        if not isinstance(self.expr, Expression):
            try:
                self._set("expr", Expression.parse(self.expr, ("expr",)))
            except ExpressionError as error:
                yield error
        yield from self._parse_when()

    @property
    def expression(self) -> Expression:
        """`expr`, parsed."""
        return cast("Expression", self.expr)


Parameter = Float | Int | Categorical | Ordinal | Fixed | Derived
