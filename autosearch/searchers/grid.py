"""Grid search: every cell of a full grid once, in the order of nested loops."""

import threading
from collections.abc import Hashable, Iterable, Iterator

from autosearch.core.errors import OptionError
from autosearch.core.history import History
from autosearch.core.records import Suggestion
from autosearch.searchers.unseen import Tried
from autosearch.space import Config, Derived, SearchSpace, SpaceError
from autosearch.space.sampling import met

_POINTS = 5
_PATIENCE = 50_000  # infeasible cells or blocks in a row: a few seconds


class GridSearcher:
    """All combinations of values, the last parameter changing fastest; ends when each was tried.

    A suggestion is the first feasible cell that no trial has: of the order of cells and the configurations tried
    before, never of results. Without first or queued configurations trial `k` gets the `k`-th cell; those neither
    shift the cells out of the grid nor run twice.

    Args:
        points: values taken of a Float, and of an Int of many values; of the others every value. None: five, but every
            value of an Int or a gridded Float where `budget.trials` is enough for all combinations.
    """

    def __init__(self, points: int | None = None) -> None:
        if points is not None and points < 1:
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
        trials, points = history.problem.budget.trials, self.points or _POINTS
        every = self.points is None and trials is not None and space.cells(points) <= trials
        found: list[Suggestion] = []
        with self._lock:
            if self._cells is None or self._cells.space is not space or self._cells.every is not every:
                self._cells = Cells(space, points, every=every)
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
        every: whether it has every value of whole numbers and of gridded ones.
        total: number of cells, infeasible ones included.
    """

    def __init__(self, space: SearchSpace, points: int, *, every: bool) -> None:
        self.space, self.every = space, every
        self._grid = space.grid(points, every=every)
        self.total = self._grid.cells
        self._found: list[tuple[int, Hashable, Config]] = []
        self._next = 0
        self._early = _decided_early(space)
        self._require = [(e, _with_parents(space, e.names)) for e in space.require]
        self._fixed = [name for name in space.parameters if name not in space.searched]

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
            f"grid: no feasible cell in {_PATIENCE:,} steps up to cell {self._next:,} of {self.total:,}. "
            "Loosen `require` or use `sobol`, which looks everywhere.",
            ("searcher",),
        )

    def _behind(self, cell: int) -> int:
        """The next cell after an infeasible one that may be feasible: what fails for a whole block is skipped with it.

        A block are the cells that share the values of the first parameters.
        """
        space, digits, rest = self.space, dict.fromkeys(self._grid.axes, 0), cell
        for name, axis in reversed(self._grid.axes.items()):
            rest, digits[name] = divmod(rest, len(axis))
        try:
            config = space.complete({name: axis[digits[name]] for name, axis in self._grid.axes.items()})
        except SpaceError:  # a condition or derived value that cannot be evaluated here
            return cell + 1
        broken = [names for e, names in self._require if names <= self._early and not met(e, config)]
        block, known = self.total, set(self._fixed)
        for name, axis in self._grid.axes.items():
            if digits[name] and name not in config and name in self._early:
                break  # inactive: its values but the first repeat earlier cells
            block //= len(axis)
            known.add(name)
            if any(names <= known for names in broken):
                break
        return (cell // block + 1) * block


def _decided_early(space: SearchSpace) -> frozenset[str]:
    """Names that are active or not by the values of parameters declared before them alone."""
    early: set[str] = set()
    for name, parameter in space.parameters.items():
        if not isinstance(parameter, Derived) and space.parents(name) <= early:
            early.add(name)
    return frozenset(early)


def _with_parents(space: SearchSpace, names: Iterable[str]) -> frozenset[str]:
    """The names, and all whose values decide whether they are active."""
    found: set[str] = set()
    open_ones = set(names)
    while open_ones:
        name = open_ones.pop()
        found.add(name)
        open_ones |= space.parents(name) - found
    return frozenset(found)
