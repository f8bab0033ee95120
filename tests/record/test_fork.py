import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autosearch.core import Goal, History, Problem, RecordError, State, Study
from autosearch.record import fork, open_memory, read_history
from autosearch.space import Expression, Float, Int, SearchSpace

from .lives import CONFIG, SPACE, Driver, every_kind, open_as, problem


@pytest.fixture
def source() -> History:
    driver = Driver(open_memory("", "old", problem(1)), problem(1))
    every_kind(driver)
    return driver.record.history()


def forked(source: History, asked: Problem) -> list[Any]:
    target = open_memory("", "new", asked)
    count = fork(source, target, "old")
    found = list(target.history())
    assert len(found) == count
    return found


def origins(trials: list[Any]) -> list[int]:
    assert all(trial.info["forked_from"]["study"] == "old" for trial in trials)
    return [trial.info["forked_from"]["trial"] for trial in trials]


def test_all_finished_trials_are_taken_over_and_no_others(source: History) -> None:
    trials = forked(source, problem(1))
    assert origins(trials) == [t.number for t in source if t.state.finished]
    assert [t.number for t in trials] == list(range(len(trials)))
    for trial, old in zip(trials, (t for t in source if t.state.finished), strict=True):
        for name in ("config", "state", "values", "violations", "data", "failure", "seconds", "checkpoint"):
            assert repr(getattr(trial, name)) == repr(getattr(old, name))
        assert trial.info.items() >= {k: v for k, v in old.info.items() if k != "forked_from"}.items()
        assert [r.step for r in trial.reports] == [r.step for r in old.reports]


def test_events_are_numbered_anew_in_the_same_order(source: History) -> None:
    target = open_memory("", "new", problem(1))
    fork(source, target, "old")
    found = target.history()
    events = [t.event for trial in found for t in trial.transitions]
    events += [r.event for trial in found for r in trial.reports]
    assert sorted(events) == list(range(found.events))
    ended = [t for t in source.finished if t.number in origins(list(found))]
    assert origins(list(found.finished)) == [t.number for t in ended]
    for trial in found:
        before = [t.number for t in source.as_of(source[trial.info["forked_from"]["trial"]]).finished]
        assert origins(list(found.as_of(trial).finished)) == [n for n in before if n in origins(list(found))]


def test_a_parent_is_renumbered_or_forgotten(source: History) -> None:
    assert forked(source, problem(1))[1].parent == 0
    asked = problem(1)
    driver = Driver(open_memory("", "old", asked), asked)
    driver.begin(CONFIG, parent=None)
    for parent in (0, 1):
        driver.finish(driver.begin(CONFIG, parent=parent), metrics={"accuracy": 1.0, "params": 2.0})
    assert [t.parent for t in forked(driver.record.history(), asked)] == [None, 0]


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        (lambda p: {**p, "lr": Float(1e-9, 1.0, log=True)}, [0, 1, 2, 6]),
        (lambda p: {**p, "lr": Float(1e-2, 1.0, log=True)}, []),
        (lambda p: {k: v for k, v in p.items() if k != "depth"}, []),
        (lambda p: {**p, "new": Int(0, 3)}, []),
        (lambda p: {**p, "new": Int(0, 3, when="mixed == 'none'")}, [0, 2, 6]),
        (lambda p: {**p, "mixed": [None, 0.5]}, [0, 2, 6]),
        (lambda p: {**p, "kind": "cnn"}, []),
    ],
)
def test_trials_that_break_the_new_space_stay_behind(
    source: History, change: Callable[[dict[str, Any]], dict[str, Any]], fits: list[int]
) -> None:
    space = SearchSpace(change(dict(SPACE.parameters)))
    assert origins(forked(source, problem(1, space=space))) == fits


def test_trials_that_break_a_new_requirement_stay_behind(source: History) -> None:
    space = SearchSpace(SPACE.parameters, ["lr * 1000 <= 0.5"])
    assert forked(source, problem(1, space=space)) == []


def test_values_are_judged_by_the_new_objectives(source: History) -> None:
    asked = dataclasses.replace(problem(), objectives=(Goal("loss"),), constraints=())
    trials = forked(source, asked)
    assert [t.values for t in trials if t.state is State.COMPLETE] == [(0.5,), (0.5,)]
    unmeasured = dataclasses.replace(problem(), objectives=(Goal("f1"),), constraints=())
    assert origins(forked(source, unmeasured)) == [t.number for t in source.failed]


def test_violations_are_judged_by_the_new_constraints(source: History) -> None:
    limit = dataclasses.replace(problem(), constraints=(Expression.parse("loss <= 0.25"),))
    assert [t.violations for t in forked(source, limit) if t.state is State.COMPLETE] == [(0.25,), (0.25,)]
    unmeasured = dataclasses.replace(problem(), constraints=(Expression.parse("latency <= 3"),))
    assert State.COMPLETE not in {t.state for t in forked(source, unmeasured)}


def test_a_fork_that_was_cut_off_goes_on(source: History) -> None:
    whole = forked(source, problem(1))
    target = open_memory("", "new", problem(1))
    target.begin_all(whole[:2])
    assert fork(source, target, "old") == len(whole)
    assert fork(source, target, "old") == len(whole)
    assert repr(list(target.history())) == repr(whole)


def test_a_study_with_trials_of_its_own_is_no_target(source: History) -> None:
    target = open_memory("", "new", problem(1))
    Driver(target, problem(1)).begin(CONFIG)
    with pytest.raises(RecordError, match=r"'new' holds other trials already\. Choose another name"):
        fork(source, target, "old")


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_fork_within_one_storage_goes_on_as_a_study(kind: str, tmp_path: Path) -> None:
    old = open_as(kind, tmp_path, problem(1), name="old")
    every_kind(Driver(old, problem(1)))
    old.close()
    location = str(tmp_path / "study.journal") if kind == "journal" else f"sqlite:///{tmp_path / 'study.db'}"
    source = read_history(location, "old")
    wider = problem(1, space=SearchSpace({**SPACE.parameters, "lr": Float(1e-9, 1.0, log=True)}))
    target = open_as(kind, tmp_path, wider, name="new")
    taken = fork(source, target, "old")
    target.close()
    assert taken == 4
    assert [t.number for t in read_history(location, "new").finished] == [0, 1, 2, 3]
    with Study(
        wider.space,
        wider.objectives,
        constraints=wider.constraints,
        storage=location,
        name="new",
        searcher="random",
    ) as study:
        assert study.best.number == 0
        assert study.ask().number == 4
    assert repr(list(read_history(location, "old"))) == repr(list(source))
