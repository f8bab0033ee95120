"""The scoring stage: what it records, that it goes on where it was left, and what it refuses."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autosearch.core import (
    Goal,
    History,
    Job,
    OptionError,
    Problem,
    RunSettings,
    State,
    Study,
    Transition,
    Trial,
)
from autosearch.core.plugins import build
from autosearch.core.stages import run_stages
from autosearch.methods.robot.pool import Pool, PoolSize
from autosearch.methods.robot.scoring import Scoring, read_scores, scoring_stage
from autosearch.methods.robot.searcher import RobotSearcher
from autosearch.methods.robot.top_k import TopKSearcher
from autosearch.runners.inline import InlineRunner
from autosearch.space import Categorical, SearchSpace, nest
from autosearch.tasks.image_classification import ImageClassification
from autosearch.tasks.table import TableTask

from .tables import EDGES, OPERATIONS, POOL, RESULTS, SPACE

SCORING = Scoring(("params", "naswot"), 8, 2)


@pytest.fixture
def table(tmp_path: Path) -> TableTask:
    """All cells with their result and a score; the score of the last rows is missing."""
    codes = np.array(list(np.ndindex(*[len(OPERATIONS)] * len(EDGES))))
    good = (codes == 2).sum(axis=1) + 1.5 * (codes[:, 3] == 1) - 0.5 * (codes == 3).sum(axis=1)
    score = good + np.linspace(0, 0.1, len(good))
    score[-4:] = np.nan
    np.savez(tmp_path / "t.npz", ops=codes, acc=np.where(codes[:, 0] == 0, 0.0, good), score=score)
    keys = {
        f"architecture.{name}": {"column": f"ops[:, {j}]", "values": list(OPERATIONS)}
        for j, name in enumerate(EDGES)
    }
    return TableTask(
        file=str(tmp_path / "t.npz"), metrics={"acc": "acc"}, keys=keys, training_free={"score": "score"}
    )


def run(study: Study, task: Any) -> Study:
    study.run(task, runner="inline", settings=RunSettings())
    return study


def test_scores_of_a_table_are_read_in_the_stage(table: TableTask) -> None:
    study = Study(SPACE, {"acc": "maximize"}, searcher=RobotSearcher(), budget={"trials": 14})
    run(study, table)
    S, names, notes = read_scores(study.history.stages["scores"], len(POOL))
    assert names == ("score",)
    assert np.isfinite(S).sum() == len(POOL) - 4
    assert notes == []
    assert study.best.metrics["acc"] == RESULTS.max()
    assert len(study.history) == 14


def test_a_stage_goes_on_with_the_blocks_that_are_missing(table: TableTask, tmp_path: Path) -> None:
    def study() -> Study:
        return Study(
            SPACE,
            {"acc": "maximize"},
            searcher=RobotSearcher(),
            storage=tmp_path / "s.journal",
            budget={"trials": 3},
        )

    with study() as first:
        run_stages(first, table, InlineRunner(RunSettings()))
        scored = len(first.history.stages["scores"])
    with study() as second:
        assert len(second.history.stages["scores"]) == scored
        run(second, table)
        assert len(second.history.stages["scores"]) == scored
        assert second.history[0].info["arm"] == "opening"
        assert "notes" not in second.history[0].info


def test_every_block_of_a_large_pool_is_scored() -> None:
    task = ImageClassification(dataset="digits", model="nasbench201", epochs=1)
    stage = scoring_stage(task, POOL, SCORING)
    suggestions = build("searchers", stage.searcher).suggest(
        History(Problem(stage.space, (), budget=stage.budget)), 1000
    )
    assert [s.config["block"] for s in suggestions] == list(range(len(POOL) // 2))
    assert stage.budget.trials == len(suggestions)


def test_architectures_are_trained_down_the_ranking_of_a_metric(table: TableTask) -> None:
    study = Study(SPACE, {"acc": "maximize"}, searcher=TopKSearcher(metrics=("score",)), budget={"trials": 3})
    run(study, table)
    S, _, _ = read_scores(study.history.stages["scores"], len(POOL))
    wanted = np.argsort(-np.nan_to_num(S[:, 0], nan=-np.inf), kind="stable")[:3].tolist()
    assert [POOL.rows[POOL.space.key(trial.config)] for trial in study.history] == wanted


def test_an_unknown_metric_of_a_ranking_is_named(table: TableTask) -> None:
    study = Study(SPACE, {"acc": "maximize"}, searcher=TopKSearcher(metrics=("other",)), budget={"trials": 3})
    with pytest.raises(OptionError, match="other; known: score"):
        run(study, table)


class Networks:
    """An objective that builds networks."""

    def with_config(self, config: Mapping[str, Any]) -> "Networks":
        return self

    load = network = with_config


class Constant:
    """An objective that has scores."""

    def scores(self, config: Mapping[str, Any]) -> Mapping[str, float]:
        return {"score": 1.0}


@pytest.mark.parametrize(
    ("options", "networks"), [({}, 200), ({"pool": 30}, 30), ({"pool": 30, "enumerate": 1000}, len(POOL))]
)
def test_of_networks_a_sample_is_scored_and_of_a_table_all(options: dict[str, int], networks: int) -> None:
    assert SPACE.size > 200
    problem = Problem(SPACE, (Goal("acc", maximize=True),))
    for objective, expected in ((Networks(), networks), (Constant(), len(POOL))):
        [stage] = RobotSearcher(**options).stages_for(problem, objective)
        assert len(stage.objective.pool) == expected
        recorded = dataclasses.replace(stage.objective, objective=Constant()).run(
            Job(0, {"block": 0}, seed=0)
        )
        end = (Transition(0, State.RUNNING), Transition(1, State.COMPLETE))
        trial = Trial(0, {"block": 0}, State.COMPLETE, transitions=end, data=list(recorded)[-1].data)
        history = History(problem, stages={"scores": History(Problem(stage.space, ()), [trial])})
        # Whoever reads the record later means the pool that was scored, also where it was told other numbers.
        assert RobotSearcher().memory.scored(history).configs == stage.objective.pool.configs


class Cells:
    """A space of two cells of NAS-Bench-201, the second without any connection."""

    names = ("edge01", "edge02", "edge12", "edge03", "edge13", "edge23")
    space = SearchSpace({f"architecture.{name}": Categorical(["none", "nor_conv_3x3"]) for name in names})


def test_networks_are_scored_in_blocks_and_why_a_score_is_missing_is_told() -> None:
    task = ImageClassification(
        dataset="digits",
        model="nasbench201",
        width=2,
        depth=1,
        epochs=1,
        architecture=dict.fromkeys(Cells.names, "none"),
    )
    every = Pool.of(Cells.space, PoolSize(100, 0))
    pool = dataclasses.replace(every, configs=every.configs[:3])
    stage = scoring_stage(task, pool, SCORING)
    blocks = [list(stage.objective.run(Job(i, {"block": i}, seed=7)))[-1].data for i in range(2)]
    assert [(block["first"], block["size"]) for block in blocks] == [(0, 2), (2, 1)]
    unconnected, connected = blocks[0]["scores"]["params"]
    assert connected > unconnected > 0
    again = list(stage.objective.run(Job(0, {"block": 0}, seed=8)))[-1].data
    assert again == blocks[0], "scores do not depend on the trial's seed"


def test_an_objective_that_builds_nothing_is_refused() -> None:
    class Plain:
        def run(self, job: Job) -> Any:
            yield

    with pytest.raises(OptionError, match="Plain builds none"):
        scoring_stage(Plain(), POOL, SCORING)  # type: ignore[arg-type]


def test_equal_functions_are_scored_and_trained_once() -> None:
    assert len(POOL) == 4**4 - 4**2 * 3
    assert all(
        config["architecture.b"] == "none" for config in POOL.configs if config["architecture.a"] == "none"
    )


def test_a_sampled_pool_is_the_beginning_of_a_larger_one() -> None:
    small, large = (Pool.of(SPACE, PoolSize(0, size)) for size in (20, 40))
    assert small.configs == large.configs[:20]
    assert not small.whole


def test_a_failed_block_leaves_a_note_and_no_scores() -> None:
    from .tables import noisy_columns, scores

    stage = scores(noisy_columns(), block=100)
    failed = dataclasses.replace(stage[1], state=State.FAILED, data={})
    history = type(stage)(stage.problem, [stage[0], failed, stage[2]])
    S, _, notes = read_scores(history, len(POOL))
    assert np.isnan(S[100:200]).all()
    assert np.isfinite(S[:100]).all()
    assert notes == ["100 of 208 architectures have no scores"]


def test_a_mapping_of_scores_is_enough() -> None:
    class Known:
        def scores(self, config: Mapping[str, Any]) -> Mapping[str, float]:
            return {"depth": float(sum(v == "conv" for v in config["architecture"].values()))}

    stage = scoring_stage(Known(), POOL, SCORING)  # type: ignore[arg-type]
    [progress] = stage.objective.run(Job(0, {"block": 0}, seed=0))
    assert progress.data["scores"]["depth"][-1] == sum(
        v == "conv" for v in nest(POOL.configs[-1])["architecture"].values()
    )
