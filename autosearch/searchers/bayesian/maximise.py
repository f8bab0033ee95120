"""The configuration of highest acquisition value that may be run and was not run before.

A broad random sample and perturbations of good points give starts; each is improved by turns: gradients move the
numeric columns, single changes move the discrete ones. What is judged in the end is always a point that can be run.

Symbols: U (n, d) encoded columns, points (n, D), see layout; a *start* is a row of U.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import torch
from botorch.optim.batched_lbfgs_b import fmin_l_bfgs_b_batched

from autosearch.searchers.bayesian.acquisition import Acquisition
from autosearch.searchers.bayesian.layout import Domain
from autosearch.space import Value

_RANDOM = 512
_NEAR = 256
_STARTS = 6
_ROUNDS = 3
_CHUNK = 512
_ITERATIONS = 40
_ENUMERATED = 1024  # a space of at most so many combinations is judged as a whole
_SCANNED = 200_000  # combinations looked through for a free one where sampling finds none
_ALTERNATIVES = 16  # values of one column tried in one step


@dataclass(frozen=True, slots=True)
class Choice:
    """A configuration, its point (D,) and its acquisition value."""

    config: dict[str, Value]
    point: np.ndarray
    value: float


class _Pool:
    """Every point judged so far with its value."""

    def __init__(self) -> None:
        self.U: list[np.ndarray] = []
        self.points: list[np.ndarray] = []
        self.values: list[np.ndarray] = []

    def add(self, U: np.ndarray, points: np.ndarray, values: np.ndarray) -> None:
        self.U.append(U)
        self.points.append(points)
        self.values.append(values)


class Maximiser:
    """Maximises acquisitions over one domain.

    Args:
        domain: what may be run.
        good: (k, d) encoded columns of the best configurations so far, best first.
        taken: whether a configuration's identity must not be given again.
        rng: of every draw.
    """

    def __init__(
        self, domain: Domain, good: np.ndarray, taken: Callable[[Hashable], bool], rng: np.random.Generator
    ) -> None:
        self.domain, self.good, self.taken, self.rng = domain, good, taken, rng

    def best(self, acquisition: Acquisition) -> Choice | None:
        """The choice, None where every configuration is taken."""
        pool = _Pool()
        everything = self.domain.everything(_ENUMERATED)
        if everything is not None:
            self._judge(everything, acquisition, pool)
            return self._choose(pool)
        starts = self._starts(acquisition, pool)
        moved = np.ones(len(starts), dtype=bool)
        for _ in range(_ROUNDS if self.domain.discrete else 1):
            starts[moved] = self._climb(starts[moved], acquisition, pool)
            stepped = self._step(starts, acquisition, pool)
            # Gradients have nothing left to do where no discrete column changed.
            moved = (stepped != starts).any(axis=1)
            starts = stepped
            if not moved.any():
                break
        return self._choose(pool) or self._free(acquisition)

    # -- judging -------------------------------------------------------------------------------------------

    def _judge(self, U: np.ndarray, acquisition: Acquisition, pool: _Pool) -> np.ndarray:
        """(n,) values at rows of U, -inf where they may not be run; all go to the pool."""
        points, legal = self.domain.realise(U)
        values = np.full(len(U), -np.inf)
        rows = np.flatnonzero(legal)
        with torch.no_grad():
            for i in range(0, len(rows), _CHUNK):
                part = rows[i : i + _CHUNK]
                values[part] = acquisition(torch.from_numpy(points[part])).numpy()
        values[np.isnan(values)] = -np.inf
        pool.add(U, points, values)
        return values

    # -- starts --------------------------------------------------------------------------------------------

    def _starts(self, acquisition: Acquisition, pool: _Pool) -> np.ndarray:
        """The best points of a random sample, apart from each other."""
        U = np.concatenate([self.domain.draw(self.rng, _RANDOM), self._near()])
        values = self._judge(U, acquisition, pool)
        if np.isfinite(values).sum() < _STARTS:
            # Constraints leave little room: let the space find points within them.
            rare = self.domain.space.encode(self.domain.space.sample(self.rng, 8 * _STARTS))
            U, values = np.concatenate([U, rare]), np.append(values, self._judge(rare, acquisition, pool))
        order = np.argsort(-values, kind="stable")
        chosen: list[int] = []
        for i in order:
            if not np.isfinite(values[i]) or len(chosen) == _STARTS:
                break
            gaps = np.abs(U[chosen] - U[i]).max(axis=1) if chosen else np.ones(1)
            # The second half of the starts must be clearly different from the first.
            if len(chosen) < 2 or gaps.min() > 0.1:
                chosen.append(int(i))
        return U[chosen]

    def _near(self) -> np.ndarray:
        """(n, d) perturbations of good points: few columns move, by steps of all sizes."""
        if not len(self.good):
            return np.empty((0, self.domain.layout.d))
        rng, d = self.rng, self.domain.layout.d
        rank = np.minimum(rng.geometric(0.35, _NEAR) - 1, len(self.good) - 1)
        U = self.good[rank].copy()
        moved = rng.random((_NEAR, d)) < max(0.3, min(1.0, 3.0 / d))
        moved[np.arange(_NEAR), rng.integers(d, size=_NEAR)] = True
        size = 10.0 ** rng.uniform(-2.5, -0.5, (_NEAR, 1))
        step = np.abs(U + size * rng.standard_normal((_NEAR, d))) % 2.0
        step = np.where(step > 1.0, 2.0 - step, step)
        fresh = rng.random((_NEAR, d))
        jump = np.zeros(d, dtype=bool)
        jump[list(self.domain.discrete)] = True
        return np.where(moved, np.where(jump, fresh, step), U)

    # -- improving -----------------------------------------------------------------------------------------

    def _climb(self, starts: np.ndarray, acquisition: Acquisition, pool: _Pool) -> np.ndarray:
        """Starts moved along gradients in their relaxed columns; each stays where that makes it no better."""
        columns = list(self.domain.relaxed)
        if not columns or not len(starts):
            return starts
        points, _ = self.domain.realise(starts)
        base = torch.from_numpy(points)

        def descend(x: np.ndarray, batch_indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
            moving = torch.tensor(x, dtype=torch.float64, requires_grad=True)
            full = base[batch_indices].clone()
            full[:, columns] = moving
            values = -acquisition(full)
            (gradient,) = torch.autograd.grad(values.sum(), moving)
            return values.detach().nan_to_num(1e10, 1e10, -1e10).numpy(), gradient.nan_to_num(0.0).numpy()

        found, _, _ = fmin_l_bfgs_b_batched(  # type: ignore[no-untyped-call]
            descend,
            points[:, columns],
            bounds=[(0.0, 1.0)] * len(columns),
            maxiter=_ITERATIONS,
            factr=1e9,
            pgtol=1e-4,
            maxls=10,
            pass_batch_indices=True,
        )
        # Along the way back, for where the end violates a constraint of the space.
        shares = (1.0,) if self.domain.plain else (1.0, 0.75, 0.5, 0.25, 0.1)
        old = np.stack([starts] * len(shares))
        new = old.copy()
        for i, share in enumerate(shares):
            new[i][:, columns] = (1 - share) * points[:, columns] + share * found
        return self._improved(starts, new.transpose(1, 0, 2), acquisition, pool)

    def _step(self, starts: np.ndarray, acquisition: Acquisition, pool: _Pool) -> np.ndarray:
        """Starts after the best single change of a discrete column each."""
        if not self.domain.discrete or not len(starts):
            return starts
        moves: list[np.ndarray] = []
        for j in self.domain.discrete:
            values = self.domain.values(j)
            if len(values) > _ALTERNATIVES:
                values = self.rng.choice(values, _ALTERNATIVES, replace=False)
            for value in values:
                changed = starts.copy()
                changed[:, j] = value
                moves.append(changed)
        return self._improved(starts, np.stack(moves, axis=1), acquisition, pool)

    def _improved(
        self, starts: np.ndarray, moves: np.ndarray, acquisition: Acquisition, pool: _Pool
    ) -> np.ndarray:
        """For each start the best of itself and its moves (starts, k, d)."""
        options = np.concatenate([starts[:, None], moves], axis=1)
        s, k, d = options.shape
        values = self._judge(options.reshape(s * k, d), acquisition, pool).reshape(s, k)
        return np.asarray(options[np.arange(s), values.argmax(axis=1)])

    # -- choosing ------------------------------------------------------------------------------------------

    def _choose(self, pool: _Pool) -> Choice | None:
        U, points = np.concatenate(pool.U), np.concatenate(pool.points)
        values = np.concatenate(pool.values)
        order = np.argsort(-values, kind="stable")
        for i in order[np.isfinite(values[order])]:
            config = self.domain.config(U[i])
            if not self.taken(self.domain.space.key(config)):
                return Choice(config, points[i], float(values[i]))
        return None

    def _free(self, acquisition: Acquisition) -> Choice | None:
        """Any configuration that is not taken, the best of those found by looking through the whole space."""
        size = self.domain.space.size
        if size is None or size > _SCANNED:
            return None
        cells = self.domain.space.grid(_ENUMERATED)
        free = (c for c in cells if c is not None and not self.taken(self.domain.space.key(c)))
        found = [config for config, _ in zip(free, range(_RANDOM), strict=False)]
        if not found:
            return None
        pool = _Pool()
        self._judge(self.domain.space.encode(found), acquisition, pool)
        return self._choose(pool)


def any_free(
    domain: Domain, taken: Callable[[Hashable], bool], rng: np.random.Generator
) -> dict[str, Value] | None:
    """A random configuration that is not taken, None where there seems to be none.

    Raises:
        SpaceError: the constraints of the space seem unsatisfiable.
    """
    for config in domain.space.sample(rng, 64):
        if not taken(domain.space.key(config)):
            return config
    if domain.space.size is None or domain.space.size > _SCANNED:
        return None
    cells = domain.space.grid(_ENUMERATED)
    free = [c for c in cells if c is not None and not taken(domain.space.key(c))]
    return free[int(rng.integers(len(free)))] if free else None
