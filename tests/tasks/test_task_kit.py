"""Built-in tasks pass the kit that users run on their own, and the kit finds what is wrong."""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from autosearch.core import Decision, Job, Objective, Progress
from autosearch.core.plugins import load
from autosearch.testing.task_kit import TaskKit


class TestSynthetic(TaskKit):
    def task(self) -> Objective:
        return load("tasks", "synthetic_curves")(steps=5, noise=0.1)

    def config(self) -> Mapping[str, Any]:
        return {"x": 0.5, "rate": 0.4}


class TestTabular(TaskKit):
    def task(self) -> Objective:
        return load("tasks", "tabular_classification")(dataset="wine", epochs=4)

    def config(self) -> Mapping[str, Any]:
        return {"lr": 0.01, "width": 8}


class TestImages(TaskKit):
    def task(self) -> Objective:
        return load("tasks", "image_classification")(dataset="digits", model="mlp", epochs=3, train_size=200)

    def config(self) -> Mapping[str, Any]:
        return {"lr": 0.01, "width": 8, "dropout": 0.3}


class Faulty:
    """A task with one thing wrong."""

    max_step = 4

    def __init__(self, fault: str) -> None:
        self._fault = fault

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        state = 1.0 if job.checkpoint is None or self._fault == "forgets" else 1.0 + job.step
        for step in range(job.step + 1, (3 if self._fault == "short" else 4) + 1):
            state += 1
            metric: Any = "high" if self._fault == "text" else state
            if self._fault == "random":
                metric = float(id(object()) + len(_calls))
                _calls.append(metric)
            shown = 1 if self._fault == "steps" else step
            save = None if self._fault == "no checkpoint" else lambda folder: (folder / "s").touch()
            yield Progress({"loss": metric}, shown, save=save)


_calls: list[float] = []


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("text", "test_steps_rise_and_metrics_are_numbers", "must be numbers"),
        ("steps", "test_steps_rise_and_metrics_are_numbers", "must rise"),
        ("short", "test_it_ends_where_it_says", "max_step is 4"),
        ("random", "test_the_same_job_gives_the_same_reports", "two runs"),
        ("no checkpoint", "test_it_goes_on_from_a_checkpoint_as_if_it_had_never_stopped", "no checkpoint"),
        ("forgets", "test_it_goes_on_from_a_checkpoint_as_if_it_had_never_stopped", "never cut"),
    ],
)
def test_the_kit_finds_a_fault(fault: str, test: str, message: str) -> None:
    class Kit(TaskKit):
        def task(self) -> Objective:
            return Faulty(fault)

        def config(self) -> Mapping[str, Any]:
            return {"x": 1.0}

    with pytest.raises(AssertionError, match=message):
        getattr(Kit(), test)()


def test_a_task_without_a_fault_passes(tmp_path: Path) -> None:
    class Kit(TaskKit):
        def task(self) -> Objective:
            return Faulty("none")

        def config(self) -> Mapping[str, Any]:
            return {"x": 1.0}

    for name in dir(Kit):
        if name.startswith("test_") and "process" not in name:
            getattr(Kit(), name)()
