"""The kinds of parameters, each mapping its values to the unit interval and back.

Symbols:

| symbol | meaning |
|---|---|
| `u` | position of a value in the unit interval, in [0, 1] |
| `k` | index of a value among `n` allowed ones; its unit value is the centre of bin `k`, `(k + 0.5) / n` |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, cast

import numpy as np

from autosearch.space.errors import ExpressionError, SpaceError, report
from autosearch.space.expressions import Expression
from autosearch.space.operators import INT_LIMIT, Value, show

Confidence = Literal["low", "medium", "high"]
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")

_DIGITS = 12  # of the 15 to 16 that a float carries: three are left for the rounding of encode and decode
_INT_BOUND = 2**40  # bins stay wider than the rounding of a float in [0, 1]
_FLOAT_BOUND = 1e300  # leaves room for high - low
_LOG_FLOOR = 1e-300  # below this floats lose digits


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


def _bins(indices: np.ndarray, n: int) -> np.ndarray:
    centres: np.ndarray = (indices + 0.5) / n
    return centres


def _indices(u: np.ndarray, n: int) -> np.ndarray:
    return np.minimum(np.floor(u * n), n - 1).astype(np.int64)


def _number(value: Any) -> int | float | None:
    """A plain finite int or float, or None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Numeric(Searched):
    """What Float and Int share: bounds, log scale and grid."""

    def _check_bounds(self, limit: float, as_number: Any, rule: str) -> Iterable[SpaceError]:
        found = {}
        for name in ("low", "high"):
            number = as_number(getattr(self, name))
            if number is None or abs(number) > limit:
                yield SpaceError(f"{rule}, not {show(getattr(self, name))}", (name,))
            else:
                found[name] = number
                self._set(name, number)
        if len(found) == 2 and found["low"] > found["high"]:
            yield SpaceError(f"must not be above high: {found['low']} > {found['high']}", ("low",))

    def _check_scale(self, as_number: Any, floor: float, rule: str) -> Iterable[SpaceError]:
        log, grid, low = (
            getattr(self, "log", False),
            getattr(self, "grid", None),
            as_number(getattr(self, "low", None)),
        )
        if not isinstance(log, bool):
            yield SpaceError(f"must be true or false, not {show(log)}", ("log",))
        elif log and low is not None and low < floor:
            yield SpaceError(f"a log scale needs low >= {floor:g}, not {low}", ("low",))
        if grid is None:
            return
        if log is True:
            yield SpaceError("a log scale excludes grid; drop one of them", ("grid",))
        spacing = as_number(grid)
        if spacing is None or spacing <= 0:
            yield SpaceError(f"{rule}, not {show(grid)}", ("grid",))
        else:
            self._set("grid", spacing)


@dataclass(frozen=True, slots=True)
class Float(Numeric):
    """A real number in [low, high].

    Allowed values are rounded to 12 digits (of the value on a log scale, else of the larger bound), so that
    encoding and decoding is exact and configurations stay readable; the bounds are allowed as written.

    Attributes:
        low: smallest value, included.
        high: largest value, included; may equal `low`.
        log: whether the scale is logarithmic; needs `low > 0`.
        grid: spacing of the allowed values, counted from `low`; None for a continuous range.
        when: condition under which the parameter is active.
        prior: where good values are expected.
        default: the value of the default configuration.

    Raises:
        SpaceError: a field breaks a rule.
    """

    kind: ClassVar[str] = "float"

    low: float
    high: float
    log: bool = field(default=False, kw_only=True)
    grid: float | None = field(default=None, kw_only=True)
    when: Expression | str | None = field(default=None, kw_only=True)
    prior: Prior | None = field(default=None, kw_only=True)
    default: float | None = field(default=None, kw_only=True)

    def _problems(self) -> Iterable[SpaceError]:
        problems = [
            *self._check_bounds(_FLOAT_BOUND, _as_float, "must be a finite number of size 1e300 at most"),
            *self._check_scale(_as_float, _LOG_FLOOR, "must be a positive number"),
        ]
        if not problems and self.grid is not None:
            size = max(abs(self.low), abs(self.high), self.high - self.low)
            if self.grid * 10 ** (_DIGITS - 1) < size or not math.isfinite(self.grid):
                problems.append(SpaceError(f"{self.grid} is too fine for values of size {size:g}", ("grid",)))
        problems.extend(self._parse_when())
        if not problems:
            problems.extend(self._check_wishes())
        return problems

    @property
    def n_values(self) -> int | None:
        if self.low == self.high:
            return 1
        return None if self.grid is None else math.floor((self.high - self.low) / self.grid + 1e-9) + 1

    def canonical(self, value: Any) -> float:
        number = _as_float(value)
        if number is None or not self.low <= number <= self.high:
            raise SpaceError(f"must be a number in [{self.low}, {self.high}], not {show(value)}")
        if self.grid is None:
            return self._round([number])[0]
        allowed = self._on_grid(round((number - self.low) / self.grid))
        if abs(allowed - number) > 1e-6 * self.grid:
            raise SpaceError(f"must be {self.low} plus a multiple of {self.grid}, not {show(value)}")
        return allowed

    def _on_grid(self, index: int) -> float:
        return (
            min(round(self.low + index * self.grid, self._decimals), self.high)
            if index and self.grid
            else self.low
        )

    @property
    def _decimals(self) -> int:
        size = max(abs(self.low), abs(self.high))
        return _DIGITS - math.ceil(math.log10(size)) if size else _DIGITS

    def _round(self, numbers: list[float]) -> list[float]:
        """Round to 12 digits; what shares its rounded value with a bound becomes the bound."""
        if self.log:
            bottom, top = float(f"{self.low:.11e}"), float(f"{self.high:.11e}")
            rounded = [float(f"{x:.11e}") for x in numbers]
        else:
            decimals = self._decimals
            bottom, top = round(self.low, decimals), round(self.high, decimals)
            rounded = [round(x, decimals) for x in numbers]
        if bottom == top:  # a range narrower than the rounding holds its two bounds only
            return [self.low if x - self.low <= self.high - x else self.high for x in numbers]
        return [self.low if r <= bottom else self.high if r >= top else r for r in rounded]

    def to_unit_array(self, values: Sequence[Value]) -> np.ndarray:
        x = np.array(values, dtype=np.float64)
        if not ((x >= self.low) & (x <= self.high)).all():
            raise SpaceError(f"every value must lie in [{self.low}, {self.high}]")
        n = self.n_values
        if n is not None:
            return _bins(np.rint((x - self.low) / self.grid) if self.grid and n > 1 else np.zeros(len(x)), n)
        if self.log:
            low, high = np.log([self.low, self.high])
            return np.clip((np.log(x) - low) / (high - low), 0.0, 1.0)
        return np.clip((x - self.low) / (self.high - self.low), 0.0, 1.0)

    def _values_at(self, u: np.ndarray) -> list[Value]:
        n = self.n_values
        if n is not None:
            return [self._on_grid(k) for k in _indices(u, n).tolist()]
        if self.log:
            low, high = np.log([self.low, self.high])
            x = np.exp(low + u * (high - low))
        else:
            x = self.low + u * (self.high - self.low)
        return list(self._round(np.clip(x, self.low, self.high).tolist()))


@dataclass(frozen=True, slots=True)
class Int(Numeric):
    """A whole number in [low, high].

    Attributes:
        low: smallest value, included; below 2**40 in size, at least 1 on a log scale.
        high: largest value, included; may equal `low`.
        log: whether the scale is logarithmic: each value owns the part of the unit interval between the
            logarithms of half a step below and above it.
        grid: spacing of the allowed values, counted from `low`.
        when: condition under which the parameter is active.
        prior: where good values are expected.
        default: the value of the default configuration.

    Raises:
        SpaceError: a field breaks a rule.
    """

    kind: ClassVar[str] = "int"

    low: int
    high: int
    log: bool = field(default=False, kw_only=True)
    grid: int | None = field(default=None, kw_only=True)
    when: Expression | str | None = field(default=None, kw_only=True)
    prior: Prior | None = field(default=None, kw_only=True)
    default: int | None = field(default=None, kw_only=True)

    def _problems(self) -> Iterable[SpaceError]:
        problems = [
            *self._check_bounds(_INT_BOUND - 1, _as_int, "must be a whole number below 2**40 in size"),
            *self._check_scale(_as_int, 1, "must be a positive whole number"),
            *self._parse_when(),
        ]
        if not problems:
            problems.extend(self._check_wishes())
        return problems

    @property
    def _step(self) -> int:
        return self.grid or 1

    @property
    def n_values(self) -> int:
        return (self.high - self.low) // self._step + 1

    def canonical(self, value: Any) -> int:
        number = _as_int(value)
        if number is None or not self.low <= number <= self.high:
            raise SpaceError(f"must be a whole number in [{self.low}, {self.high}], not {show(value)}")
        if (number - self.low) % self._step:
            raise SpaceError(f"must be {self.low} plus a multiple of {self._step}, not {number}")
        return number

    def to_unit_array(self, values: Sequence[Value]) -> np.ndarray:
        x = np.array(values, dtype=np.float64)
        if not ((x >= self.low) & (x <= self.high)).all():
            raise SpaceError(f"every value must lie in [{self.low}, {self.high}]")
        if not self.log or self.low == self.high:
            return _bins(np.rint((x - self.low) / self._step), self.n_values)
        low, high = self._log_edges
        u: np.ndarray = (np.log(x) - low) / (high - low)
        return u

    @property
    def _log_edges(self) -> tuple[float, float]:
        return math.log(self.low - 0.5), math.log(self.high + 0.5)

    def _values_at(self, u: np.ndarray) -> list[Value]:
        if not self.log or self.low == self.high:
            return cast("list[Value]", (self.low + _indices(u, self.n_values) * self._step).tolist())
        low, high = self._log_edges
        x = np.rint(np.exp(low + u * (high - low)))
        return cast("list[Value]", np.clip(x, self.low, self.high).astype(np.int64).tolist())


def _as_float(value: Any) -> float | None:
    number = _number(value)
    if isinstance(number, int) and abs(number) > INT_LIMIT:
        return None
    return None if number is None else float(number) + 0.0  # turns -0.0 into 0.0


def _as_int(value: Any) -> int | None:
    number = _number(value)
    if isinstance(number, float) and not number.is_integer():
        return None
    return None if number is None or abs(number) >= INT_LIMIT else int(number)


@dataclass(frozen=True, slots=True)
class Choices(Searched):
    """What Categorical and Ordinal share: a list of values."""

    def _check_choices(self) -> Iterable[SpaceError]:
        choices = getattr(self, "choices", ())
        if isinstance(choices, str) or not isinstance(choices, Sequence) or not len(choices):
            yield SpaceError(f"must be a list with at least one value, not {show(choices)}", ("choices",))
            return
        values = [choice.item() if isinstance(choice, np.generic) else choice for choice in choices]
        bad = [value for value in values if not is_value(value)]
        if bad:
            yield SpaceError(
                f"must be finite numbers, text, true, false or null, not {show(bad[0])}", ("choices",)
            )
            return
        seen: dict[Value, Value] = {}
        for value in values:
            if value in seen:
                yield SpaceError(f"{show(seen[value])} and {show(value)} are equal; drop one", ("choices",))
            seen.setdefault(value, value)
        self._set("choices", tuple(values))

    def _all_problems(self) -> Iterable[SpaceError]:
        problems = [*self._check_choices(), *self._parse_when()]
        if not problems:
            choices = cast("tuple[Value, ...]", getattr(self, "choices", ()))
            self._set("_index", {choice: k for k, choice in enumerate(choices)})
            problems.extend(self._check_wishes())
        return problems

    @property
    def _values(self) -> tuple[Value, ...]:
        return cast("tuple[Value, ...]", getattr(self, "choices", ()))

    @property
    def _lookup(self) -> dict[Value, int]:
        return cast("dict[Value, int]", getattr(self, "_index", {}))

    @property
    def n_values(self) -> int:
        return len(self._values)

    def canonical(self, value: Any) -> Value:
        if isinstance(value, np.generic):
            value = value.item()
        if not is_value(value) or value not in self._lookup:
            options = ", ".join(map(show, self._values[:10])) + (", ..." if self.n_values > 10 else "")
            raise SpaceError(f"must be one of {options}; not {show(value)}")
        return self._values[self._lookup[value]]

    def to_unit_array(self, values: Sequence[Value]) -> np.ndarray:
        try:
            indices = [self._lookup[value] for value in values]
        except (KeyError, TypeError):
            for value in values:
                self.canonical(value)
            raise
        return _bins(np.array(indices, dtype=np.float64), self.n_values)

    def _values_at(self, u: np.ndarray) -> list[Value]:
        choices = self._values
        return [choices[k] for k in _indices(u, len(choices)).tolist()]


def is_value(value: object) -> bool:
    """Whether this is None, a bool, an int below 2**63, a finite float, or text."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) < INT_LIMIT
    return value is None or isinstance(value, str)


@dataclass(frozen=True, slots=True)
class Categorical(Choices):
    """One of several values without an order.

    Attributes:
        choices: the values; no two may be equal (1, 1.0 and True are).
        when: condition under which the parameter is active.
        prior: where good values are expected.
        default: the value of the default configuration.

    Raises:
        SpaceError: a field breaks a rule.
    """

    kind: ClassVar[str] = "categorical"

    choices: Sequence[Value]
    when: Expression | str | None = field(default=None, kw_only=True)
    prior: Prior | None = field(default=None, kw_only=True)
    default: Value = field(default=None, kw_only=True)
    _index: dict[Value, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def _problems(self) -> Iterable[SpaceError]:
        return self._all_problems()

    @property
    def start(self) -> Value:
        return self._values[0] if self.default is None else self.default


@dataclass(frozen=True, slots=True)
class Ordinal(Choices):
    """One of several values in a meaningful order.

    Attributes:
        choices: the values in their order; no two may be equal (1, 1.0 and True are).
        when: condition under which the parameter is active.
        prior: where good values are expected.
        default: the value of the default configuration.

    Raises:
        SpaceError: a field breaks a rule.
    """

    kind: ClassVar[str] = "ordinal"

    choices: Sequence[Value]
    when: Expression | str | None = field(default=None, kw_only=True)
    prior: Prior | None = field(default=None, kw_only=True)
    default: Value = field(default=None, kw_only=True)
    _index: dict[Value, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def _problems(self) -> Iterable[SpaceError]:
        return self._all_problems()


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
