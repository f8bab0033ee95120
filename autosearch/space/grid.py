"""All combinations of values as a lazy sequence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from autosearch.space.errors import SpaceError
from autosearch.space.operators import Value, show
from autosearch.space.parameters import Categorical, Ordinal, Searched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autosearch.space.search_space import SearchSpace

_FEW = 10  # an Int or gridded Float of so many values is enumerated however few points were asked for


class Grid:
    """The cells of a full grid, in the order of nested loops over the parameters: the last one runs fastest.

    `grid[k]` is a configuration, or None where cell `k` violates a constraint, cannot be evaluated, or equals
    an earlier cell because it differs only in inactive parameters.

    Attributes:
        cells: number of cells, however large; `len` is the same where it fits a machine integer.
        axes: name -> values.
    """

    def __init__(self, space: SearchSpace, points: int, *, every: bool = False) -> None:
        if isinstance(points, bool) or not isinstance(points, int) or points < 1:
            raise SpaceError(f"points must be a whole number of at least 1, not {show(points)}")
        self._space = space
        self.axes = {name: _axis(space.parameters[name], points, every=every) for name in space.searched}
        self.cells = math.prod(len(axis) for axis in self.axes.values())

    def __len__(self) -> int:
        return self.cells

    def __getitem__(self, k: int) -> dict[str, Value] | None:
        if not 0 <= k < self.cells:
            raise IndexError(f"cell {k} of a grid of {self.cells}")
        digits: dict[str, int] = {}
        for name, axis in reversed(self.axes.items()):
            k, digits[name] = divmod(k, len(axis))
        config = self._space._feasible({name: axis[digits[name]] for name, axis in self.axes.items()})
        if config is None or any(digit and name not in config for name, digit in digits.items()):
            return None
        return config

    def __iter__(self) -> Iterator[dict[str, Value] | None]:
        k = 0
        while k < self.cells:
            yield self[k]
            k += 1


def _axis(parameter: object, points: int, *, every: bool) -> list[Value]:
    if not isinstance(parameter, Searched):
        raise TypeError("an axis needs a searched parameter")
    n = parameter.n_values
    if isinstance(parameter, Categorical | Ordinal):
        return list(parameter.choices)
    whole = n is not None and (every or n <= max(points, _FEW))
    if n is not None and whole and not getattr(parameter, "log", False):
        return parameter.from_unit_array((np.arange(n) + 0.5) / n)
    if n is not None and whole:
        low, high = int(getattr(parameter, "low", 0)), int(getattr(parameter, "high", 0))
        return (
            [parameter.canonical(value) for value in range(low, high + 1)]
            if n > 1
            else [parameter.from_unit(0.5)]
        )
    at = np.linspace(0.0, 1.0, points) if points > 1 else np.array([0.5])
    return list(dict.fromkeys(parameter.from_unit_array(at)))
