"""Objectives written for Optuna, in process."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import autosearch as asr
from autosearch.core import RunSettings, SpaceError, State, Study
from autosearch.tasks.optuna_objective import OptunaObjective
from autosearch.tasks.optuna_objective_probe import infer

FILE = """
import optuna

def objective(trial):
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    if optimizer == "sgd":
        trial.suggest_float("momentum", 0.0, 0.99)
    for layer in range(trial.suggest_int("layers", 1, 3)):
        trial.suggest_int(f"units_{layer}", 4, 128, log=True)
    for epoch in range(4):
        trial.report(lr + 1 / (epoch + 1), epoch)
        if trial.should_prune():
            raise optuna.TrialPruned()
    return lr
"""


def run(objective: Any, space: Any, objectives: Any = None, trials: int = 1, **options: Any) -> Study:
    study = Study(
        space, objectives or {"loss": "minimize"}, searcher="random", budget={"trials": trials}, **options
    )
    return study.run(
        OptunaObjective(objective, space=study.problem.space), runner="inline", settings=RunSettings()
    )


def test_an_objective_gets_its_values_and_its_return_value_is_the_result() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -10, 10)
        assert trial.params == {"x": x}
        assert trial.suggest_float("x", -10, 10) == x
        return (x - 2) ** 2

    study = run(objective, {"x": asr.Float(-10, 10)}, trials=3)
    assert [t.values for t in study.history] == [((t.config["x"] - 2) ** 2,) for t in study.history]


def test_should_prune_carries_the_scheduler_s_answer_and_finally_runs() -> None:
    seen = []

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        try:
            for step in range(5):
                trial.report(9.0, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
            return x
        finally:
            seen.append(trial.number)

    scheduler = {"method": "threshold", "metric": "loss", "above": 1.0}
    study = run(objective, {"x": asr.Float(0, 1)}, scheduler=scheduler)
    assert study.history[0].state is State.STOPPED
    assert seen == [0]


def test_pruning_by_itself_has_no_result_and_is_not_tried_again() -> None:
    def objective(trial: optuna.Trial) -> float:
        raise optuna.TrialPruned("bad shape")

    trial = run(objective, {"x": asr.Float(0, 1)}).history[0]
    assert trial.failure is not None
    assert trial.failure.cause == "invalid"
    assert trial.attempts == ()


def test_a_parameter_seen_for_the_first_time_is_drawn_and_noted() -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0, 1)
        trial.set_user_attr("note", "hello")
        return float(trial.suggest_int("n", 2, 8, step=3))

    first, again = (run(objective, {"x": asr.Float(0, 1)}).history[0] for _ in range(2))
    noted = first.data["parameters"]["n"]
    assert noted == {"type": "int", "low": 2, "high": 8, "grid": 3, "value": int(first.metrics["loss"])}
    assert noted["value"] in (2, 5, 8)
    assert first.data["user_attrs"] == {"note": "hello"}
    assert again.metrics == first.metrics


def test_ranges_that_differ_from_the_space_fail_with_both() -> None:
    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("x", 0, 2)

    failure = run(objective, {"x": asr.Float(0, 1)}).history[0].failure
    assert failure is not None
    assert "They must agree" in failure.message


def test_several_values_belong_to_the_objectives_in_order() -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        return x, 1 - x

    study = run(objective, {"x": asr.Float(0, 1)}, {"a": "minimize", "b": "maximize"})
    assert study.history[0].metrics == {
        "a": study.history[0].config["x"],
        "b": 1 - study.history[0].config["x"],
    }


def test_constraints_become_metrics() -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.set_constraint("size", trial.suggest_float("x", 0, 1) - 2)
        return 1.0

    study = run(objective, {"x": asr.Float(0, 1)}, constraints=["size <= 0"])
    assert study.history[0].feasible


def test_without_a_space_branches_and_loops_are_found_out(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    objective = OptunaObjective("./mine.py:objective", folder=tmp_path)
    space = objective.space
    assert list(space.parameters) == [
        "optimizer",
        "lr",
        "momentum",
        "layers",
        "units_0",
        "units_1",
        "units_2",
    ]
    conditions = {name: condition.text for name, condition in space.conditions.items()}
    assert conditions == {"momentum": "optimizer == 'sgd'", "units_1": "layers > 1", "units_2": "layers > 2"}
    study = Study(space, {"loss": "minimize"}, searcher="random", budget={"trials": 6})
    study.run(objective, runner="inline")
    assert all(t.state is State.COMPLETE and "parameters" not in t.data for t in study.history)


def test_an_objective_that_cannot_be_called_is_said_before_any_trial(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import no_such_module\n")
    with pytest.raises(SpaceError, match="no_such_module"):
        _ = OptunaObjective("./mine.py:objective", folder=tmp_path).space
    with pytest.raises(SpaceError, match="give `space`"):
        _ = OptunaObjective(lambda trial: 1.0).space


def test_a_parameter_that_no_other_explains_is_always_searched() -> None:
    entry = {"type": "float", "low": 0.0, "high": 1.0}
    calls = [{"a": {**entry, "value": 0.5}, "b": {**entry, "value": 0.1}}, {"a": {**entry, "value": 0.5}}]
    assert dict(infer(calls).conditions) == {}


def test_an_objective_that_asks_for_nothing_is_an_error() -> None:
    with pytest.raises(SpaceError, match="asks for no parameter"):
        infer([{}, {}])


def test_any_object_may_be_a_user_attribute_as_with_optuna() -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("array", np.arange(3))
        trial.set_user_attr("mixed", {1: (np.float32(0.5), {"a"}), "where": Path("x")})
        return trial.suggest_float("x", 0, 1)

    study = asr.Study({"x": asr.Float(0, 1)}, {"loss": "minimize"}, searcher="random", budget={"trials": 1})
    study.run(OptunaObjective(objective, space=study.problem.space), runner="inline")
    noted = study.best.data["user_attrs"]
    assert noted == {"array": [0, 1, 2], "mixed": {"1": [0.5, ["a"]], "where": "PosixPath('x')"}}


def test_an_objective_that_returns_no_number_says_so() -> None:
    study = asr.Study({"x": asr.Float(0, 1)}, {"loss": "minimize"}, searcher="random", budget={"trials": 1})
    study.run(OptunaObjective(lambda trial: None, space=study.problem.space), runner="inline")
    failure = study.history[0].failure
    assert failure is not None
    assert "the objective returned None for loss" in failure.message
