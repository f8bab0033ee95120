"""Training functions of the user's, in process; the same through Ray in tests/runners/test_ray.py."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import autosearch as asr
from autosearch.core import (
    Decision,
    Job,
    OptionError,
    Progress,
    ResolveError,
    RunSettings,
    State,
    Study,
    StudyError,
)
from autosearch.tasks.function import FunctionObjective
from autosearch.tasks.handoff import as_generator

SPACE = {"x": asr.Float(0.0, 1.0)}


def study_of(function: Any, objectives: Any = None, *, output: Path | None = None, **options: Any) -> Study:
    study = Study(
        SPACE, objectives or {"loss": "minimize"}, searcher="random", budget={"trials": 2}, **options
    )
    return study.run(function, runner="inline", settings=RunSettings(output=output))


def test_a_returned_number_is_the_only_objective() -> None:
    study = study_of(lambda config: config["x"])
    assert [t.metrics for t in study.history] == [{"loss": t.config["x"]} for t in study.history]


def test_a_returned_mapping_is_the_result() -> None:
    study = study_of(lambda config: {"a": config["x"], "b": 1.0}, {"a": "minimize", "b": "maximize"})
    assert study.history[0].metrics["b"] == 1.0


def test_one_number_for_two_objectives_fails_with_the_way_out() -> None:
    study = Study(SPACE, {"a": "minimize", "b": "minimize"}, searcher="random", budget={"trials": 1})
    study.run(lambda config: 0.5, runner="inline")
    failure = study.history[0].failure
    assert failure is not None
    assert "return a mapping" in failure.message


def test_a_function_without_report_or_result_fails() -> None:
    study = Study(SPACE, {"loss": "minimize"}, searcher="random", budget={"trials": 1})
    study.run(lambda config: None, runner="inline")
    failure = study.history[0].failure
    assert failure is not None
    assert "without a report or a result" in failure.message


def test_reports_are_counted_and_the_last_is_the_result() -> None:
    def train(config: dict[str, Any]) -> None:
        for epoch in range(3):
            asr.report({"loss": config["x"] + epoch})

    trial = study_of(train).history[0]
    assert [r.step for r in trial.reports] == [1, 2, 3]
    assert trial.metrics["loss"] == trial.config["x"] + 2


def test_a_result_after_reports_takes_their_place() -> None:
    def train(config: dict[str, Any]) -> dict[str, float]:
        asr.report({"loss": 9.0}, step=4)
        return {"loss": 1.0}

    trial = study_of(train).history[0]
    assert trial.values == (1.0,)
    assert trial.step == 4


def test_a_stopped_function_runs_its_finally_but_not_its_except_exception(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        try:
            for _ in range(10):
                try:
                    asr.report({"loss": 1.0})
                except Exception:  # noqa: BLE001 - as users write it
                    (tmp_path / "swallowed").touch()
        finally:
            (tmp_path / "finally").touch()

    study = study_of(train, scheduler={"method": "threshold", "metric": "loss", "above": 0.5})
    assert study.history[0].state is State.STOPPED
    assert (tmp_path / "finally").exists()
    assert not (tmp_path / "swallowed").exists()


def test_a_failed_function_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    began = []

    def train(config: dict[str, Any]) -> None:
        found = asr.get_checkpoint()
        start = json.loads((found / "epoch").read_text()) + 1 if found else 1
        began.append(start)
        for epoch in range(start, 5):
            folder = tmp_path / "mine"
            folder.mkdir(exist_ok=True)
            (folder / "epoch").write_text(str(epoch))
            asr.report({"loss": 1.0 / epoch}, step=epoch, checkpoint=folder)
            if epoch == 2 and start == 1:
                raise RuntimeError("once")

    study = Study(SPACE, {"loss": "minimize"}, searcher="random", budget={"trials": 1})
    study.run(train, runner="inline", settings=RunSettings(output=tmp_path / "out"))
    assert began == [1, 3]
    assert [r.step for r in study.history[0].curve] == [1, 2, 3, 4]


def test_ray_tune_s_functions_reach_the_study_in_process(tmp_path: Path) -> None:
    tune = pytest.importorskip("ray.tune")

    def train(config: dict[str, Any]) -> None:
        assert tune.get_checkpoint() is None
        for epoch in range(3):
            tune.report({"loss": config["x"] + epoch})

    trial = study_of(train, output=tmp_path).history[0]
    assert [r.step for r in trial.reports] == [1, 2, 3]


def test_report_outside_of_a_trial_says_so() -> None:
    with pytest.raises(StudyError, match="outside of a trial"):
        asr.report({"loss": 1.0})
    with pytest.raises(StudyError, match="outside of a trial"):
        asr.get_checkpoint()


def test_a_file_s_function_imports_its_neighbour_and_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise RuntimeError('shadowed the library')")
    (tmp_path / "neighbour_of_train.py").write_text("FACTOR = 3.0")
    (tmp_path / "train.py").write_text(
        "import random\nimport neighbour_of_train\n"
        "def f(config):\n    return neighbour_of_train.FACTOR * config['x'] + 0 * random.random()\n"
    )
    objective = pickle.loads(pickle.dumps(FunctionObjective("./train.py:f", folder=tmp_path)))
    study = study_of(objective)
    assert study.history[0].metrics["loss"] == pytest.approx(3 * study.history[0].config["x"])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.py:f", "no file"),
        ("./train.py:g", "has no 'g'"),
        ("./train.py:NUMBRE", "has no 'NUMBRE'. Did you mean 'NUMBER'"),
        ("./train.py:NUMBER", "is not callable"),
        ("no_such_package.here:f", "no module"),
        ("train.py", "write package.module:name"),
    ],
)
def test_code_that_is_not_there_is_said_before_any_trial(tmp_path: Path, target: str, message: str) -> None:
    (tmp_path / "train.py").write_text("NUMBER = 1\ndef f(config):\n    return 1.0\n")
    study = Study(SPACE, {"loss": "minimize"}, searcher="random", budget={"trials": 1})
    with pytest.raises(ResolveError, match=message):
        study.run(FunctionObjective(target, folder=tmp_path), runner="inline")
    assert len(study.history) == 0


def test_a_function_may_change_its_config_without_harm() -> None:
    job = Job(0, {"a": {"b": [1]}}, 0)

    def f(config: dict[str, Any]) -> float:
        config["a"]["b"].append(2)
        return 1.0

    objective = FunctionObjective(f)
    objective.check(Study(SPACE, {"loss": "minimize"}).problem)
    objective.drive(job, lambda progress: Decision.CONTINUE)
    assert job.config == {"a": {"b": [1]}}


def test_closing_the_generator_lets_the_call_come_to_its_end() -> None:
    ended = []

    def drive(job: Job, report: Any) -> None:
        while report(Progress({"loss": 1.0})) is Decision.CONTINUE:
            continue
        ended.append(True)

    generator = as_generator(drive, Job(0, {}, 0))
    next(generator)
    generator.send(Decision.CONTINUE)
    generator.close()
    assert ended == [True]


def test_what_the_call_raises_comes_out_of_the_generator() -> None:
    def drive(job: Job, report: Any) -> None:
        raise OptionError("wrong", "x")

    with pytest.raises(OptionError, match="wrong"):
        next(as_generator(drive, Job(0, {}, 0)))
