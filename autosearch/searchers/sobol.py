"""Sobol search: the feasible points of one scrambled Sobol sequence, in order."""

import threading

import numpy as np
from scipy.stats import qmc

from autosearch.core.errors import OptionError
from autosearch.core.history import History
from autosearch.core.records import Problem, Suggestion
from autosearch.core.seeds import derive_rng
from autosearch.searchers.random import random_suggestion
from autosearch.space import Config, SearchSpace
from autosearch.space.sampling import assemble

_BLOCK = 64  # a power of two, for which the sequence is balanced
_PATIENCE = 20_000  # points looked at before the feasible share may end the sequence: under half a second
_SHARE = 0.01  # below it the feasible points of a sequence are no better spread than random ones


class SobolSearcher:
    """Evenly spread feasible configurations: trial `k` gets the `k`-th feasible point of a Sobol sequence.

    The sequence is scrambled by the study's seed (Owen 1998), so the configuration depends on seed and number alone;
    trials that came from elsewhere use up their number's point. Where fewer than 1 % of the points are feasible,
    later trials are random ones and their `info` says so. Repeats itself in a finite space.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # suggestions may be prepared in a thread beside the caller's
        self._sequence: SobolSequence | None = None

    def check(self, problem: Problem) -> None:
        """Raises OptionError for a space of more parameters than a Sobol sequence has dimensions."""
        if problem.space.dimensions > qmc.Sobol.MAXDIM:
            raise OptionError(
                f"sobol: works on at most {qmc.Sobol.MAXDIM:,} parameters, the space has "
                f"{problem.space.dimensions:,}. Use `random`.",
                "searcher",
            )

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """`n` suggestions; the one for trial `k` depends on the seed and `k` only.

        Raises:
            SpaceError: hardly any configuration meets the constraints.
        """
        first = len(history)
        return [self.suggestion(history.problem, first + i) for i in range(n)]

    def suggestion(self, problem: Problem, number: int) -> Suggestion:
        """What trial `number` runs, whatever happened before it."""
        with self._lock:
            known = self._sequence
            if known is None or known.space is not problem.space or known.seed != problem.seed:
                self._sequence = known = SobolSequence(problem.space, problem.seed)
            config = known.feasible(number)
        if config is not None:
            return Suggestion(config, info={"reason": "sobol"})
        return random_suggestion(problem, number, f"random: under {_SHARE:.0%} of Sobol points are feasible")


class SobolSequence:
    """The feasible points of the sequence of one space and seed, found as they are asked for."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space, self.seed = space, seed
        self._found: list[Config] = []
        self._looked_at = 0
        self._engine = None
        if space.dimensions:
            self._engine = qmc.Sobol(space.dimensions, scramble=True, seed=derive_rng(seed, "sobol"))

    def feasible(self, k: int) -> Config | None:
        """The `k`-th feasible configuration, None if the feasible share is too small to go on to it."""
        while len(self._found) <= k:
            if self._looked_at >= _PATIENCE + len(self._found) / _SHARE:
                return None
            points = np.zeros((_BLOCK, 0)) if self._engine is None else self._engine.random(_BLOCK)
            self._found += [config for config in self._configs(points) if config is not None]
            self._looked_at += _BLOCK
        return self._found[k]

    def _configs(self, points: np.ndarray) -> list[dict] | list[dict | None]:  # type: ignore[type-arg]
        """Configurations at points (n, d), None where infeasible; subspaces that sample themselves do so."""
        space = self.space
        drawn = [group for group in space.groups if group.subspace.sample is not None]
        if not drawn:
            return space.decode_feasible(points)
        columns = [
            space.parameters[name].from_unit_array(points[:, j])  # type: ignore[union-attr]
            for j, name in enumerate(space.searched)
        ]
        configs = []
        for i, row in enumerate(zip(*columns, strict=True)):
            values = dict(zip(space.searched, row, strict=True))
            rng = derive_rng(self.seed, "sobol", self._looked_at + i)
            for group in drawn:
                if group.subspace.sample is not None:
                    values |= group.outer(group.subspace.sample(rng))
            config = assemble(space, values)
            configs.append(config if config is not None and space.satisfies(config) else None)
        return configs
