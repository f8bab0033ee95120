"""Real and whole numbers in a range."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from autosearch.space.base import Prior, Searched, bin_centres, bin_indices
from autosearch.space.errors import SpaceError
from autosearch.space.operators import INT_LIMIT, Value, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from autosearch.space.expressions import Expression

_DIGITS = 12  # of the 15 to 16 that a float carries: three are left for the rounding of encode and decode
_INT_BOUND = 2**40  # bins stay wider than the rounding of a float in [0, 1]
_FLOAT_BOUND = 1e300  # leaves room for high - low
_LOG_FLOOR = 1e-300  # below this floats lose digits


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
            return bin_centres(
                np.rint((x - self.low) / self.grid) if self.grid and n > 1 else np.zeros(len(x)), n
            )
        if self.log:
            low, high = np.log([self.low, self.high])
            u: np.ndarray = (np.log(x) - low) / (high - low)
        else:
            u = (x - self.low) / (self.high - self.low)
        return u.clip(0.0, 1.0)

    def _values_at(self, u: np.ndarray) -> list[Value]:
        n = self.n_values
        if n is not None:
            return [self._on_grid(k) for k in bin_indices(u, n).tolist()]
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
            return bin_centres(np.rint((x - self.low) / self._step), self.n_values)
        low, high = self._log_edges
        u: np.ndarray = (np.log(x) - low) / (high - low)
        return u

    @property
    def _log_edges(self) -> tuple[float, float]:
        return math.log(self.low - 0.5), math.log(self.high + 0.5)

    def _values_at(self, u: np.ndarray) -> list[Value]:
        if not self.log or self.low == self.high:
            return cast("list[Value]", (self.low + bin_indices(u, self.n_values) * self._step).tolist())
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
