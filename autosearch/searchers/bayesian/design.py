"""The initial design: the middle, then quasi-random points, functions of the study's seed and the trial's number."""

from collections.abc import Callable, Hashable

import numpy as np
import torch
from torch.quasirandom import SobolEngine

from autosearch.core import Problem
from autosearch.core.seeds import derive_rng, derive_seed
from autosearch.searchers.bayesian.layout import Domain
from autosearch.searchers.bayesian.maximise import any_free
from autosearch.space import Categorical, Value

_MOST_COLUMNS = SobolEngine.MAXDIM


def initial_size(problem: Problem) -> int:
    """How many trials belong to the initial design.

    Few: a model that is averaged over what it may be finds better places after a handful of points than chance does.
    A small budget must leave most trials to it, and the first trials of all workers start with no result to learn from.
    """
    d = problem.space.dimensions
    choices = [p for p in problem.space.parameters.values() if isinstance(p, Categorical)]
    # One choice says nothing about another, so each is tried about once.
    size = min(min(max(d + 2, 4), 8) + sum(len(p.choices) - 1 for p in choices), 12)
    if problem.budget.trials is not None:
        size = min(size, max(3, problem.budget.trials // 4))
    return max(size, problem.workers, 1)


def initial_config(
    problem: Problem, domain: Domain, number: int, taken: Callable[[Hashable], bool]
) -> dict[str, Value] | None:
    """The design's configuration for trial `number`; another random one where it is taken or may not be run.

    The first is the middle of the space, or its defaults: nearer to wherever the optimum is than most of the space,
    the more so the more parameters there are. None where the space is exhausted.

    Raises:
        SpaceError: the constraints of the space seem unsatisfiable.
    """
    d = domain.layout.d
    hooked = any(group.subspace.sample is not None for group in problem.space.groups)
    if 0 < d <= _MOST_COLUMNS and not hooked:
        if number == 0:
            middle = problem.space.decode_feasible(problem.space.encode([problem.space.start]))[0]
            if middle is not None and not taken(problem.space.key(middle)):
                return middle
        seed = derive_seed(problem.seed, "bayesian", "design") % 2**31
        engine = SobolEngine(d, scramble=True, seed=seed).fast_forward(number)  # type: ignore[no-untyped-call]
        U = engine.draw(1, dtype=torch.float64).numpy()
        config = problem.space.decode_feasible(U)[0]
        if config is not None and not taken(problem.space.key(config)):
            return config
    rng = derive_rng(problem.seed, "bayesian", "design", number)
    return any_free(domain, taken, rng)


def farthest(points: np.ndarray, most: int) -> np.ndarray:
    """Indices of `most` rows of `points` that cover them: each next one is farthest from those before."""
    chosen = [0]
    gap = np.square(points - points[0]).sum(axis=1)
    while len(chosen) < min(most, len(points)):
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, np.square(points - points[chosen[-1]]).sum(axis=1))
    return np.array(chosen)
