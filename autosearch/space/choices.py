"""One of several values, with or without an order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from autosearch.space.base import Prior, Searched, bin_centres, bin_indices, is_value
from autosearch.space.errors import SpaceError
from autosearch.space.operators import Value, show

if TYPE_CHECKING:
    from autosearch.space.expressions import Expression


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
        return bin_centres(np.array(indices, dtype=np.float64), self.n_values)

    def _values_at(self, u: np.ndarray) -> list[Value]:
        choices = self._values
        return [choices[k] for k in bin_indices(u, len(choices)).tolist()]


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
