"""What all kinds of parameters share.

Symbols:

| symbol | meaning |
|---|---|
| `u` | position of a value in the unit interval, in [0, 1] |
| `k` | index of a value among `n` allowed ones; its unit value is the centre of bin `k`, `(k + 0.5) / n` |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np

from autosearch.space.errors import ExpressionError, SpaceError, report
from autosearch.space.expressions import Expression
from autosearch.space.operators import INT_LIMIT, Value, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Confidence = Literal["low", "medium", "high"]
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Prior:
    """Where the user expects good values.

    Attributes:
        center: the most likely value.
        confidence: `low`, `medium` or `high`.

    Raises:
        SpaceError: the confidence is none of these.
    """

    center: Value
    confidence: Confidence = "medium"

    def __post_init__(self) -> None:
        if self.confidence not in CONFIDENCES:
            raise SpaceError(f"must be low, medium or high, not {show(self.confidence)}", ("confidence",))


@dataclass(frozen=True, slots=True)
class Base:
    """What all kinds share; not a kind itself."""

    kind: ClassVar[str]

    def _problems(self) -> Iterable[SpaceError]:
        """Check and normalise the fields; yield every rule broken."""
        return ()

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise report(problems, type(self).__name__)

    @property
    def condition(self) -> Expression | None:
        """`when`, parsed."""
        return cast("Expression | None", getattr(self, "when", None))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _parse_when(self) -> Iterable[SpaceError]:
        when = getattr(self, "when", None)
        if when is None or isinstance(when, Expression):
            return
        try:
            self._set("when", Expression.parse(when, ("when",)))
        except ExpressionError as error:
            yield error

    def to_dict(self) -> dict[str, Any]:
        """The definition as it is written in a study file; fields left at their default are omitted."""
        definition: dict[str, Any] = {"type": self.kind}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not entry.init or (value is entry.default and entry.name not in ("low", "high", "value")):
                continue
            if isinstance(value, Expression):
                value = value.text
            elif isinstance(value, Prior):
                value = {"center": value.center, "confidence": value.confidence}
            elif isinstance(value, tuple):
                value = list(value)
            definition[entry.name] = value
        return definition


@dataclass(frozen=True, slots=True)
class Searched(Base):
    """A kind that the search chooses a value for."""

    def canonical(self, value: Any) -> Value:
        """The allowed value that `value` stands for: numbers rounded to 12 digits.

        Raises:
            SpaceError: it has the wrong type, is out of range, or lies between two allowed values.
        """
        raise NotImplementedError

    def contains(self, value: Any) -> bool:
        """Whether the value is allowed, rounding apart."""
        try:
            self.canonical(value)
        except SpaceError:
            return False
        return True

    def to_unit(self, value: Value) -> float:
        """The position of an allowed value, in [0, 1].

        Raises:
            SpaceError: the value is not allowed.
        """
        return float(self.to_unit_array([self.canonical(value)])[0])

    def from_unit(self, u: float) -> Value:
        """The allowed value at `u`; positions outside [0, 1] are clipped.

        Raises:
            SpaceError: `u` is NaN.
        """
        return self.from_unit_array(np.array([u], dtype=np.float64))[0]

    def to_unit_array(self, values: Sequence[Value]) -> np.ndarray:
        """Positions of canonical values, shape `(n,)`, in [0, 1].

        Raises:
            SpaceError: a value is outside the range or not among the choices.
        """
        raise NotImplementedError

    def from_unit_array(self, u: np.ndarray) -> list[Value]:
        """Allowed values at positions `u`, shape `(n,)`; positions outside [0, 1] are clipped.

        Raises:
            SpaceError: a position is NaN.
        """
        u = np.asarray(u, dtype=np.float64)
        if np.isnan(u).any():
            raise SpaceError("a position in the unit cube is NaN; it must be a number in [0, 1]")
        return self._values_at(np.clip(u, 0.0, 1.0))

    def _values_at(self, u: np.ndarray) -> list[Value]:
        raise NotImplementedError

    @property
    def n_values(self) -> int | None:
        """How many values are allowed; None if continuous."""
        raise NotImplementedError

    @property
    def start(self) -> Value:
        """The default, else the middle of the range; the first choice where choices have no order."""
        default = cast("Value", getattr(self, "default", None))
        return self.from_unit(0.5) if default is None else default

    def _check_wishes(self) -> Iterable[SpaceError]:
        """`default` and `prior` must be allowed values; they become canonical."""
        default, prior = getattr(self, "default", None), getattr(self, "prior", None)
        if default is not None:
            try:
                self._set("default", self.canonical(default))
            except SpaceError as error:
                yield SpaceError(error.message, ("default",))
        if prior is None:
            return
        if not isinstance(prior, Prior):
            yield SpaceError(f"must be a Prior(center, confidence), not {show(prior)}", ("prior",))
            return
        try:
            self._set("prior", Prior(self.canonical(prior.center), prior.confidence))
        except SpaceError as error:
            yield SpaceError(error.message, ("prior", "center"))


def is_value(value: object) -> bool:
    """Whether this is None, a bool, an int below 2**63, a finite float, or text."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) < INT_LIMIT
    return value is None or isinstance(value, str)


def bin_centres(indices: np.ndarray, n: int) -> np.ndarray:
    centres: np.ndarray = (indices + 0.5) / n
    return centres


def bin_indices(u: np.ndarray, n: int) -> np.ndarray:
    indices: np.ndarray = np.minimum(np.floor(u * n), n - 1).astype(np.int64)
    return indices
