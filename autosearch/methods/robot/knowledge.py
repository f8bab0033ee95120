"""What a study knows of its architectures before and while it trains them, in the form that the arms read."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autosearch.core import History
from autosearch.core.seeds import derive_rng
from autosearch.methods.robot.modern import Candidates
from autosearch.methods.robot.normalise import consensus, informative, normalised
from autosearch.methods.robot.pool import Parts, Pool, PoolSize, graph_features, imputed
from autosearch.methods.robot.results import order_of
from autosearch.methods.robot.scoring import STAGE, read_scores, recorded_size
from autosearch.space import Config, SearchSpace, Value

_NEAR = 5  # best architectures whose neighbours are candidates where the pool is not all there is
_EACH = 24  # neighbours of each
_SHORT = 150  # architectures that are combined with other parameters
_REST = 12  # settings of the other parameters that they are combined with


@dataclass(frozen=True)
class Knowledge:
    """The pool with its scores.

    Attributes:
        parts: of the space.
        pool: the architectures.
        S: (N, M) scores as recorded, NaN where one is missing; columns without information are left out.
        names: of the metrics.
        notes: on what is missing.
    """

    parts: Parts
    pool: Pool
    S: np.ndarray
    names: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, parts: Parts, pool: Pool, history: History) -> "Knowledge":
        """From the scoring stage of a study; without it, there are no scores."""
        if STAGE not in history.stages:
            return cls(parts, pool, np.zeros((len(pool), 0)), (), ("no scores: the stage has not run",))
        S, names, notes = read_scores(history.stages[STAGE], len(pool))
        useful = informative(S)
        same = [name for name, use in zip(names, useful, strict=True) if not use]
        if same:
            notes.append(f"the same for all, or missing: {', '.join(same)}")
        kept = tuple(name for name, use in zip(names, useful, strict=True) if use)
        return cls(parts, pool, S[:, useful], kept, tuple(notes))

    @cached_property
    def G(self) -> np.ndarray:  # noqa: N802 - the symbol
        """(N, F) features of the pool."""
        return graph_features(self.parts.architectures, self.pool.configs)

    @cached_property
    def views(self) -> np.ndarray:
        """(N, 2 M + 1): normal quantiles, logarithms in [0, 1], rank average."""
        average = consensus(normalised(self.S, "rank"))[:, None]
        return np.concatenate([normalised(self.S, "gauss"), normalised(self.S, "log"), average], axis=1)

    @cached_property
    def architectures(self) -> Candidates:
        """The pool as candidates, whatever else is searched."""
        return self._candidates(self.views, self.G)

    @cached_property
    def _whole(self) -> "Field":
        return Field.of(list(self.pool.configs), self.parts.whole, self.architectures)

    def _candidates(self, views: np.ndarray, G: np.ndarray) -> Candidates:
        m = len(self.names)
        return Candidates(views[:, :m], views[:, m : 2 * m], views[:, -1], G, self.names)

    def opening(self, row: int) -> dict[str, Value]:
        """The configuration with architecture `row` of the pool and the usual setting of everything else."""
        others = self.parts.others
        rest = {} if others is None else others.complete(others.start)
        return self.parts.join(self.pool.configs[row], rest)

    def field(self, history: History, results: dict[int, np.ndarray]) -> "Field":
        """What may be trained next, and all that was."""
        numbers = list(results)
        best = [numbers[place] for place in order_of(np.array(list(results.values())))]
        tried = [trial.config for trial in history]
        seed = (history.problem.seed, len(history))
        if self.parts.others is None:
            near = [] if self.pool.whole else self._near([history[number].config for number in best], seed)
            fresh = self._outside([*tried, *near])
            if not fresh:
                return self._whole
            views, G = self._described(fresh)
            candidates = self._candidates(np.vstack([self.views, views]), np.vstack([self.G, G]))
            return Field.of([*self.pool.configs, *fresh], self.parts.whole, candidates)
        return self._joined([history[number].config for number in best], tried, seed)

    def _outside(self, configs: Sequence[Config]) -> list[dict[str, Value]]:
        """Distinct architectures among `configs` that the pool does not hold."""
        space = self.parts.architectures
        found: dict[Hashable, dict[str, Value]] = {}
        for config in map(self.parts.architecture, configs):
            key = space.key(config)
            if key not in self.pool.rows:
                found.setdefault(key, config)
        return list(found.values())

    def _near(self, best: Sequence[Config], seed: tuple[int, int]) -> list[dict[str, Value]]:
        """Neighbours of the best architectures."""
        space = self.parts.architectures
        rng = derive_rng(seed[0], "robot", "near", seed[1])
        distinct = {space.key(a): a for a in map(self.parts.architecture, best)}
        return [n for a in list(distinct.values())[:_NEAR] for n in space.neighbours(a, rng, _EACH)]

    def _described(self, architectures: Sequence[Config]) -> tuple[np.ndarray, np.ndarray]:
        """Views and features of architectures; outside of the pool scores are inferred from the features."""
        space = self.parts.architectures
        rows = [self.pool.rows.get(space.key(a), -1) for a in architectures]
        views = np.zeros((len(rows), self.views.shape[1]))
        inside = [i for i, row in enumerate(rows) if row >= 0]
        outside = [i for i, row in enumerate(rows) if row < 0]
        G = graph_features(space, architectures)
        views[inside] = self.views[[rows[i] for i in inside]]
        views[outside] = imputed(self.G, self.views, G[outside])
        return views, G

    def _joined(self, best: Sequence[Config], tried: Sequence[Config], seed: tuple[int, int]) -> "Field":
        """Promising architectures, each with several settings of the other parameters; first all that was tried."""
        whole, others = self.parts.whole, self.parts.others
        if others is None:
            raise TypeError("nothing but architectures is searched")
        rng = derive_rng(seed[0], "robot", "joined", seed[1])
        architectures = self._short(best, rng, seed)
        rests = [others.complete(others.start), *map(self.parts.rest, best[:2])]
        rests += [n for config in best[:2] for n in others.neighbours(self.parts.rest(config), rng, 3)]
        rests += others.sample(rng, max(0, _REST - len(rests)))
        made = [self.parts.join(a, rest) for a in architectures for rest in rests]
        configs = [dict(config) for config in tried] + [c for c in made if whole.satisfies(c)]
        views, G = self._described([self.parts.architecture(config) for config in configs])
        beside = graph_features(others, [self.parts.rest(config) for config in configs])
        return Field.of(configs, whole, self._candidates(views, np.hstack([G, beside])))

    def _short(
        self, best: Sequence[Config], rng: np.random.Generator, seed: tuple[int, int]
    ) -> list[dict[str, Value]]:
        """Architectures worth combining: the best ones, their neighbours, the ends of rankings, some at random."""
        space = self.parts.architectures
        near = self._near(best, seed)
        ends = [int(row) for column in self.views.T for row in (column.argmax(), column.argmin())]
        drawn = rng.permutation(len(self.pool))[:_SHORT].tolist()
        chosen = [self.pool.configs[row] for row in dict.fromkeys([*ends, *drawn])]
        found = {space.key(a): a for a in [*map(self.parts.architecture, best[:_NEAR]), *near, *chosen]}
        return list(found.values())[:_SHORT]


@dataclass(frozen=True)
class Field:
    """Candidates with the configurations that they stand for.

    Attributes:
        configs: (N,) of the study's space.
        rows: key -> first row.
        candidates: the same as numbers.
    """

    configs: list[dict[str, Value]]
    rows: dict[Hashable, int]
    candidates: Candidates

    @classmethod
    def of(cls, configs: list[dict[str, Value]], space: SearchSpace, candidates: Candidates) -> "Field":
        """Of equal configurations the first is meant."""
        rows: dict[Hashable, int] = {}
        for row, config in enumerate(configs):
            rows.setdefault(space.key(config), row)
        return cls(configs, rows, candidates)


class Memory:
    """Knowledge of the studies seen last, by identity of what it is made from: a cache and nothing more.

    Args:
        place: the name under which the architecture stands in the space.
        limit: spaces of at most so many combinations are a pool as a whole; None: as the objective allows.
        sample: architectures of the pool of a larger one; None: as the objective allows.
    """

    def __init__(self, place: str, limit: int | None, sample: int | None) -> None:
        self._place, self._limit, self._sample = place, limit, sample
        self._parts: tuple[SearchSpace, Parts] | None = None
        self._pool: tuple[SearchSpace, PoolSize | None, Pool] | None = None
        self._knowledge: tuple[Pool, int, Knowledge] | None = None

    def parts(self, space: SearchSpace) -> Parts:
        """A space taken apart."""
        if self._parts is None or self._parts[0] is not space:
            self._parts = (space, Parts.of(space, self._place))
        return self._parts[1]

    def size(self, *, read: bool) -> PoolSize:
        """The size of a pool whose scores are read from a table, or whose networks are built and run."""
        usual = PoolSize(20_000, 2_000) if read else PoolSize(200, 200)
        sample = usual.sample if self._sample is None else self._sample
        limit = usual.limit if read or self._sample is None else sample
        return PoolSize(limit if self._limit is None else self._limit, sample)

    def pool(self, space: SearchSpace, size: PoolSize) -> Pool:
        """The pool of a space's architectures."""
        known = self._pool
        if known is None or known[0] is not space or known[1] not in (None, size):
            self._pool = known = (space, size, Pool.of(self.parts(space).architectures, size))
        return known[2]

    def scored(self, history: History) -> Pool:
        """The pool that the scoring stage recorded scores of; that of a table where it recorded none."""
        stage = history.stages.get(STAGE)
        return self.pool(history.problem.space, (stage and recorded_size(stage)) or self.size(read=True))

    def hold(self, space: SearchSpace, pool: Pool) -> None:
        """Take `pool` for the architectures of `space`: where only a part of them can be trained, or to share it."""
        self._pool = (space, None, pool)

    def knowledge(self, history: History) -> Knowledge:
        """What the study knows of its architectures."""
        parts, pool = self.parts(history.problem.space), self.scored(history)
        events = history.stages[STAGE].events if STAGE in history.stages else -1
        known = self._knowledge
        if known is None or known[0] is not pool or known[1] != events:
            self._knowledge = known = (pool, events, Knowledge.of(parts, pool, history))
        return known[2]
