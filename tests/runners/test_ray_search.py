"""Searchers as search algorithms of Ray Tune."""

import os
import pickle
import subprocess
import sys

import pytest
import ray
from ray import tune
from ray.air.constants import TRAINING_ITERATION

from autosearch.core import OptionError, State
from autosearch.runners.ray.tune_space import TuneSpace
from autosearch.runners.ray_search import RayTuneSearcher
from autosearch.space import Float, Int

PARAMS = {
    "model": {"lr": tune.loguniform(1e-4, 1e-1), "layers": tune.randint(1, 4)},
    "opt": tune.choice(["sgd", None, {"name": "adam"}]),
    "drop": tune.quniform(0.0, 0.5, 0.1),
    "wide": tune.qrandint(16, 64, 16),
    "epochs": 3,
}


def result(step, **metrics):
    return {**metrics, TRAINING_ITERATION: step, "time_total_s": 1.0, "config": {}}


def bowl(config):
    return (config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2


def plane(**options):
    space = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "y": {"type": "float", "low": 0.0, "high": 1.0}}
    return RayTuneSearcher(space, {"loss": "minimize"}, **options)


def play(searcher, n, first=0):
    configs = []
    for i in range(first, first + n):
        configs.append(searcher.suggest(f"t{i}"))
        searcher.on_trial_complete(f"t{i}", result(1, loss=bowl(configs[-1])))
    return configs


def history(searcher):
    return searcher._study.history


def test_proposals_find_the_minimum_of_a_bowl():
    assert min(bowl(config) for config in play(plane(), 14)) < 1e-3


def test_parameters_of_tune_are_translated_and_come_back_as_tune_hands_them_out():
    translated = TuneSpace(PARAMS)
    assert [type(p).__name__ for p in translated.space.parameters.values()] == [
        "Float",
        "Int",
        "Categorical",
        "Float",
        "Int",
    ]
    lr, layers, _, drop, wide = translated.space.parameters.values()
    assert lr == Float(1e-4, 1e-1, log=True)
    assert layers == Int(1, 3)
    assert drop == Float(0.0, 0.5, grid=0.1)
    assert wide == Int(16, 64, grid=16)
    config = {"p0": 0.01, "p1": 3, "p2": 2, "p3": 0.2, "p4": 48}
    expected = {"model": {"lr": 0.01, "layers": 3}, "opt": {"name": "adam"}, "drop": 0.2, "wide": 48}
    assert translated.nested(config) == expected


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"x": tune.grid_search([1, 2])}, "grid_search"),
        ({"x": tune.randn(0.0, 1.0)}, "x: Float by"),
        ({"x": tune.qloguniform(1e-4, 1e-1, 1e-4)}, "with steps"),
        ({"x": tune.qlograndint(2, 64, 2)}, "steps on a logarithmic scale"),
        ({"x": tune.sample_from(lambda _: 1)}, "x: Function"),
        ({"x": [1, tune.uniform(0, 1)]}, "inside a list"),
        ({"x": 1}, "nothing to search"),
    ],
)
def test_what_cannot_be_translated_is_said_with_a_way_out(params, message):
    with pytest.raises(OptionError, match=message):
        TuneSpace(params)


def test_space_and_objective_may_come_from_the_tuner():
    searcher = RayTuneSearcher(searcher="random")
    with pytest.raises(OptionError, match="param_space"):
        searcher.suggest("t")
    assert searcher.set_search_properties("score", "max", PARAMS)
    assert (searcher.metric, searcher.mode) == ("score", "max")
    assert set(searcher.suggest("t0")) == {"model", "opt", "drop", "wide"}
    searcher.on_trial_complete("t0", result(1, score=2.0))
    assert history(searcher)[0].values == (-2.0,)
    with pytest.raises(OptionError, match="objectives"):
        RayTuneSearcher().set_search_properties(None, None, PARAMS)
    assert not plane().set_search_properties("loss", "min", PARAMS)


def test_running_and_failed_trials_are_told_apart_from_complete_ones():
    searcher = plane()
    for trial in "abcd":
        searcher.suggest(trial)
    searcher.on_trial_complete("a", result(1, loss=1.0, other=2.0))
    searcher.on_trial_complete("b", error=True)
    searcher.on_trial_complete("c", None)
    searcher.on_trial_complete("a", result(2, loss=0.5))  # Tune repeats itself where it lost a node
    searcher.on_trial_complete("unknown", result(1, loss=0.5))
    states = [trial.state for trial in history(searcher)]
    assert states == [State.COMPLETE, State.FAILED, State.FAILED, State.RUNNING]
    assert dict(history(searcher)[0].metrics) == {"loss": 1.0}


def test_a_trial_that_ends_before_max_t_counts_as_stopped_however_many_reports_it_made():
    searcher = plane(max_t=300)
    for trial, last in (("early", 250), ("whole", 300)):
        searcher.suggest(trial)
        for step in range(1, last):
            searcher.on_trial_result(trial, result(step, loss=1.0 / step))
        searcher.on_trial_complete(trial, result(last, loss=1.0 / last))
    early, whole = history(searcher)
    assert (early.state, early.values, early.step) == (State.STOPPED, None, 250)
    assert (whole.state, whole.values) == (State.COMPLETE, (1.0 / 300,))


def test_several_objectives_and_constraints_are_understood():
    searcher = RayTuneSearcher(
        {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        {"loss": "minimize", "gain": "maximize"},
        constraints=["size <= 5"],
    )
    assert (searcher.metric, searcher.mode) == (["loss", "gain"], ["min", "max"])
    searcher.suggest("t")
    searcher.on_trial_complete("t", result(1, loss=1.0, gain=2.0, size=7))
    assert history(searcher)[0].values == (1.0, -2.0)
    assert history(searcher)[0].violations == (2.0,)


def test_an_exhausted_space_is_waited_for_and_then_finished():
    searcher = RayTuneSearcher({"x": [1, 2]}, {"loss": "minimize"})
    searcher.suggest("a")
    searcher.suggest("b")
    assert searcher.suggest("c") is None
    for trial in "ab":
        searcher.on_trial_complete(trial, result(1, loss=1.0))
    assert searcher.suggest("c") == RayTuneSearcher.FINISHED


def test_a_restored_or_copied_searcher_goes_on_as_if_nothing_had_happened(tmp_path):
    whole = play(plane(seed=4, max_t=2), 8)
    first = plane(seed=4, max_t=2)
    play(first, 4)
    first.suggest("open")
    first.on_trial_result("open", result(1, loss=0.5))
    first.save(str(tmp_path / "state.pkl"))
    other = plane(seed=0)
    other.restore(str(tmp_path / "state.pkl"))
    for searcher in (other, pickle.loads(pickle.dumps(first))):
        assert [trial.state for trial in history(searcher)] == [trial.state for trial in history(first)]
        searcher.on_trial_complete("open", result(1, loss=bowl(whole[4])))
        assert play(searcher, 3, first=5) == whole[5:]


@pytest.fixture
def two_slots(monkeypatch, tmp_path):
    from autosearch.runners.ray.session import read_variables_again

    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes its token there
    read_variables_again()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
    monkeypatch.undo()
    read_variables_again()


@pytest.mark.ray
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("two_slots")
def test_a_plain_tuner_with_asha_finds_the_minimum(tmp_path):
    def train(config):
        for step in range(1, 5):
            tune.report({"loss": (config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2 + 1 / step})

    tuner = tune.Tuner(
        train,
        param_space={"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            search_alg=RayTuneSearcher(seed=1, max_t=4),
            scheduler=tune.schedulers.ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2),
            num_samples=14,
            max_concurrent_trials=2,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="plain", verbose=0),
    )
    grid = tuner.fit()
    assert not grid.errors
    assert grid.get_best_result("loss", "min", scope="all").metrics["loss"] < 0.26


BEFORE_AND_AFTER = """
import ray
import autosearch as asr

def train(config):
    return {"loss": config["x"]}

def plain():
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    assert ray.get(ray.remote(lambda: 7).remote()) == 7
    ray.shutdown()

plain()
study = asr.Study({"x": asr.Float(0, 1)}, {"loss": "minimize"}, searcher="random")
study.run(train, trials=1, resources={"cpus": 1})
assert len(study.history.complete) == 1
plain()
"""


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_sessions_of_the_users_own_begin_and_end_before_and_after_ours(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(BEFORE_AND_AFTER)
    home = {**os.environ, "HOME": str(tmp_path)}  # Ray writes its token there
    done = subprocess.run(
        [sys.executable, str(script)], env=home, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
