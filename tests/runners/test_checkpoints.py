"""Checkpoints: whole or not there, cheap, and gone when nothing needs them."""

import shutil
from pathlib import Path

import pytest

from autosearch.core import Decision, RunSettings, State, Suggestion
from autosearch.runners.checkpoints import Cadence, CheckpointStore, joins_best, write_checkpoint
from autosearch.runners.inline import InlineRunner
from autosearch.testing.runner_kit import Script, Walk, script_study


def put(text: str):
    return lambda folder: (folder / "state").write_text(text)


def test_a_checkpoint_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        write_checkpoint(fails, tmp_path / "a" / "step_1")
    assert list((tmp_path / "a").iterdir()) == []
    assert write_checkpoint(put("1"), tmp_path / "a" / "step_1") == tmp_path / "a" / "step_1"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["step_1"]


def test_a_checkpoint_that_exists_is_never_touched(tmp_path: Path) -> None:
    first = write_checkpoint(put("old"), tmp_path / "step_1")
    second = write_checkpoint(put("new"), tmp_path / "step_1")
    assert second != first
    assert (first / "state").read_text() == "old"
    assert (second / "state").read_text() == "new"


def test_saving_stays_under_its_share_of_training(tmp_path: Path) -> None:
    now = [0.0]
    cadence = Cadence(0.05, clock=lambda: now[0])

    def slow(folder: Path) -> None:
        now[0] += 2.0

    saved = 0
    for step in range(1000):
        now[0] += 1.0
        if cadence.due:
            assert step == 0 or saved
            cadence.save(slow, tmp_path / f"step_{step}")
            saved += 1
    assert 24 <= saved <= 26  # 5 % of 1,000 s at 2 s each


def running(tmp_path: Path, trials: int = 2):
    study = script_study(Script(trials))
    store = CheckpointStore(study, tmp_path, keep=1)
    return study, store, study.ask(trials)


def save(study, store: CheckpointStore, trial, step: int) -> Path:
    path = write_checkpoint(put(str(step)), store.path(trial.number, step))
    study.report(trial, {"loss": 1.0}, step=step, checkpoint=path)
    store.recorded(study.history[trial.number])
    return path


def test_only_the_newest_checkpoint_of_a_running_trial_stays(tmp_path: Path) -> None:
    study, store, (trial, _) = running(tmp_path)
    store.job(trial)
    old, new = save(study, store, trial, 1), save(study, store, trial, 2)
    assert new.is_dir()
    assert not old.exists()


def test_a_checkpoint_in_use_stays_until_the_attempt_is_over(tmp_path: Path) -> None:
    study, store, (parent, _) = running(tmp_path)
    store.job(parent)
    used = save(study, store, parent, 1)
    (child,) = study.start([Suggestion({"x": 0.5}, parent=parent.number)])
    assert store.job(child).checkpoint == used
    save(study, store, parent, 2)
    assert used.is_dir()
    study.tell(child, {"loss": 3.0})
    store.release(child.number)
    save(study, store, parent, 3)
    assert not used.exists()


def test_an_ended_trial_gives_its_place_to_a_better_one(tmp_path: Path) -> None:
    study, store, (worse, better) = running(tmp_path)
    paths = {}
    for trial, loss in ((worse, 2.0), (better, 1.0)):
        store.job(trial)
        paths[trial.number] = save(study, store, trial, 1)
        study.tell(trial, {"loss": loss})
        store.release(trial.number)
    assert [paths[n].is_dir() for n in (0, 1)] == [False, True]


def test_folders_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "checkpoints" / "study" / "trial_00007" / "step_00000001"
    foreign.mkdir(parents=True)
    study, store, (trial, _) = running(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    store.job(trial)
    study.report(trial, {"loss": 1.0}, step=1, checkpoint=elsewhere)
    study.tell(trial, error="crash")
    store.release(trial.number)
    assert foreign.is_dir()
    assert elsewhere.is_dir()


def test_drafts_of_a_killed_driver_are_swept_when_the_trial_goes_on(tmp_path: Path) -> None:
    _, store, (trial, _) = running(tmp_path)
    draft = store.path(trial.number, 3).parent / ".partial-step_00000003-abcd"
    draft.mkdir(parents=True)
    store.job(trial)
    assert not draft.exists()


def test_names_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    study = script_study(Script(1))
    study.record.name = "../../evil*name"
    path = CheckpointStore(study, tmp_path, keep=1).path(0, 1)
    assert path.resolve().is_relative_to(tmp_path.resolve())


def test_joining_the_best_is_judged_by_the_result(tmp_path: Path) -> None:
    study, _, (first, second) = running(tmp_path)
    study.tell(first, {"loss": 1.0})
    assert joins_best(study.history, second, {"loss": 0.5}, 1)
    assert not joins_best(study.history, second, {"loss": 1.5}, 1)
    assert joins_best(study.history, second, {"loss": 1.5}, 2)
    assert not joins_best(study.history, second, {"loss": float("nan")}, 2)
    assert not joins_best(study.history, second, {"loss": 0.5}, 0)


def test_joining_the_front_is_judged_with_several_objectives() -> None:
    study = script_study(Script(3), objectives={"loss": "minimize", "size": "minimize"})
    first, second, third = study.ask(3)
    study.tell(first, {"loss": 1.0, "size": 2.0})
    study.tell(second, {"loss": 2.0, "size": 1.0})
    assert joins_best(study.history, third, {"loss": 0.5, "size": 0.5}, 1)
    assert not joins_best(study.history, third, {"loss": 3.0, "size": 3.0}, 2)


def test_a_child_whose_parent_s_checkpoint_is_gone_fails(tmp_path: Path) -> None:
    study = script_study(Script(2, {(0, 4): Decision.PAUSE}, parents={1: 0}))

    def lose(event: str, trial, text: str) -> None:
        if event == "begin" and trial.number == 1:
            shutil.rmtree(study.history[0].checkpoint, ignore_errors=True)

    study.listeners.append(lose)
    InlineRunner(RunSettings(output=tmp_path)).run(study, Walk())
    assert study.history[1].state is State.FAILED
    assert "a child of trial 0, cannot start" in study.history[1].failure.message
