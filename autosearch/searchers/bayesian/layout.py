"""How a search space looks to a kernel: which columns are numbers, which are choices, which are conditional.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `d` | searched parameters, columns of the encoded space | |
| `g` | conditional groups: parameters that are active under the same conditions | |
| `D` | width of a point: `d` encoded columns, `g` activity flags (0 or 1), and the fidelity if it is modelled | |
| `U` | encoded columns; those of inactive parameters may hold anything | `(n, d)` |
| `points` | encoded columns (0.5 where inactive) and flags: what models see | `(n, D)` |
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autosearch.space import Categorical, Config, Float, Int, Ordinal, SearchSpace, Value

# A parameter of more values than this is searched as if it were continuous and then snapped to a value.
FEW_VALUES = 16


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that share their conditions.

    Attributes:
        columns: their encoded columns.
        flag: column of the activity flag in a point.
    """

    columns: tuple[int, ...]
    flag: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of a point by their role.

    Attributes:
        d: number of encoded columns.
        choices: column -> number of choices, categorical columns only.
        groups: conditional groups; other columns are always active.
        fidelity: column of the fidelity, None where it is not modelled.
    """

    d: int
    choices: tuple[tuple[int, int], ...] = ()
    groups: tuple[Group, ...] = ()
    fidelity: int | None = None

    @property
    def width(self) -> int:
        """D."""
        return self.d + len(self.groups) + (self.fidelity is not None)

    @classmethod
    def of(cls, space: SearchSpace, *, conditional: bool = True, fidelity: bool = False) -> "Layout":
        """The layout of a space; without `conditional` inactive parameters count as standing at their middle."""
        choices = tuple(
            (j, len(parameter.choices))
            for j, name in enumerate(space.searched)
            if isinstance(parameter := space.parameters[name], Categorical)
        )
        members: dict[frozenset[str], list[int]] = {}
        for j, name in enumerate(space.searched):
            if conditional and (key := _conditions(space, name)):
                members.setdefault(key, []).append(j)
        d = space.dimensions
        groups = tuple(Group(tuple(columns), d + i) for i, columns in enumerate(members.values()))
        return cls(d, choices, groups, d + len(groups) if fidelity else None)


def _conditions(space: SearchSpace, name: str) -> frozenset[str]:
    """Texts of all conditions that must hold for `name` to be active: its own and those of what they use."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        condition = space.conditions.get(current)
        if condition is not None and condition.text not in found:
            found.add(condition.text)
            waiting.extend(space.parents(current))
    return frozenset(found)


class Domain:
    """The space as the maximiser of an acquisition needs it: from encoded columns to points that can be run.

    Attributes:
        space: the search space.
        layout: of its points.
        bins: (d,) number of values of each column, 0 where continuous.
        discrete: columns whose values are tried one by one.
        relaxed: columns that gradients move.
    """

    def __init__(self, space: SearchSpace, layout: Layout) -> None:
        self.space, self.layout = space, layout
        parameters = [
            p for p in space.parameters.values() if isinstance(p, Float | Int | Categorical | Ordinal)
        ]
        self.bins = np.array([p.n_values or 0 for p in parameters], dtype=np.int64)
        categorical = {j for j, _ in layout.choices}
        few = [j for j, n in enumerate(self.bins) if j in categorical or 0 < n <= FEW_VALUES]
        self.discrete = tuple(j for j in few if self.bins[j] > 1)
        self.relaxed = tuple(j for j in range(layout.d) if j not in few)
        self._parameters = parameters
        self._everything: np.ndarray | None = None
        # Rounding a Float to its twelve digits moves no model; a finite kind must stand on one of its values.
        self._snapped = tuple(j for j, n in enumerate(self.bins) if n)
        self.plain = not space.conditions and not space.require and not _can_fail(space)

    def values(self, column: int) -> np.ndarray:
        """(n,) unit values of a discrete column, in order."""
        n = int(self.bins[column])
        parameter = self._parameters[column]
        if getattr(parameter, "log", False):
            whole = range(int(getattr(parameter, "low", 0)), int(getattr(parameter, "high", 0)) + 1)
            return np.asarray(parameter.to_unit_array(list(whole)))
        return (np.arange(n) + 0.5) / n

    def snap(self, U: np.ndarray) -> np.ndarray:
        """(n, d) the same columns with finite kinds moved to their nearest value."""
        U = np.clip(U, 0.0, 1.0)
        for j in self._snapped:
            parameter = self._parameters[j]
            U[:, j] = parameter.to_unit_array(parameter.from_unit_array(U[:, j]))
        return U

    def realise(self, U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, D) at which `U` (n, d) would be run, and (n,) bool whether they may be."""
        if self.plain:
            return self._widen(self.snap(U), []), np.ones(len(U), dtype=bool)
        configs = self.space.decode_feasible(U)
        legal = np.array([config is not None for config in configs], dtype=bool)
        points = np.full((len(U), self.layout.width), 0.5)
        if legal.any():
            points[legal] = self.points([config for config in configs if config is not None])
        return points, legal

    def points(self, configs: Sequence[Config]) -> np.ndarray:
        """(n, D) points of configurations, at full fidelity."""
        return self._widen(self.space.encode(configs), configs)

    def _widen(self, U: np.ndarray, configs: Sequence[Config]) -> np.ndarray:
        layout = self.layout
        points = np.ones((len(U), layout.width))
        points[:, : layout.d] = U
        if layout.groups:
            active = self.space.active(configs)
            for group in layout.groups:
                points[:, group.flag] = active[:, group.columns[0]]
        return points

    def config(self, u: np.ndarray) -> dict[str, Value]:
        """The configuration at one row of encoded columns."""
        return self.space.decode(u[None, : self.layout.d])[0]

    def everything(self, most: int) -> np.ndarray | None:
        """(n, d) encoded columns of all configurations where there are at most `most` combinations, else None."""
        if self.space.size is None or self.space.size > most:
            return None
        if self._everything is None:
            # A point for each value, however many there are: the grid must not thin out any column.
            configs = [config for config in self.space.grid(most) if config is not None]
            self._everything = np.asarray(self.space.encode(configs))
        return self._everything

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """(n, d) random encoded columns; subspaces that sample themselves are asked to."""
        if any(group.subspace.sample is not None for group in self.space.groups):
            return np.asarray(self.space.encode(self.space.sample(rng, n)))
        return rng.random((n, self.layout.d))


def _can_fail(space: SearchSpace) -> bool:
    """Whether some expression of the space may be impossible to evaluate."""
    return any(hasattr(parameter, "expr") for parameter in space.parameters.values())
