"""Searchers as samplers of Optuna."""

import math
import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState, create_trial

from autosearch.core import OptionError
from autosearch.core.errors import ResolveError
from autosearch.searchers.optuna_rules import Part, Rule, decompose
from autosearch.searchers.optuna_sampler import OptunaSampler

optuna.logging.set_verbosity(optuna.logging.ERROR)


def branin(trial):
    x, y = trial.suggest_float("x", -5.0, 10.0), trial.suggest_float("y", 0.0, 15.0)
    valley = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def branch(trial):
    """Momentum exists for sgd alone, where a value of 0.9 is best by far."""
    loss = 1.0
    if trial.suggest_categorical("opt", ["adam", "sgd", None]) == "sgd":
        loss = (trial.suggest_float("momentum", 0.0, 1.0) - 0.9) ** 2
    return loss + (math.log10(trial.suggest_float("lr", 1e-4, 1e-1, log=True)) + 2) ** 2


def study_of(objective, n, sampler, **options):
    study = optuna.create_study(sampler=sampler, **options)
    study.optimize(objective, n_trials=n)
    return study


def test_proposals_find_the_minimum_of_branin_where_random_ones_do_not():
    ours = study_of(branin, 18, OptunaSampler(seed=3)).best_value
    random = [study_of(branin, 18, RandomSampler(seed=seed)).best_value for seed in range(5)]
    assert ours < 1.0  # 0.3979 is the minimum
    assert ours < min(random)


def test_the_same_study_and_seed_give_the_same_proposals_whatever_the_sampler_did_before():
    def params(study):
        return [trial.params for trial in study.trials]

    old = study_of(branin, 9, OptunaSampler("sobol", seed=1))
    again = study_of(branin, 9, OptunaSampler("sobol", seed=1))
    assert params(old) == params(again)
    continued = optuna.create_study(sampler=OptunaSampler("sobol", seed=1))
    continued.add_trials(old.trials[:5])
    continued.optimize(branin, n_trials=4)
    assert params(continued) == params(old)
    assert params(study_of(branin, 3, OptunaSampler("sobol", seed=2))) != params(old)[:3]


def test_a_parameter_of_one_branch_is_asked_for_and_found_there():
    study = study_of(branch, 24, OptunaSampler())
    proposed = [trial.system_attrs.get("autosearch", {}).get("proposed", {}) for trial in study.trials]
    # `None` and `adam` lie at places 2 and 0 of the choices.
    late = [values for values in proposed[12:] if values]
    assert late
    assert all(("momentum" in values) == (values["opt"] == 1) for values in late)
    assert study.best_value < 0.05


def test_maximised_objectives_and_integers_and_steps_are_understood():
    def objective(trial):
        n, x = trial.suggest_int("n", 2, 20, step=3), trial.suggest_float("x", 0.0, 1.0, step=0.25)
        return -((n - 14) ** 2) - (x - 0.5) ** 2 - trial.suggest_int("k", 1, 64, log=True)

    study = study_of(objective, 25, OptunaSampler(), direction="maximize")
    assert study.best_params == {"n": 14, "x": 0.5, "k": 1}


def test_a_parameter_that_leaves_no_choice_does_no_harm():
    def objective(trial):
        return trial.suggest_float("x", 0.0, 1.0) + trial.suggest_int("one", 3, 3)

    study = study_of(objective, 6, OptunaSampler())
    assert all(trial.params["one"] == 3 for trial in study.trials)


def test_several_objectives_give_a_front():
    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        return x**2, (x - 1) ** 2 + trial.suggest_float("y", 0.0, 1.0)

    study = study_of(objective, 10, OptunaSampler(), directions=["minimize", "minimize"])
    front = [trial.params["y"] for trial in study.best_trials]
    assert len(front) >= 3
    assert np.median(front) < 0.1


def test_constraints_are_kept_to():
    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        trial.set_constraint("low", 0.4 - x)
        return x

    study = study_of(objective, 16, OptunaSampler())
    assert study.best_trial.params["x"] == pytest.approx(0.4, abs=0.02)
    assert all(trial.params["x"] > 0.35 for trial in study.trials[8:])


def test_margins_of_a_function_are_kept_with_the_trial_and_nan_is_refused():
    study = study_of(
        lambda trial: trial.suggest_float("x", 0.0, 1.0),
        12,
        OptunaSampler(constraints_func=lambda trial: (0.3 - trial.params["x"],)),
    )
    assert study.trials[0].constraints == {"0": pytest.approx(0.3 - study.trials[0].params["x"])}
    assert study.best_params["x"] == pytest.approx(0.3, abs=0.03)
    bad = optuna.create_study(sampler=OptunaSampler("random", constraints_func=lambda _: (math.nan,)))
    with pytest.raises(ValueError, match="margin of trial 0 is NaN"):
        bad.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=1)


def test_pruned_and_failed_trials_are_told_to_the_searcher():
    class Witness:
        def suggest(self, history, n):
            self.history = history
            return []

    witness = Witness()
    study = optuna.create_study(sampler=OptunaSampler(witness), direction="maximize")
    space = {"x": FloatDistribution(0.0, 1.0)}
    study.add_trials(
        [
            create_trial(params={"x": 0.1}, distributions=space, value=3.0),
            create_trial(
                params={"x": 0.2},
                distributions=space,
                state=TrialState.PRUNED,
                intermediate_values={1: 0.5, 4: 0.75},
            ),
            create_trial(params={"x": 0.3}, distributions=space, state=TrialState.FAIL),
            create_trial(params={"x": 0.4}, distributions=space, state=TrialState.RUNNING),
            create_trial(params={"x": 1.7}, distributions={"x": FloatDistribution(0.0, 2.0)}, value=9.0),
            create_trial(params={"x": 0.5}, distributions=space, state=TrialState.WAITING),
        ]
    )
    study.add_trial(create_trial(params={"x": 0.6}, distributions=space, value=1.0))
    study.ask()  # the waiting one
    study.ask().suggest_float("x", 0.0, 1.0)
    assert [trial.state.value for trial in witness.history] == [
        "complete",
        "stopped",
        "failed",
        "running",
        "running",
        "complete",
    ]
    assert [trial.values for trial in witness.history] == [(-3.0,), None, None, None, None, (-1.0,)]
    assert [report.step for report in witness.history[1].reports] == [1, 4]
    assert witness.history.problem.workers == 3


def test_a_running_trial_is_not_proposed_again_before_it_asked_for_anything():
    study = study_of(branin, 8, OptunaSampler())
    first, second = study.ask(), study.ask()
    first, second = (branin(trial) and trial.params for trial in (second, first))
    assert abs(first["x"] - second["x"]) + abs(first["y"] - second["y"]) > 1e-3


def test_threads_of_one_study_share_the_sampler():
    study = optuna.create_study(sampler=OptunaSampler(seed=5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        study.optimize(branin, n_trials=12, n_jobs=3)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 12


def test_unknown_searchers_and_those_with_stages_are_refused():
    with pytest.raises(ResolveError, match="bayesian"):
        OptunaSampler("bayesain")
    with pytest.raises(OptionError):
        OptunaSampler({"method": "bayesian", "initail": 3})

    class Staged:
        def stages(self, problem):
            return ["scores"]

        def suggest(self, history, n):
            return []

    study = optuna.create_study(sampler=OptunaSampler(Staged()))
    with pytest.raises(OptionError, match="stages of work"):
        study.optimize(branin, n_trials=2)


def test_rules_of_nested_branches_are_read_from_the_trials():
    trials = [
        {"opt": 0, "n": 1, "u0": 0.5},
        {"opt": 1, "n": 2, "u0": 0.5, "u1": 0.5, "m": 0.1},
        {"opt": 1, "n": 3, "u0": 0.5, "u1": 0.5, "u2": 0.5, "m": 0.1, "nesterov": 1, "x": 0.0},
        {"opt": 2, "n": 3, "u0": 0.5, "u1": 0.5, "u2": 0.5},
        {"opt": 1, "n": 1, "u0": 0.5, "m": 0.2, "nesterov": 0, "x": 0.0, "damp": 0.5},
    ]
    names = ["opt", "n", "u0", "u1", "u2", "m", "damp", "x"]
    joint, *apart = decompose(names, {"opt": False, "n": True, "nesterov": False}, trials)
    assert joint.rules == {
        "u1": Rule("n", ">", (1,)),
        "u2": Rule("n", ">", (2,)),
        "m": Rule("opt", "in", (1,)),
    }
    assert set(joint.names) == {"opt", "n", "u0", "u1", "u2", "m"}
    assert apart == [Part(("x",)), Part(("damp",))]
