"""What every task must pass: run your own through it, made so small that a run takes a moment.

from autosearch.testing.task_kit import TaskKit

class TestMine(TaskKit):
    def task(self):
        return MyTask(steps=4)

    def config(self):
        return {"lr": 0.01}
"""

import itertools
import math
import pickle
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autosearch.core import Decision, Job, Progress, RunSettings, State, Study
from autosearch.core.plugins import load
from autosearch.core.protocols import Objective


class TaskKit:
    """Tests of one task, or of any Objective; collected by pytest from a subclass called `Test…`.

    Attributes:
        checkpoints: whether it offers checkpoints. If not, an interrupted trial starts afresh.
        until: fidelity at which a run is cut short where the task has no `max_step`; at least 2.
        machine: metrics of the machine, its times and memory, which differ between two runs that should be the same.
        tolerance: relative difference allowed between two runs that should be the same; 0 is to the last bit.
    """

    checkpoints = True
    until = 4
    machine: Collection[str] = ("seconds", "latency_ms", "peak_memory_mb")
    tolerance = 0.0

    def task(self) -> Objective:
        """A fresh task. To be overridden."""
        raise NotImplementedError

    def config(self) -> Mapping[str, Any]:
        """A configuration, nested as the task takes it. To be overridden."""
        raise NotImplementedError

    # -- the tests -----------------------------------------------------------------------------------------

    def test_steps_rise_and_metrics_are_numbers(self) -> None:
        reports = self._run(self._job())
        _require(bool(reports), "it reports nothing")
        steps = [report.step for report in reports]
        rising = all(b > a for a, b in itertools.pairwise(s for s in steps if s is not None))
        _require(
            None not in steps or set(steps) == {None}, f"some reports have a step and some have none: {steps}"
        )
        _require(rising, f"steps must rise, got {steps}")
        for report in reports:
            wrong = {name: value for name, value in report.metrics.items() if not _is_number(value)}
            _require(not wrong, f"metrics must be numbers by name, got {wrong}")
        _require(all(r.metrics for r in reports), "a report without metrics decides nothing")

    def test_it_ends_where_it_says(self) -> None:
        end = getattr(self.task(), "max_step", None)
        if end is not None:
            last = self._run(replace(self._job(), until=None))[-1].step
            _require(last == end, f"max_step is {end}, the last report was at {last}")

    def test_the_same_job_gives_the_same_reports(self) -> None:
        first, second = self._run(self._job()), self._run(self._job())
        self._same(first, second, "two runs of the same job and seed differ")

    def test_it_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(self) -> None:
        if not self.checkpoints:
            return
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            whole = self._run(self._job(), save_into=folder, at=1)
            _require(any(folder.iterdir()), "its second report offers no checkpoint, or an empty one")
            step = whole[1].step or 2
            rest = self._run(replace(self._job(), checkpoint=folder, step=step, attempt=1))
        self._same(
            whole[2:], rest, f"a run that goes on from step {step} differs from one that was never cut"
        )

    def test_it_stops_when_it_is_told(self) -> None:
        run = self.task().run(self._job())
        next(run)
        run.close()  # as runners do after STOP or PAUSE; an error in a `finally` block would come out here

    def test_it_travels_to_another_process(self) -> None:
        copied = pickle.loads(pickle.dumps(self.task()))
        self._same(self._run(self._job()), self._run(self._job(), copied), "a pickled copy runs differently")

    def test_a_study_of_it_completes(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            metric = next(iter(self._run(self._job())[-1].metrics))
            study = Study(
                _flat(self.config()),
                {metric: "minimize"},
                searcher="random",
                budget={"trials": 2},
                fidelity=(None, self._job().until),
            )
            load("runners", "inline")(RunSettings(output=Path(folder))).run(study, self.task())
        states = [trial.state for trial in study.history]
        failures = [trial.failure.message for trial in study.history if trial.failure is not None]
        _require(states == [State.COMPLETE] * 2, f"two trials ended as {states}: {failures}")

    # -- inside --------------------------------------------------------------------------------------------

    def _job(self) -> Job:
        return Job(
            number=0,
            config=self.config(),
            seed=17,
            until=getattr(self.task(), "max_step", None) or self.until,
        )

    def _run(
        self, job: Job, task: Objective | None = None, *, save_into: Path | None = None, at: int = 0
    ) -> list[Progress]:
        """Every report of a run; the `at`-th one's checkpoint is written on the way."""
        reports: list[Progress] = []
        run = (task or self.task()).run(job)
        try:
            progress = next(run)
            while True:
                reports.append(progress)
                if save_into is not None and len(reports) == at + 1 and progress.save is not None:
                    progress.save(save_into)
                if job.until is not None and (progress.step or len(reports)) >= job.until:
                    return reports
                progress = run.send(Decision.CONTINUE)
        except StopIteration:
            return reports
        finally:
            run.close()

    def _same(self, first: list[Progress], second: list[Progress], what: str) -> None:
        _require([r.step for r in first] == [r.step for r in second], f"{what}: other steps")
        for one, other in zip(first, second, strict=True):
            for name, value in one.metrics.items():
                if name in self.machine:
                    continue
                again = other.metrics.get(name, math.nan)
                equal = math.isclose(value, again, rel_tol=self.tolerance, abs_tol=0.0)
                both_nan = math.isnan(value) and math.isnan(again)
                _require(equal or both_nan, f"{what}: {name} at step {one.step} is {value} and {again}")


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as a space in which every parameter is fixed."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float)


def _require(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as the sentence that it checks
    if not holds:
        raise AssertionError(message)
