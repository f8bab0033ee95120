from pathlib import Path
from typing import Any, ClassVar

import pytest

from autosearch.core import Study, Trial, plugins
from autosearch.core.errors import ResolveError
from autosearch.reporting.listening import Guarded, own, stage_of
from autosearch.reporting.loggers.base import Logging, require


def make_study(trials: int = 3) -> Study:
    return Study(
        {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        {"loss": "minimize"},
        searcher="random",
        budget={"trials": trials},
    )


def run(study: Study) -> None:
    for trial in study.ask(3):
        study.report(trial, {"loss": 1.0}, step=1)
        study.tell(trial, {"loss": 0.5})


def test_a_listener_that_fails_is_left_out_with_one_note() -> None:
    study, notes, calls = make_study(), [], []

    def bad(event: str, trial: Trial | None, text: str) -> None:
        calls.append(event)
        raise RuntimeError("no space left\non device")

    guard = Guarded(bad, "logger demo", study.note)
    study.listeners.append(guard)
    study.listeners.append(lambda event, trial, text: notes.append(text) if event == "note" else None)
    run(study)
    assert len(study.history.complete) == 3
    assert calls == ["begin"]
    assert notes == ["logger demo failed and is left out from now on: RuntimeError: no space left"]
    assert not guard.working


class Recorder:
    """A logger that keeps what it was told; fails where the study's name says so."""

    told: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, name: str, output: Path, resolved: Any) -> None:
        self.name = name

    def report(self, trial: Trial) -> None:
        self.told.append(("report", trial.number))

    def finish(self, trial: Trial) -> None:
        self.told.append(("finish", trial.number))

    def close(self) -> None:
        self.told.append(("close", -1))


class Failing(Recorder):
    def report(self, trial: Trial) -> None:
        raise OSError("connection refused")


def test_a_failing_logger_hurts_neither_the_study_nor_the_other_loggers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, ours = plugins.load, {"good": Recorder, "bad": Failing}
    monkeypatch.setattr(plugins, "load", lambda kind, name: ours.get(name) or real(kind, name))
    Recorder.told.clear()
    study = make_study()
    logging = Logging(study, ("bad", "good"), tmp_path, {})
    study.listeners.append(logging)
    run(study)
    logging.close()
    assert len(study.history.complete) == 3
    assert Recorder.told == [
        ("report", 0),
        ("finish", 0),
        ("report", 1),
        ("finish", 1),
        ("report", 2),
        ("finish", 2),
        ("close", -1),
    ]


def test_trials_of_a_stage_are_told_from_the_studys_own() -> None:
    study, stage = make_study(), make_study()
    theirs, mine = stage.ask(), study.ask()
    study.history.stages = {"scoring": stage.history}
    assert own(study, mine)
    assert not own(study, theirs)
    assert stage_of(study, mine) is None
    assert stage_of(study, theirs) == "scoring"


def test_a_missing_package_is_named_with_the_way_to_install_it() -> None:
    with pytest.raises(ResolveError, match=r"pip install 'autosearch\[wandb\]'"):
        require("no_such_package_for_logging", "wandb")
