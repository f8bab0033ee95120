"""NAS-Bench-201 as arrays, and searches on it that go through the searchers but read instead of training."""

import csv
import gzip
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from autosearch.core import Goal, History, Problem, State, Study, Transition, Trial
from autosearch.methods.robot.pool import Parts, Pool, PoolSize
from autosearch.space import SearchSpace
from search_spaces.nasbench201 import EDGES, decode, encode, from_text, nasbench201

SCORES = (
    "epe_nas", "fisher", "flops", "grad_norm", "grasp", "jacov", "l2_norm", "nwot", "params", "plain", "snip",
    "synflow", "zen",
)  # fmt: skip
SPACE = SearchSpace({"architecture": nasbench201()})
PLACES = 5 ** np.arange(len(EDGES))


@cache
def data() -> dict[str, np.ndarray]:
    with np.load(Path(os.environ["AUTOSEARCH_DATA"]) / "nas" / "nasbench201.npz") as archive:
        return {name: archive[name] for name in archive.files}


@cache
def _rows() -> np.ndarray:
    """Row of each code."""
    codes = data()["ops"].astype(int) @ PLACES
    rows = np.empty(len(codes), dtype=int)
    rows[codes] = np.arange(len(codes))
    return rows


def row_of(config: dict[str, object]) -> int:
    """Row of the benchmark that holds a configuration."""
    plain = {name.removeprefix("architecture."): value for name, value in config.items()}
    return int(_rows()[int(np.array(encode(plain)) @ PLACES)])


@dataclass(frozen=True)
class Ground:
    """A pool with scores, in which searches are played.

    Attributes:
        pool: the architectures.
        scores: metric -> (N,) in the order of the pool.
    """

    pool: Pool
    scores: dict[str, np.ndarray]

    @cached_property
    def rows(self) -> np.ndarray:
        """(N,) rows of the benchmark."""
        return np.array([row_of(config) for config in self.pool.configs])

    @cached_property
    def stage(self) -> History:
        """What the scoring stage records."""
        table = {n: [float(v) if np.isfinite(v) else None for v in c] for n, c in self.scores.items()}
        end = (Transition(0, State.RUNNING), Transition(1, State.COMPLETE))
        content = {"first": 0, "size": len(self.pool), "scores": table}
        trial = Trial(0, {"block": 0}, State.COMPLETE, transitions=end, data=content)
        return History(Problem(SearchSpace({"block": [0]}), ()), [trial])


@cache
def everything() -> Ground:
    """All architectures, with their scores on CIFAR-10."""
    pool = Pool.of(Parts.of(SPACE, "architecture").architectures, PoolSize(20_000, 0))
    rows = np.array([row_of(config) for config in pool.configs])
    return Ground(pool, {name: data()[f"c10_{name}"][rows].astype(float) for name in SCORES})


def negated(ground: Ground) -> Ground:
    """The same with every score's sign turned."""
    return Ground(ground.pool, {name: -column for name, column in ground.scores.items()})


@cache
def cifar100_scored() -> Ground:
    """The architectures that were scored on CIFAR-100 itself; equal functions once."""
    path = Path(os.environ["AUTOSEARCH_DATA"]) / "nas" / "nasbench201_c100_zc725.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        lines = list(csv.DictReader(file))
    space = Parts.of(SPACE, "architecture").architectures
    found: dict[object, tuple[dict, dict]] = {}
    for line in lines:
        cell = from_text(line["arch"]) if "arch" in line else decode([int(d) for d in line["ops"]])
        config = space.complete({f"architecture.{edge}": cell[edge] for edge in EDGES})
        found.setdefault(space.key(config), (config, line))
    configs = tuple(config for config, _ in found.values())
    pool = Pool(space, configs, {key: row for row, key in enumerate(found)}, whole=True)
    names = [name for name in lines[0] if name.removeprefix("c100_") in SCORES]
    scores = {
        name.removeprefix("c100_"): np.array([float(line[name] or "nan") for _, line in found.values()])
        for name in names
    }
    return Ground(pool, scores)


def play(
    searcher: object, ground: Ground, columns: Sequence[str], goals: Sequence[Goal], trials: int, seed: int
) -> list[int]:
    """Rows of the benchmark in the order in which a search reads them."""
    study = Study(SPACE, list(goals), searcher=searcher, budget={"trials": trials}, seed=seed)
    study.history.stages = {"scores": ground.stage}
    read = []
    while started := study.next(1):
        row = row_of(dict(started[0].config))
        read.append(row)
        study.tell(
            started[0], {goal.metric: float(data()[c][row]) for goal, c in zip(goals, columns, strict=True)}
        )
    return read
