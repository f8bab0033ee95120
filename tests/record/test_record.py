import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import Phase, given, settings

from autosearch.core import Budget, Goal, Problem, RecordError, State, Study, StudyMismatchError, Trial
from autosearch.core.records import Failure
from autosearch.record import list_studies, open_memory, read_history
from autosearch.record.optuna_store import OptunaStore
from autosearch.record.record import VERSION, StudyRecord
from autosearch.record.store import MAX_TEXT, Status
from autosearch.space import Float, Int, SearchSpace

from . import lives
from .lives import CONFIG, KINDS, Driver, every_kind, open_as, play, problem, scripts

ON_DISK = KINDS[1:]


def written(kind: str, folder: Path, asked: Problem, **more: Any) -> list[Trial]:
    record = open_as(kind, folder, asked, **more)
    driver = Driver(record, asked)
    every_kind(driver)
    record.close()
    return driver.trials


def storage_of(kind: str, folder: Path) -> optuna.storages.BaseStorage:
    """What Optuna itself sees."""
    if kind == "journal":
        backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
        return optuna.storages.JournalStorage(backend)
    return optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")


def same(found: Any, expected: Any) -> bool:
    """Equal in value and type, NaN included."""
    return repr(list(found)) == repr(list(expected))


# -- what is written comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_trial_comes_back_exactly(kind: str, objectives: int, tmp_path: Path) -> None:
    asked = problem(objectives)
    record = open_as(kind, tmp_path, asked)
    driver = Driver(record, asked)
    every_kind(driver)
    assert same(record.history(), driver.trials)
    assert record.history().events == driver.event
    assert {trial.state for trial in driver.trials} == set(State)
    record.close()
    if kind != "memory":
        again = open_as(kind, tmp_path, asked)
        assert again.existed
        assert same(again.history(), driver.trials)
        again.close()


@given(script=scripts())
@settings(max_examples=40, deadline=None)
def test_any_study_comes_back_exactly_from_memory(script: list[Any]) -> None:
    asked = problem(2)
    driver = Driver(open_memory("", "study", asked), asked)
    play(driver, script)
    assert same(driver.record.history(), driver.trials)


@pytest.mark.parametrize("kind", ON_DISK)
def test_any_study_comes_back_exactly_from_disk(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @given(script=scripts())
    @settings(max_examples=8, deadline=None, database=None, phases=[Phase.generate])
    def check(script: list[Any]) -> None:
        folder, asked = tmp_path_factory.mktemp("record"), problem(1)
        record = open_as(kind, folder, asked)
        driver = Driver(record, asked)
        play(driver, script)
        record.close()
        reader = open_as(kind, folder, asked, read_only=True)
        assert same(reader.history(), driver.trials)
        reader.close()

    check()


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_study_goes_on_where_an_earlier_session_left_it(kind: str, tmp_path: Path) -> None:
    asked = problem()
    trials = written(kind, tmp_path, asked)
    record = open_as(kind, tmp_path, asked)
    driver = Driver(record, asked)
    driver.trials, driver.event = list(record.history()), record.history().events
    queued = next(t.number for t in trials if t.state is State.QUEUED)
    driver.amend(queued)
    driver.report(queued, {"accuracy": 0.5, "params": 3.0})
    driver.finish(queued)
    driver.begin(CONFIG)
    record.close()
    assert same(read_history(storage_location(kind, tmp_path), "study"), driver.trials)


def storage_location(kind: str, folder: Path) -> str:
    return str(folder / "study.journal") if kind == "journal" else f"sqlite:///{folder / 'study.db'}"


@pytest.mark.parametrize("kind", KINDS)
def test_long_texts_are_split_and_joined(kind: str, tmp_path: Path) -> None:
    asked = problem()
    record = open_as(kind, tmp_path, asked)
    driver = Driver(record, asked)
    long = {"architecture": '"\\ü' * 14_000, "n": [math.nan, 1]}
    number = driver.begin(CONFIG, info=long)
    driver.report(number, {f"metric {i:05}": i / 3 for i in range(2500)} | {"accuracy": 0.5, "params": 2.0})
    driver.amend(number, checkpoint="c" * 40_000, checkpoint_step=2)
    driver.amend(number, checkpoint="short", checkpoint_step=3)
    driver.finish(number, data=long)
    record.note("file", long)
    assert same(record.history(), driver.trials)
    assert repr(record.notes()["file"]) == repr(long)
    record.close()


@pytest.mark.parametrize("kind", ON_DISK)
def test_no_text_in_the_storage_is_too_long_for_a_database(kind: str, tmp_path: Path) -> None:
    asked = problem()
    record = open_as(kind, tmp_path, asked)
    driver = Driver(record, asked)
    driver.begin(CONFIG, info={"architecture": '"\\ü' * 14_000})
    record.close()
    trial = storage_of(kind, tmp_path).get_all_trials(0 if kind == "journal" else 1)[0]
    assert max(len(json.dumps(value)) for value in trial.system_attrs.values()) <= MAX_TEXT + 100


def test_what_is_not_json_is_refused_by_name() -> None:
    asked = problem()
    driver = Driver(open_memory("", "study", asked), asked)
    with pytest.raises(RecordError, match=r"trial 0 info\['scores'\]\[1\]: only JSON .* got set"):
        driver.begin(CONFIG, info={"scores": [1, {2}]})
    with pytest.raises(RecordError, match="keys of a recorded mapping are text, got 3"):
        driver.begin(CONFIG, info={"scores": {3: 1}})


def test_numpy_numbers_are_recorded_as_numbers() -> None:
    asked = problem()
    driver = Driver(open_memory("", "study", asked), asked)
    driver.begin(CONFIG, info={"value": np.float64(0.5), "count": np.int64(3), "nan": np.float32("nan")})
    info = driver.record.history()[0].info
    assert info["value"] == 0.5
    assert info["count"] == 3
    assert math.isnan(info["nan"])
    assert {type(value) for value in info.values()} == {float, int}


# -- what Optuna sees --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ON_DISK)
def test_optuna_sees_states_values_parameters_and_reports(kind: str, tmp_path: Path) -> None:
    trials = written(kind, tmp_path, problem())
    seen = optuna.load_study(study_name="study", storage=storage_of(kind, tmp_path))
    assert seen.metric_names == ["accuracy"]
    assert seen.directions == [optuna.study.StudyDirection.MAXIMIZE]
    assert seen.user_attrs["constraints"] == ["1 <= params <= 10"]
    assert [t.state.name for t in seen.trials] == [
        "COMPLETE",
        "PRUNED",
        "FAIL",
        "RUNNING",
        "RUNNING",
        "WAITING",
        "COMPLETE",
        "RUNNING",
    ]
    first = seen.trials[0]
    assert first.values == [0.75]
    assert seen.trials[1].values == [0.75]
    searched = {name: trials[0].config[name] for name in lives.SPACE.searched}
    assert repr(first.params) == repr(searched)
    assert first.intermediate_values == {1: 0.75, 2: math.inf, 5: 0.75}
    assert first.datetime_start is not None
    assert first.datetime_complete is not None
    assert seen.best_trial.number == 0
    assert seen.trials[6].constraints != {}
    assert max(len(t.user_attrs) + len(own_attributes(t)) for t in seen.trials) <= 20


def own_attributes(trial: optuna.trial.FrozenTrial) -> list[str]:
    return [key for key in trial.system_attrs if ":report:" not in key]


@pytest.mark.parametrize("kind", ON_DISK)
def test_optuna_finds_distributions_that_fit_their_values(kind: str, tmp_path: Path) -> None:
    written(kind, tmp_path, problem())
    for trial in storage_of(kind, tmp_path).get_all_trials(0 if kind == "journal" else 1):
        for name, value in trial.params.items():
            shape = trial.distributions[name]
            assert shape._contains(shape.to_internal_repr(value)), (name, value, shape)


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_study_without_objectives_has_no_complete_trial_for_optuna(kind: str, tmp_path: Path) -> None:
    written(kind, tmp_path, problem(0, constraints=False))
    trials = storage_of(kind, tmp_path).get_all_trials(0 if kind == "journal" else 1)
    assert {t.state.name for t in trials} == {"PRUNED", "FAIL", "RUNNING", "WAITING"}
    assert all(t.values is None for t in trials)


def test_columns_for_people_are_scalars_with_readable_names(tmp_path: Path) -> None:
    written("journal", tmp_path, problem())
    trials = storage_of("journal", tmp_path).get_all_trials(0)
    assert trials[0].user_attrs["model"] == "gp"
    assert trials[0].user_attrs["acquisition"] == -1.5
    assert trials[0].user_attrs["params"] == 4.0
    assert trials[0].user_attrs["step"] == 5
    assert trials[2].user_attrs["cause"] == "crash"
    assert trials[2].user_attrs["lost attempts"] == "oom"
    assert trials[3].user_attrs["paused"] is True
    for trial in trials:
        assert all(isinstance(v, str | int | float | bool) for v in trial.user_attrs.values())
        json.dumps(trial.user_attrs, allow_nan=False)
        json.dumps(trial.system_attrs.get("constraints"), allow_nan=False)


def test_a_trial_has_at_most_20_attributes_besides_its_reports(tmp_path: Path) -> None:
    derived: dict[str, Any] = {f"d{i}": {"expr": f"x * {i}"} for i in range(9)}
    asked = problem(space=SearchSpace({"x": Float(0.0, 1.0), **derived}))
    record = open_as("journal", tmp_path, asked)
    driver = Driver(record, asked)
    driver.begin({"x": 0.25})
    many = {f"m{i}": float(i) for i in range(30)}
    number = driver.begin({"x": 0.5}, info=many, parent=0)
    driver.amend(number, State.PAUSED, attempts=("oom", "preempted"))
    driver.amend(number)
    driver.report(number, {**{f"n{i}": 1.0 for i in range(30)}, "accuracy": 1.0, "params": 2.0})
    driver.finish(number, State.FAILED, failure=Failure("crash", "why"), violations=(0.0, 1.0))
    record.close()
    trial = storage_of("journal", tmp_path).get_all_trials(0)[1]
    assert len(trial.user_attrs) + len(own_attributes(trial)) == 20


def test_statuses_are_numbered_as_optuna_numbers_them() -> None:
    assert {s.name: s.value for s in Status} == {s.name: s.value for s in optuna.trial.TrialState}


def test_steps_too_large_for_a_database_are_still_recorded(tmp_path: Path) -> None:
    asked = problem()
    record = open_as("sqlite", tmp_path, asked)
    driver = Driver(record, asked)
    driver.report(driver.begin(CONFIG), {"accuracy": 0.5}, step=2**40)
    assert record.history()[0].reports[0].step == 2**40
    record.close()


def test_optuna_says_nothing_about_new_studies(capfd: pytest.CaptureFixture[str]) -> None:
    open_memory("", "study", problem()).close()
    assert capfd.readouterr() == ("", "")


# -- problems ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_changed_problem_is_refused_with_the_difference_and_the_way_out(kind: str, tmp_path: Path) -> None:
    written(kind, tmp_path, problem())
    space = SearchSpace({**lives.SPACE.parameters, "lr": Float(1e-6, 2.0, log=True)})
    other = dataclasses.replace(problem(space=space), objectives=(Goal("loss"),))
    with pytest.raises(StudyMismatchError) as caught:
        open_as(kind, tmp_path, other)
    assert "space: lr: high 1.0 -> 2.0" in str(caught.value)
    assert "--fork NAME" in str(caught.value)
    assert len(caught.value.differences) == 2
    open_as(kind, tmp_path, problem()).close()


@pytest.mark.parametrize("kind", ON_DISK)
def test_budget_workers_seed_and_fidelity_may_change_and_are_stored(kind: str, tmp_path: Path) -> None:
    open_as(kind, tmp_path, problem()).close()
    changed = problem(budget=Budget(trials=7), workers=3, seed=5, fidelity=(1, 9), price_per_hour=2.0)
    record = open_as(kind, tmp_path, changed)
    assert record.existed
    record.close()
    reader = open_as(kind, tmp_path, None, read_only=True)
    assert reader.problem.to_dict() == changed.to_dict()
    reader.close()


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_record_of_a_newer_version_is_refused(kind: str, tmp_path: Path) -> None:
    record = open_as(kind, tmp_path, problem())
    record.store.set_study(record._study.study_id, {"autosearch:version": VERSION + 1}, {})
    record.close()
    for more in ({}, {"read_only": True}):
        with pytest.raises(RecordError, match=r"written by a newer autosearch .*Upgrade"):
            open_as(kind, tmp_path, problem(), **more)


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_study_of_another_program_is_refused(kind: str, tmp_path: Path) -> None:
    open_as(kind, tmp_path, problem(), name="other").close()
    theirs = optuna.create_study(study_name="study", storage=storage_of(kind, tmp_path))
    theirs.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=1)
    with pytest.raises(RecordError, match="'study' was not written by autosearch"):
        open_as(kind, tmp_path, problem())
    with pytest.raises(RecordError, match="'study' was not written by autosearch"):
        open_as(kind, tmp_path, None, read_only=True)


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_study_that_is_not_there_is_named_with_the_nearest_one(kind: str, tmp_path: Path) -> None:
    open_as(kind, tmp_path, problem(), name="digits").close()
    with pytest.raises(RecordError, match=r"no study .digit.\. Did you mean .digits."):
        open_as(kind, tmp_path, None, name="digit", read_only=True)


@pytest.mark.parametrize("kind", ON_DISK)
def test_reading_makes_nothing(kind: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError):
        open_as(kind, tmp_path, None, read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_reader_cannot_write_nor_a_closed_record(kind: str, tmp_path: Path) -> None:
    record = open_as(kind, tmp_path, problem())
    driver = Driver(record, problem())
    driver.begin(CONFIG)
    reader = open_as(kind, tmp_path, None, read_only=True)
    for write in (
        lambda: reader.begin(dataclasses.replace(driver.trials[0], number=1)),
        lambda: reader.finish(driver.trials[0]),
        lambda: reader.note("a", 1),
    ):
        with pytest.raises(RecordError, match="opened for reading"):
            write()
    reader.close()
    record.close()
    with pytest.raises(RecordError, match="closed"):
        driver.begin(CONFIG)


# -- stages and notes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_stages_are_studies_of_their_own_under_the_same_lock(kind: str, tmp_path: Path) -> None:
    asked = problem()
    inner = Problem(SearchSpace({"block": Int(0, 9)}), ())
    record = open_as(kind, tmp_path, asked)
    drivers = {}
    for name in ("scores", "models"):
        stage = record.open_stage(name, inner)
        assert (stage.name, stage.existed) == (f"study/{name}", False)
        drivers[name] = Driver(stage, inner)
    for number, name in enumerate(("scores", "models", "scores")):
        drivers[name].begin({"block": number})
    outer = Driver(record, asked)
    outer.begin(CONFIG)
    drivers["scores"].finish(1, metrics={"time": 2.0}, data={"table": [1, 2]})
    drivers["scores"].record.close()
    outer.finish(0, metrics={"accuracy": 1.0, "params": 2.0})
    assert set(record.stages()) == {"scores", "models"}
    for name, driver in drivers.items():
        assert same(record.stages()[name], driver.trials)
    assert same(record.history(), outer.trials)
    record.close()
    if kind != "memory":
        location = storage_location(kind, tmp_path)
        found = read_history(location, "study")
        assert same(found.stages["scores"], drivers["scores"].trials)
        assert list_studies(location) == ["study"]
        again = open_as(kind, tmp_path, asked)
        assert again.open_stage("scores", inner).existed
        again.close()


@pytest.mark.parametrize("kind", KINDS)
def test_notes_are_kept_with_the_study(kind: str, tmp_path: Path) -> None:
    record = open_as(kind, tmp_path, problem())
    note = {"file": "study: a\n", "versions": {"optuna": "5"}, "odd": [math.inf, None]}
    record.note("resolved", {"old": 1})
    record.note("resolved", note)
    record.note("state", None)
    assert record.notes() == {"resolved": note, "state": None}
    assert record.open_stage("scores", problem()).notes() == {}
    record.close()


@pytest.mark.parametrize("kind", ON_DISK)
def test_several_studies_share_a_storage(kind: str, tmp_path: Path) -> None:
    first = written(kind, tmp_path, problem(), name="first")
    second = written(kind, tmp_path, problem(2), name="second")
    location = storage_location(kind, tmp_path)
    assert list_studies(location) == ["first", "second"]
    assert same(read_history(location, "first"), first)
    assert same(read_history(location, "second"), second)


# -- the Study over it -------------------------------------------------------------------------------------


class Halving:
    """Suggests lr = 1, 1/2, 1/4, … by number."""

    def suggest(self, history: Any, n: int) -> list[Any]:
        from autosearch.core import Suggestion

        return [Suggestion({"lr": 0.5 ** (len(history) + i)}) for i in range(n)]


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_study_continues_under_the_same_numbers(kind: str, tmp_path: Path) -> None:
    def study() -> Study:
        return Study(
            {"lr": Float(1e-9, 1.0, log=True)},
            {"loss": "minimize"},
            searcher=Halving(),
            storage=storage_location(kind, tmp_path),
        )

    with study() as first:
        for trial in first.ask(3):
            first.report(trial, {"loss": trial.config["lr"]}, step=1, checkpoint=f"c{trial.number}")
        first.tell(0)
        before = list(first.history)
    with study() as second:
        assert same(second.history, before)
        resumed = second.ask(3)
        assert [t.number for t in resumed] == [1, 2, 3]
        assert [t.attempts for t in resumed] == [("interrupted",), ("interrupted",), ()]
        assert second.job(resumed[0]).checkpoint == Path("c1")
        for trial in resumed:
            second.tell(trial, {"loss": 0.1})
        assert same(second.record.history(), second.history)


def test_the_store_of_a_memory_record_is_an_optuna_storage() -> None:
    record = open_memory("", "study", problem())
    assert isinstance(record, StudyRecord)
    assert isinstance(record.store, OptunaStore)
    assert record.store.storage.get_all_studies()[0].study_name == "study"
