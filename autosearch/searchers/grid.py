"""Grid search: every cell of a full grid once, in the order of nested loops."""

import threading
from collections.abc import Hashable, Iterator

from autosearch.core.errors import OptionError
from autosearch.core.history import History
from autosearch.core.records import Suggestion
from autosearch.searchers.unseen import Tried
from autosearch.space import Config, Derived, SearchSpace, SpaceError

_PATIENCE = 200_000  # cells in a row that may be infeasible: a few seconds


class GridSearcher:
    """All combinations of values, the last parameter changing fastest; ends when each was tried.

    A suggestion is the first feasible cell that no trial has: of the order of cells and the configurations tried
    before, never of results. Without first or queued configurations trial `k` gets the `k`-th cell; those neither
    shift the cells out of the grid nor run twice.

    Args:
        points: values taken of a Float, and of an Int of many values; of the others every value.
    """

    def __init__(self, points: int = 5) -> None:
        if points < 1:
            raise OptionError(f"points must be at least 1, got {points}.", "points")
        self.points = points
        self._tried = Tried()
        self._lock = threading.Lock()  # suggestions may be prepared in a thread beside the caller's
        self._cells: Cells | None = None

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """The next `n` cells; fewer at the grid's end, none behind it.

        Raises:
            SpaceError: no feasible cell comes for very long.
        """
        space, tried = history.problem.space, self._tried.keys(history)
        found: list[Suggestion] = []
        with self._lock:
            if self._cells is None or self._cells.space is not space:
                self._cells = Cells(space, self.points)
            for number, key, config in self._cells:
                if len(found) == n:
                    break
                if key not in tried:
                    tried.add(key)
                    info = {"reason": "grid", "cell": number, "cells": self._cells.total}
                    found.append(Suggestion(config, info=info))
        return found


class Cells:
    """The feasible cells of a grid in order, found as they are asked for and kept.

    Attributes:
        space: whose grid it is.
        total: number of cells, infeasible ones included.
    """

    def __init__(self, space: SearchSpace, points: int) -> None:
        self.space = space
        self._grid = space.grid(points)
        self.total = self._grid.cells
        self._found: list[tuple[int, Hashable, Config]] = []
        self._next = 0
        self._early = _decided_early(space)

    def __iter__(self) -> Iterator[tuple[int, Hashable, Config]]:
        """(number, key, configuration) of every feasible cell."""
        at = 0
        while at < len(self._found) or self._extend():
            yield self._found[at]
            at += 1

    def _extend(self) -> bool:
        for _ in range(_PATIENCE):
            if self._next >= self.total:
                return False
            number, config = self._next, self._grid[self._next]
            if config is not None:
                self._next += 1
                self._found.append((number, self.space.key(config), config))
                return True
            self._next = self._behind(number)
        raise SpaceError(
            f"grid: none of {_PATIENCE:,} cells in a row before cell {self._next:,} of {self.total:,} is feasible. "
            "Loosen `require` or use `sobol`, which looks everywhere.",
            ("searcher",),
        )

    def _behind(self, cell: int) -> int:
        """The next cell that may be feasible: all values of an inactive parameter but the first are skipped at once."""
        digits, rest = [], cell
        for axis in reversed(self._grid.axes.values()):
            rest, digit = divmod(rest, len(axis))
            digits.append(digit)
        values = {
            name: axis[digit]
            for (name, axis), digit in zip(self._grid.axes.items(), reversed(digits), strict=True)
        }
        try:
            config = self.space.complete(values)
        except SpaceError:  # a condition or derived value that cannot be evaluated here
            return cell + 1
        block = self.total
        for (name, axis), digit in zip(self._grid.axes.items(), reversed(digits), strict=True):
            if digit and name not in config and name in self._early:
                return (cell // block + 1) * block
            block //= len(axis)
        return cell + 1


def _decided_early(space: SearchSpace) -> frozenset[str]:
    """Names that are active or not by the values of parameters declared before them alone."""
    early: set[str] = set()
    for name, parameter in space.parameters.items():
        if not isinstance(parameter, Derived) and space.parents(name) <= early:
            early.add(name)
    return frozenset(early)
