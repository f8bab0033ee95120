"""The stage that scores architectures before any is trained: a trial scores a block and records one table."""

import functools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from autosearch.core import (
    Budget,
    Decision,
    History,
    Job,
    Objective,
    OptionError,
    Progress,
    Stage,
    State,
)
from autosearch.core.seeds import derive_seed
from autosearch.methods.robot.pool import Pool, PoolSize
from autosearch.space import Config, Int, SearchSpace, nest

STAGE = "scores"
_TABLE_BLOCK = 2000  # rows of a table, about a second


@runtime_checkable
class Scored(Protocol):
    """An objective that knows training-free scores of its configurations (a table)."""

    def scores(self, config: Mapping[str, Any]) -> Mapping[str, float]:
        """Metric -> score of a nested configuration, NaN where there is none. Empty if it has no scores at all."""
        ...


@runtime_checkable
class BuildsNetworks(Protocol):
    """An objective that builds the network of a configuration and has the data for it (a training task)."""

    def with_config(self, config: Mapping[str, Any]) -> "BuildsNetworks": ...
    def load(self) -> Any: ...
    def network(self, data: Any) -> Any: ...


@dataclass(frozen=True)
class Scoring:
    """How networks are scored.

    Attributes:
        metrics: names of training-free metrics.
        batch: examples that they see, the same for every network.
        block: architectures that one trial scores; a block should last about half a minute.
    """

    metrics: tuple[str, ...]
    batch: int
    block: int


def scoring_stage(objective: Objective, pool: Pool, scoring: Scoring) -> Stage:
    """The stage that scores `pool` with what `objective` trains, or reads its scores where it is a table.

    Raises:
        OptionError: if the objective neither builds networks nor has scores.
    """
    read = isinstance(objective, Scored)
    if not read and not isinstance(objective, BuildsNetworks):
        raise OptionError(
            f"robot scores networks before it trains them, and {type(objective).__name__} builds none. Use a task that "
            "does (image_classification), or a table with `scores`.",
            "method",
        )
    block = _TABLE_BLOCK if read else scoring.block
    blocks = -(-len(pool) // block)
    space = SearchSpace({"block": Int(0, blocks - 1)})
    return Stage(STAGE, space, ScoreBlock(objective, pool, scoring, block), "grid", Budget(trials=blocks))


@dataclass(frozen=True)
class ScoreBlock:
    """One trial: the scores of a block of the pool, as a table in its data."""

    objective: Any
    pool: Pool
    scoring: Scoring
    block: int

    reusable = True

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        first = int(job.config["block"]) * self.block
        rows = range(first, min(first + self.block, len(self.pool)))
        score = self._scorer()
        columns: dict[str, list[float | None]] = {}
        reasons: dict[str, int] = {}
        for done, row in enumerate(rows):
            scores, why = score(self.pool.configs[row], row)
            for name in scores.keys() - columns.keys():
                columns[name] = [None] * done
            for name, column in columns.items():
                value = float(scores.get(name, np.nan))
                column.append(value if np.isfinite(value) else None)
            for text in why:
                reasons[text] = reasons.get(text, 0) + 1
        table = {name: columns[name] for name in sorted(columns)}
        size = None if self.pool.size is None else [self.pool.size.limit, self.pool.size.sample]
        data = {"first": first, "size": len(rows), "pool": size, "scores": table, "reasons": reasons}
        yield Progress({}, data=data)

    def _scorer(self) -> Callable[[Config, int], tuple[Mapping[str, float], list[str]]]:
        if isinstance(self.objective, Scored):
            objective = self.objective
            return lambda config, _: (objective.scores(nest(config)), [])
        task = cast(BuildsNetworks, self.objective)
        data = task.load().to(task.torch_device)  # type: ignore[attr-defined]
        inputs, targets = (part[: self.scoring.batch] for part in data.train)
        return functools.partial(_score_network, task, data, inputs, targets, self.scoring.metrics)


def _score_network(
    task: Any, data: Any, inputs: Any, targets: Any, metrics: Sequence[str], config: Config, row: int
) -> tuple[Mapping[str, float], list[str]]:
    """Scores of one network at its first weights, and why some are missing."""
    from autosearch.learning.random_state import RandomState
    from autosearch.methods.robot.metrics import score

    seed = derive_seed(0, "robot", "weights", row)
    with RandomState(seed).active():
        model = task.with_config(nest(config)).network(data).to(inputs.device)
    found = score(model, inputs, targets, metrics, seed=seed)
    return found, [f"{name}: {reason}" for name, reason in found.reasons.items()]


def recorded_size(stage: History) -> PoolSize | None:
    """The size of the pool whose scores a stage holds; None where it says nothing."""
    sizes = (trial.data["pool"] for trial in stage if trial.data.get("pool"))
    return next((PoolSize(*size) for size in sizes), None)


def read_scores(history: History, size: int) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """(N, M) scores of a pool of `size`, the metrics' names, and notes on what is missing.

    NaN where a block is not there (its trial failed, or has not ended), or a metric gave no value.
    """
    tables = [trial.data for trial in history if trial.state is State.COMPLETE and "scores" in trial.data]
    names = tuple(sorted({name for table in tables for name in table["scores"]}))
    S = np.full((size, len(names)), np.nan)
    known = np.zeros(size, dtype=bool)
    for table in tables:
        rows = slice(table["first"], min(size, table["first"] + table["size"]))
        known[rows] = True
        for name, column in table["scores"].items():
            values = [np.nan if value is None else value for value in column]
            S[rows, names.index(name)] = values[: rows.stop - rows.start]
    notes = []
    if not known.all():
        notes.append(f"{int((~known).sum())} of {size} architectures have no scores")
    failing = [name for name, column in zip(names, S.T, strict=True) if not np.isfinite(column).any()]
    if failing:
        notes.append(f"no architecture has a score by {', '.join(failing)}")
    return S, names, notes
