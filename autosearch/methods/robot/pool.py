"""The architectures among which RoBoT chooses, and what is known of each before it is trained.

A study searches architectures (parameters under `architecture.`, or all of them) and perhaps other parameters. The
pool holds every distinct architecture of a space that can be counted, else a sample of it. It depends on the space
alone: scores in the record fit it whatever the study's seed is.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from autosearch.core.seeds import derive_rng
from autosearch.space import Categorical, Config, Ordinal, Searched, SearchSpace, Value

_DRAWS_IN_A_ROW = 1000  # without a new architecture, before a space counts as exhausted


@dataclass(frozen=True)
class Parts:
    """A space taken apart: architectures, and the rest of what is searched (None without).

    Attributes:
        whole: the space of the study.
        architectures: the parameters of architectures, a space of its own.
        others: the others.
    """

    whole: SearchSpace
    architectures: SearchSpace
    others: SearchSpace | None

    @classmethod
    def of(cls, space: SearchSpace, place: str) -> "Parts":
        """Parameters under `place.` are the architecture; all are where there is none."""
        inside = {name for name in space.parameters if name.startswith(f"{place}.")}
        outside = [name for name in space.searched if name not in inside]
        if not inside or not outside:
            return cls(space, space, None)
        return cls(space, _part(space, inside), _part(space, set(space.parameters) - inside))

    def join(self, architecture: Config, rest: Config) -> dict[str, Value]:
        """A configuration of the study."""
        values = {n: v for n, v in {**rest, **architecture}.items() if n in self.whole.searched}
        return self.whole.complete(values)

    def architecture(self, config: Config) -> dict[str, Value]:
        """The architecture's part of a configuration."""
        return {name: value for name, value in config.items() if name in self.architectures.parameters}

    def rest(self, config: Config) -> dict[str, Value]:
        """What is searched besides."""
        known = self.others.parameters if self.others is not None else {}
        return {name: value for name, value in config.items() if name in known}


def _part(space: SearchSpace, names: set[str]) -> SearchSpace:
    """The parameters `names` with their subspaces' own moves, and the constraints that speak of them alone.

    Raises:
        SpaceError: a condition among them needs a parameter outside.
    """
    definition: dict[str, Any] = {}
    for name, parameter in space.parameters.items():
        if name not in names:
            continue
        group = next((g for g in space.groups if name in g.names.values()), None)
        if group is None:
            definition[name] = parameter
        else:
            definition.setdefault(group.place, group.subspace)
            if space.parameters[name] != group.subspace.parameters.get(_inner(group.place, name)):
                definition[name] = parameter
    own = [text.text for text in space.require if text.names <= names]
    known = {text.text for text in SearchSpace(definition).require}
    return SearchSpace(definition, [text for text in own if text not in known])


def _inner(place: str, name: str) -> str:
    return name.removeprefix(f"{place}.") if place else name


# -- the pool ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PoolSize:
    """Spaces of at most `limit` combinations are a pool as a whole, of larger ones `sample` architectures are."""

    limit: int
    sample: int


@dataclass(frozen=True)
class Pool:
    """Distinct architectures in a fixed order.

    Attributes:
        space: of architectures.
        configs: (N,) one configuration each; of equal functions the first in the order of the space.
        rows: key -> row.
        whole: whether these are all.
        size: that was asked for; None for a pool made otherwise.
    """

    space: SearchSpace
    configs: tuple[dict[str, Value], ...]
    rows: Mapping[Hashable, int]
    whole: bool
    size: PoolSize | None = None

    @classmethod
    def of(cls, space: SearchSpace, size: PoolSize) -> "Pool":
        """All architectures of a small space, else a sample of them."""
        if space.size is not None and space.size <= size.limit:
            most = max((_values(space, name) for name in space.searched), default=1)
            cells = (config for config in space.grid(most) if config is not None)
            found: dict[Hashable, dict[str, Value]] = {}
            for config in cells:
                found.setdefault(space.key(config), config)
            return cls._made(space, found, size, whole=True)
        found, misses = {}, 0
        rng = derive_rng(0, "robot", "pool")
        while len(found) < size.sample and misses < _DRAWS_IN_A_ROW:
            [config] = space.sample(rng, 1)
            key = space.key(config)
            misses = misses + 1 if key in found else 0
            found.setdefault(key, config)
        return cls._made(space, found, size, whole=misses >= _DRAWS_IN_A_ROW)

    @classmethod
    def _made(
        cls, space: SearchSpace, found: Mapping[Hashable, dict[str, Value]], size: PoolSize, *, whole: bool
    ) -> "Pool":
        return cls(space, tuple(found.values()), {key: row for row, key in enumerate(found)}, whole, size)

    def __len__(self) -> int:
        return len(self.configs)


def _values(space: SearchSpace, name: str) -> int:
    parameter = space.parameters[name]
    return (parameter.n_values or 1) if isinstance(parameter, Searched) else 1


def graph_features(space: SearchSpace, configs: Sequence[Config]) -> np.ndarray:
    """(n, F) what an encoding says of an architecture: choices one-hot, how often each is taken, numbers in [0, 1].

    Parameters with the same choices are taken for the same kind of place (edges, layers): their counts are features
    of their own, as in GRAF (Kadlecová et al. 2024, section 3), which finds that counts of operations say most.
    """
    encoded, active = space.encode(configs), space.active(configs)
    columns: list[np.ndarray] = []
    hot: dict[tuple[Value, ...], list[np.ndarray]] = {}
    for j, name in enumerate(space.searched):
        parameter = space.parameters[name]
        if isinstance(parameter, Categorical | Ordinal) and len(parameter.choices) > 1:
            indices = np.floor(encoded[:, j] * len(parameter.choices)).astype(int)
            one = np.eye(len(parameter.choices))[indices] * active[:, [j]]
            hot.setdefault(tuple(parameter.choices), []).append(one)
        if not isinstance(parameter, Categorical):
            columns.append(encoded[:, [j]])
    for blocks in hot.values():
        columns += blocks
        if len(blocks) > 1:
            columns.append(np.sum(blocks, axis=0))
    return np.concatenate(columns, axis=1) if columns else np.zeros((len(configs), 0))


def imputed(known: np.ndarray, Z: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """(k, M) scores of architectures outside of the pool, from those of the pool by their features.

    Kernel ridge regression with a squared-exponential kernel of unit mean distance: scores are smooth in the
    architecture, and thousands of pairs are at hand.

    Args:
        known: (n, F) features in the pool; a regular part of at most 1,000 is used.
        Z: (n, M) their scores.
        unknown: (k, F).
    """
    if not len(unknown) or not Z.shape[1]:
        return np.zeros((len(unknown), Z.shape[1]))
    every = max(1, len(known) // 1000)
    X, targets = known[::every], Z[::every]
    unit = 2.0 * float(X.var(axis=0).sum()) or 1.0

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
        return np.asarray(np.exp(-squares / (2.0 * unit)))

    mean = targets.mean(axis=0)
    solved = np.linalg.solve(kernel(X, X) + 1e-2 * np.eye(len(X)), targets - mean)
    return np.asarray(mean + kernel(unknown, X) @ solved)


def consecutive(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers as (first, last)."""
    runs = (list(run) for _, run in groupby(enumerate(sorted(rows)), lambda pair: pair[1] - pair[0]))
    return [(run[0][1], run[-1][1]) for run in runs]
