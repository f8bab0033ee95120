"""Which configurations a study has not tried yet."""

from collections.abc import Hashable, Iterator

import numpy as np

from autosearch.core.history import History
from autosearch.space import Config, SearchSpace, Value

_DRAWS = 64  # random tries before a finite space is gone through cell by cell
_CELLS = 1_000_000  # a grid with more cells is not gone through: about 20 s


class Tried:
    """The keys of all configurations in a history; keeps those of earlier calls, by identity."""

    def __init__(self) -> None:
        self._known: tuple[SearchSpace | None, list[tuple[Config, Hashable]]] = (None, [])

    def keys(self, history: History) -> set[Hashable]:
        """`space.key` of every trial, in any state."""
        space, known = self._known
        if space is not history.problem.space:
            space, known = history.problem.space, []
        fresh = []
        for i, trial in enumerate(history):
            same = i < len(known) and known[i][0] is trial.config
            fresh.append(known[i] if same else (trial.config, space.key(trial.config)))
        self._known = (space, fresh)
        return {key for _, key in fresh}


def draw_unseen(
    space: SearchSpace, rng: np.random.Generator, tried: set[Hashable]
) -> dict[str, Value] | None:
    """A random feasible configuration whose key is not in `tried`; None if the space has, or seems to have, none.

    A finite space is gone through to its end. One of over a million combinations counts as exhausted when 2,000
    random configurations were all tried before: then the untried ones make up less than 1 % of it.

    Raises:
        SpaceError: hardly any configuration meets the constraints.
    """
    for _ in range(_DRAWS):
        config = space.sample(rng, 1)[0]
        if space.key(config) not in tried:
            return config
    if space.size is None or space.size > _CELLS:
        rest: Iterator[dict[str, Value] | None] = iter(space.sample(rng, 2_000))
    else:
        most = max((space.parameters[name].n_values or 1 for name in space.searched), default=1)  # type: ignore[union-attr]
        grid = space.grid(most)
        start = int(rng.integers(grid.cells))
        rest = (grid[(start + k) % grid.cells] for k in range(grid.cells))
    return next((c for c in rest if c is not None and space.key(c) not in tried), None)
