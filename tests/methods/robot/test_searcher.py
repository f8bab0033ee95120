"""The modern search: what it suggests, what it says of it, and what it does when scores fail."""

import numpy as np
import pytest

from autosearch.core import Budget, Decision, History, OptionError, Study
from autosearch.methods.robot.pool import Parts, Pool, PoolSize
from autosearch.methods.robot.searcher import RobotSearcher
from autosearch.space import Categorical, Float, SearchSpace

from .tables import CELL, POOL, RESULTS, SPACE, noisy_columns, play, scores, worth


def keys(study: Study) -> list[object]:
    return [study.problem.space.key(trial.config) for trial in study.history]


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_best_architecture_in_few_trials(seed: int) -> None:
    study = play(RobotSearcher(), scores(noisy_columns(seed)), 16, seed=seed)
    assert study.best.metrics["acc"] == RESULTS.max()


@pytest.mark.parametrize("seed", range(3))
def test_negated_scores_lead_to_the_same_architectures(seed: int) -> None:
    study, negated = (
        play(RobotSearcher(), scores(noisy_columns(seed, sign=sign)), 16, seed=seed) for sign in (1.0, -1.0)
    )
    assert study.best.metrics["acc"] == RESULTS.max()
    assert keys(negated) == keys(study)


def test_no_architecture_is_trained_twice_and_all_are_in_the_end() -> None:
    small = SearchSpace({name: Categorical(["none", "skip", "conv"]) for name in ("x", "y", "z")})
    study = Study(small, {"acc": "maximize"}, searcher=RobotSearcher(), budget={"trials": 40})
    while trials := study.next(1):
        study.tell(trials[0], {"acc": float(list(trials[0].config.values()).count("conv"))})
    assert len(study.history) == len(set(keys(study))) == 27


def test_every_decision_names_its_arm_and_reason() -> None:
    study = play(RobotSearcher(random=2), scores(noisy_columns()), 14)
    arms = [trial.info["arm"] for trial in study.history]
    assert arms[:4] == ["opening"] * 4
    assert set(arms[4:]) <= {"surrogate", "weights", "favourite", "evolution"}
    assert all(trial.info["reason"] for trial in study.history)
    assert "evidence" in study.history[-1].info


def test_the_rank_average_and_its_other_end_are_tried_first() -> None:
    columns = {"good": RESULTS + np.linspace(0, 0.1, len(POOL)), "too": RESULTS * 2.0}
    study = play(RobotSearcher(), scores(columns), 2)
    assert [trial.metrics["acc"] for trial in study.history] == [RESULTS.max(), RESULTS.min()]


def test_the_same_history_gives_the_same_suggestions() -> None:
    stage = scores(noisy_columns())
    study = play(RobotSearcher(), stage, 12, fail=(3, 7))
    for trial in study.history:
        [again] = RobotSearcher().suggest(study.history.as_of(trial), 1)
        assert again.config == trial.config
        assert again.info == trial.info


def test_a_batch_holds_different_architectures() -> None:
    study = play(RobotSearcher(), scores(noisy_columns()), 8)
    study.set_budget(Budget(20))
    batch = study.ask(6)
    assert len({study.problem.space.key(trial.config) for trial in batch} | set(keys(study)[:8])) == 14


@pytest.mark.parametrize(
    "columns",
    [
        {"a": np.ones(len(POOL)), "b": np.full(len(POOL), np.nan)},
        {"a": np.full(len(POOL), np.nan)},
        {"a": np.full(len(POOL), np.inf)},
        {},
    ],
    ids=["constant and failed", "all failed", "infinite", "no metric"],
)
@pytest.mark.parametrize("preset", ["modern", "paper"])
def test_scores_without_information_do_not_end_the_study(columns: dict, preset: str) -> None:
    study = play(RobotSearcher(preset=preset), scores(columns), 20)
    assert len(set(keys(study))) == 20
    assert study.best.metrics["acc"] >= np.quantile(RESULTS, 0.9)
    if columns:
        assert "the same for all, or missing: a" in study.history[0].info["notes"]


def test_without_its_stage_it_searches_by_features_and_says_so() -> None:
    study = play(RobotSearcher(), None, 12)
    assert study.history[0].info["notes"] == "no scores: the stage has not run"
    assert len(set(keys(study))) == 12


def test_missing_blocks_are_noted_and_do_no_harm() -> None:
    stage = scores(noisy_columns(), block=50)
    partly = History(stage.problem, stage[:2])
    study = play(RobotSearcher(), partly, 16)
    assert f"{len(POOL) - 100} of {len(POOL)} architectures have no scores" in study.history[0].info["notes"]
    assert study.best.metrics["acc"] >= np.quantile(RESULTS, 0.95)


def test_failed_trials_are_not_repeated_and_count_as_bad() -> None:
    study = play(RobotSearcher(), scores(noisy_columns()), 16, fail=(0, 4, 5))
    assert len(set(keys(study))) == 16
    assert study.best.metrics["acc"] >= np.quantile(RESULTS, 0.98)


def test_noise_hands_over_to_evolution() -> None:
    rng = np.random.default_rng(1)
    columns = {name: rng.normal(size=len(POOL)) for name in "abcd"}
    results = dict(zip(POOL.rows, rng.normal(size=len(POOL)), strict=True))
    study = Study(SPACE, {"acc": "maximize"}, searcher=RobotSearcher(signal=0.9), budget={"trials": 24})
    study.history.stages = {"scores": scores(columns)}
    while trials := study.next(1):
        study.tell(trials[0], {"acc": float(results[POOL.space.key(trials[0].config)])})
    late = [trial.info for trial in study.history[-8:]]
    assert {info["arm"] for info in late} == {"evolution"}
    assert all("mutation" in info["reason"] or "at random" in info["reason"] for info in late)


def test_equal_results_hand_over_to_evolution_whatever_signal_is_asked_for() -> None:
    study = Study(SPACE, {"acc": "maximize"}, searcher=RobotSearcher(signal=0.0), budget={"trials": 14})
    study.history.stages = {"scores": scores(noisy_columns())}
    while trials := study.next(1):
        study.tell(trials[0], {"acc": 0.1})
    assert study.history[13].info["arm"] == "evolution"


def test_architecture_and_other_parameters_are_searched_together() -> None:
    space = SearchSpace(
        {"architecture": CELL, "lr": Float(1e-3, 1.0, log=True), "opt": Categorical(["sgd", "adam"])}
    )
    study = Study(space, {"acc": "maximize"}, searcher=RobotSearcher(), budget={"trials": 30}, seed=1)
    study.history.stages = {"scores": scores(noisy_columns())}
    while trials := study.next(1):
        config = trials[0].config
        study.tell(
            trials[0], {"acc": worth(config) - abs(np.log10(config["lr"]) + 2) - (config["opt"] == "sgd")}
        )
    assert len(set(keys(study))) == 30
    assert study.best.metrics["acc"] > RESULTS.max() - 0.7
    assert {trial.config["opt"] for trial in study.history} == {"sgd", "adam"}


def test_several_objectives_give_a_wide_front() -> None:
    study = Study(
        SPACE, {"acc": "maximize", "size": "minimize"}, searcher=RobotSearcher(), budget={"trials": 20}
    )
    study.history.stages = {"scores": scores(noisy_columns())}
    while trials := study.next(1):
        config = trials[0].config
        size = float(sum(value == "conv" for value in config.values()))
        study.tell(trials[0], {"acc": worth(config), "size": size})
    front = {trial.values[1] for trial in study.front}
    assert {0.0, 3.0} <= front
    assert max(trial.metrics["acc"] for trial in study.history) == RESULTS.max()


def test_a_space_too_large_to_enumerate_is_sampled_and_left_by_neighbours() -> None:
    searcher = RobotSearcher(enumerate=10, pool=40)
    pool = Pool.of(Parts.of(SPACE, "architecture").architectures, PoolSize(10, 40))
    known = np.array([worth(config) for config in pool.configs])
    column = {"good": np.r_[known, np.zeros(len(POOL) - 40)]}
    stage = scores(column)
    study = play(searcher, History(stage.problem, stage[:1]), 25)
    assert len(pool) == 40
    assert not pool.whole
    assert any(key not in pool.rows for key in map(pool.space.key, (t.config for t in study.history)))
    assert study.best.metrics["acc"] >= known.max()


def test_stopped_trials_count_by_what_they_reported() -> None:
    class Halving:
        def decide(self, history, trial):
            return Decision.STOP if trial.reports[-1].metrics["acc"] < 2.0 else Decision.CONTINUE

        def propose(self, history, n):
            return []

    study = Study(
        SPACE, {"acc": "maximize"}, searcher=RobotSearcher(), scheduler=Halving(), budget={"trials": 18}
    )
    study.history.stages = {"scores": scores(noisy_columns())}
    while trials := study.next(1):
        for step, share in ((1, 0.9), (2, 1.0)):
            if study.report(trials[0], {"acc": share * worth(trials[0].config)}, step=step) is Decision.STOP:
                break
        study.tell(trials[0])
    assert any(trial.state == "stopped" for trial in study.history)
    assert study.best.metrics["acc"] == RESULTS.max()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"pool": 1}, "pool"),
        ({"block": 0}, "block"),
        ({"preset": "new"}, "preset"),
        ({"random": 0}, "random"),
    ],
)
def test_options_out_of_range_are_named(options: dict, named: str) -> None:
    with pytest.raises(OptionError, match=named):
        RobotSearcher(**options)
