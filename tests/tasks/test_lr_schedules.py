"""How a task takes a searched lr schedule."""

import pytest

import search_spaces
from autosearch.core import Job, Study
from autosearch.core.errors import SpaceError
from autosearch.space import Float
from autosearch.tasks.tabular import TabularClassification

TASK = TabularClassification(dataset="wine", epochs=2, width=4, layers=1, device="cpu")


def checked(space):
    TASK.check(Study(space, {"val_loss": "minimize"}, searcher="random").problem)


def test_a_searched_lr_schedule_suits_the_task():
    checked({"lr_schedule": search_spaces.lr_schedule()})
    checked({"lr_schedule": search_spaces.lr_schedule(peak=False), "lr": Float(1e-4, 1e-1, log=True)})


def test_two_learning_rates_are_refused():
    with pytest.raises(SpaceError, match=r"space\.lr: the lr schedule has a peak"):
        checked({"lr_schedule": search_spaces.lr_schedule(), "lr": Float(1e-4, 1e-1, log=True)})


def test_the_peak_of_the_lr_schedule_is_the_learning_rate_of_the_run():
    config = {"lr_schedule": {"method": "family", "peak": 0.02, "d_rel": 0.0}}
    assert [p.metrics["lr"] for p in TASK.run(Job(0, config, seed=1))] == pytest.approx([0.02, 0.02])
