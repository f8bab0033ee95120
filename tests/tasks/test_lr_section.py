"""What the report shows of lr schedules."""

import json

import pytest

import search_spaces
from autosearch.core import Study
from autosearch.learning import build_lr_schedule
from autosearch.methods.autolrs.training import AutoLRSTraining
from autosearch.reporting.figures.curves import curves
from autosearch.space import Float
from autosearch.tasks.lr_section import lr_section
from autosearch.tasks.tabular import TabularClassification

TASK = TabularClassification(
    dataset="wine", epochs=6, width=4, layers=1, batch_size=8, optimizer="sgd", device="cpu"
)


def history_of(space, task):
    study = Study(space, {"val_loss": "minimize"}, searcher="random", budget={"trials": 3})
    study.run(task, runner="inline")
    return study.history


def test_a_searched_lr_schedule_is_drawn_and_given_as_data():
    section = lr_section(history_of({"lr_schedule": search_spaces.lr_schedule()}, TASK))
    figure, code = section.parts
    assert len(figure.data) == 3
    assert "peak" in json.loads(code.text)


def test_what_a_method_found_is_drawn_and_replays():
    task = TASK.trained_by([AutoLRSTraining(options={"min_probe": 3})])
    history = history_of({"lr": Float(0.01, 0.1, log=True)}, task)
    definition = json.loads(lr_section(history).parts[1].text)
    replayed = build_lr_schedule(definition, 50)
    assert max(replayed(n) for n in range(50)) == pytest.approx(1.0)
    noted = history[0].data["lr_choices"]
    assert noted[0]["lr"] > 0


def test_a_study_without_lr_schedules_has_no_section():
    assert lr_section(history_of({"lr": Float(0.01, 0.1, log=True)}, TASK)) is None


def test_values_of_zero_are_left_out_of_a_logarithmic_figure():
    figure = curves("t", {"a": ([0, 1, 2], [1.0, 0.5, 0.0])}, x_title="x", y_title="y", log=True)
    assert list(figure.data[0].y) == [1.0, 0.5]
