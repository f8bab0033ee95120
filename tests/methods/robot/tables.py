"""A small architecture space with scores and results, and studies that read them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autosearch.core import History, Problem, State, Study, Transition, Trial
from autosearch.methods.robot.pool import Parts, Pool, PoolSize
from autosearch.space import Categorical, Config, SearchSpace, Subspace, Value

EDGES = ("a", "b", "c", "d")
OPERATIONS = ("none", "skip", "conv", "pool")


def canonical(config: Config) -> tuple[Value, ...]:
    """Edge `b` is dead where `a` is none."""
    return tuple("none" if name == "b" and config["a"] == "none" else config[name] for name in EDGES)


CELL = Subspace({name: Categorical(OPERATIONS) for name in EDGES}, canonical=canonical)
SPACE = SearchSpace({"architecture": CELL})
POOL = Pool.of(Parts.of(SPACE, "architecture").architectures, PoolSize(1000, 10))


def worth(config: Config) -> float:
    """The result of an architecture: convolutions are good, and a skip on `d` beside them."""
    operations = [config[f"architecture.{name}"] for name in EDGES]
    good = operations.count("conv") + 1.5 * (operations[3] == "skip") - 0.5 * operations.count("pool")
    return float(good) if operations[0] != "none" else 0.0


RESULTS = np.array([worth(config) for config in POOL.configs])


def scores(columns: Mapping[str, np.ndarray], block: int = 100) -> History:
    """The history of a finished scoring stage."""
    n = len(POOL)
    blocks = [range(first, min(n, first + block)) for first in range(0, n, block)]
    trials = [
        Trial(
            number,
            {"block": number},
            State.COMPLETE,
            transitions=(Transition(2 * number, State.RUNNING), Transition(2 * number + 1, State.COMPLETE)),
            data={
                "first": rows[0],
                "size": len(rows),
                "scores": {
                    name: [float(v) if np.isfinite(v) else None for v in column[rows[0] : rows[-1] + 1]]
                    for name, column in columns.items()
                },
            },
        )
        for number, rows in enumerate(blocks)
    ]
    return History(Problem(SearchSpace({"block": list(range(len(blocks)))}), ()), trials)


def noisy_columns(seed: int = 0, sign: float = 1.0) -> dict[str, np.ndarray]:
    """Three scores: one that follows the results, one that opposes them, one of noise."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(3, len(POOL)))
    return {
        "good": sign * (RESULTS + 0.5 * noise[0]),
        "against": sign * (-RESULTS + noise[1]),
        "noise": sign * noise[2],
    }


def play(
    searcher: Any,
    stage: History | None,
    trials: int,
    *,
    seed: int = 0,
    space: SearchSpace = SPACE,
    fail: Sequence[int] = (),
) -> Study:
    """A study of `trials` trials that reads its results; those numbered in `fail` crash."""
    study = Study(space, {"acc": "maximize"}, searcher=searcher, budget={"trials": trials}, seed=seed)
    if stage is not None:
        study.history.stages = {"scores": stage}
    for trial in iter(lambda: study.next(1), []):
        if trial[0].number in fail:
            study.tell(trial[0], error="it crashed")
        else:
            study.tell(trial[0], {"acc": worth(trial[0].config)})
    return study
