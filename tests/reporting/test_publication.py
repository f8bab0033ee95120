import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from autosearch.core import Failure, History, State, Study, Trial, plugins
from autosearch.reporting import notes
from autosearch.reporting.card import model_card
from autosearch.reporting.drawing import learning_curve_svg
from autosearch.reporting.publication import Publication, missing_figures, noteworthy

from .conftest import TWO
from .histories import LinePredictor, make_history


class FakeBoard:
    """Keeps what is put on it."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.trial_notes: dict[int, str] = {}
        self.figures: dict[str, str] = {}
        self.artifacts: dict[tuple[int, str], bytes | Path] = {}

    def note(self, parts: Iterable[str]) -> None:
        self.notes.append("".join(parts))

    def trial_note(self, number: int, text: str) -> None:
        self.trial_notes[number] = text

    def figure(self, name: str, text: str) -> None:
        self.figures[name] = text

    def artifact(self, number: int, filename: str, content: bytes | Path) -> None:
        self.artifacts[number, filename] = content


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_study(budget: int = 40) -> Study:
    space = {"lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}}
    return Study(space, {"loss": "minimize"}, searcher="random", budget={"trials": budget}, name="demo")


def finish(study: Study, checkpoint: Path | None = None) -> Trial:
    trial = study.ask()
    for step in (1, 2, 3):
        study.report(trial, {"loss": trial.number + 1.0 / step}, step=step)
    return study.tell(trial, {"loss": 0.1 + trial.number}, checkpoint=checkpoint)


def test_the_dashboard_is_written_at_most_once_a_minute() -> None:
    study, board, clock = make_study(), FakeBoard(), Clock()
    study.listeners.append(Publication(study, board, clock=clock))
    for _ in range(5):
        finish(study)
        clock.now += 11.0
    assert board.notes == []
    clock.now = 60.0
    finish(study)
    finish(study)
    assert len(board.notes) == 1
    clock.now = 120.0
    finish(study)
    assert len(board.notes) == 2


def test_figures_are_drawn_again_only_after_a_quarter_more_results() -> None:
    study, board = make_study(), FakeBoard()
    publication = Publication(study, board)
    for _ in range(8):
        finish(study)
    publication.publish()
    board.figures = {}
    finish(study)
    publication.publish()
    assert board.figures == {}
    finish(study)
    publication.publish()
    assert "short-and-long-runs" in board.figures


def test_the_end_brings_the_checkpoint_the_curve_and_the_state(tmp_path: Path) -> None:
    study, board = make_study(1), FakeBoard()
    finish(study, tmp_path)
    Publication(study, board, study_yaml="study: demo\n", searcher="random").conclude()
    assert board.artifacts[0, "checkpoint.zip"] == tmp_path
    picture = board.artifacts[0, "learning-curve.svg"]
    assert isinstance(picture, bytes)
    assert picture.startswith(b"<svg")
    assert "| state | finished, 1 of 1 trials |" in board.notes[-1]
    assert "```yaml\nstudy: demo\n```" in board.notes[-1]
    assert "**Why:** `random after 0 results`" in board.trial_notes[0]


def test_a_study_that_was_cut_short_is_not_called_finished() -> None:
    study, board = make_study(3), FakeBoard()
    finish(study)
    Publication(study, board).conclude()
    assert "| state | running, 1 of 3 trials |" in board.notes[-1]


def test_a_methods_drawing_is_attached_to_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    study, board = make_study(1), FakeBoard()
    finish(study)
    drawers = {"layers": lambda history, trial: {"layer.svg": b"<svg/>"}}
    monkeypatch.setattr(plugins, "registered", lambda kind: drawers if kind == "drawings" else {})
    monkeypatch.setattr(plugins, "load", lambda kind, name: drawers[name])
    Publication(study, board).publish()
    assert board.artifacts[0, "layer.svg"] == b"<svg/>"


def test_figures_that_the_dashboard_lacks_fit_its_cards() -> None:
    history = make_history(60, objectives=TWO, constraint=True)
    found = missing_figures(history, LinePredictor(history))
    assert {"learning-curves-0", "learning-curves-1", "constraints", "surrogate-0", "surrogate-1"} <= set(
        found
    )
    assert all(figure.layout.height <= 440 for figure in found.values())


def test_one_objective_leaves_learning_curves_to_the_dashboard(history: History) -> None:
    assert not any(name.startswith("learning-curves") for name in missing_figures(history))


def test_at_most_two_hundred_trials_get_a_note_the_important_ones_first() -> None:
    history = make_history(600)
    chosen = {t.number for t in noteworthy(history)}
    best = history.incumbent
    assert len(chosen) == 200
    assert best is not None
    assert best.number in chosen


def test_every_kind_of_study_has_a_note(any_history: History) -> None:
    assert notes.study_state(any_history, "demo").startswith("# `demo`")
    for trial in any_history:
        assert "**Result:**" in notes.trial_note(any_history, trial)


def test_texts_in_notes_cannot_break_out_of_their_code() -> None:
    history = make_history(3, states=[State.FAILED])
    evil = "`boom` | **bold**\n```\n# heading"
    trial = dataclasses.replace(history[0], failure=Failure("crash", evil, "x\n```\n# heading\n"))
    note = notes.trial_note(history, trial)
    assert "`failed (crash): 'boom' \\| **bold** ''' # heading" in note
    assert "````text\nx\n```\n# heading\n````" in note


def test_a_learning_curve_picture_is_whole_and_escaped() -> None:
    history = make_history(5, states=[State.COMPLETE])
    svg = learning_curve_svg(history.problem, history[0])
    assert svg.count("<circle") == 5
    assert svg.endswith("</svg>")
    renamed = dataclasses.replace(
        history[0],
        reports=tuple(dataclasses.replace(r, metrics={"<b>": 1.0 * r.step}) for r in history[0].reports),
    )
    assert "trial 0: &lt;b&gt;" in learning_curve_svg(history.problem, renamed, "<b>")
    assert learning_curve_svg(history.problem, dataclasses.replace(history[0], reports=())) == ""


def test_a_model_card_says_what_was_measured_and_what_that_is_worth(history: History) -> None:
    best = history.incumbent
    assert best is not None
    found = {"test": {"trial": best.number, "metrics": {"test_accuracy": 0.9}}, "versions": {"torch": "2.13"}}
    card = model_card(history, best, name="demo", config="lr: 0.1\n", notes=found)
    assert f"| `accuracy` | {best.metrics['accuracy']:.6g} |" in card
    assert "| `test_accuracy` | 0.9 |" in card
    assert "Being the best of many" in card
    assert "| `torch` | `2.13` |" in card
    other = next(t for t in history.complete if t is not best)
    card = model_card(history, other, name="demo", config="", notes={})
    assert "it is not the best" in card
    assert "No test data was looked at" in card


def test_figures_are_stored_as_json_of_a_notebooks_figure(history: History) -> None:
    for figure in missing_figures(history).values():
        assert set(json.loads(figure.to_json())) >= {"data", "layout"}
