"""The virtual clock."""

import time

from autosearch.core import Budget, Decision, Job, Progress, Resources, RunSettings, State, Study
from autosearch.runners.simulated import SimulatedRunner
from autosearch.space import Float
from autosearch.testing.runner_kit import STEPS, Script, Walk, script_study
from autosearch.testing.scheduler_kit import Curves, simulate


def run(script: Script, objective, parallel: int, **options) -> Study:
    study = script_study(script, **options)
    SimulatedRunner(RunSettings(resources=Resources(parallel=parallel))).run(study, objective)
    return study


def test_time_passes_in_parallel() -> None:
    assert run(Script(6), Walk(), parallel=1).elapsed_s == 6 * STEPS
    study = run(Script(6), Walk(), parallel=3)
    assert study.elapsed_s == 2 * STEPS
    assert [trial.started_s for trial in study.history] == [0, 0, 0, STEPS, STEPS, STEPS]
    assert all(trial.seconds == STEPS for trial in study.history)


def test_reports_come_in_the_order_of_virtual_time() -> None:
    class Uneven:
        def run(self, job: Job):
            for step in range(1, 4):
                yield Progress({"loss": 1.0}, step=step, seconds=(3.0, 1.0)[job.number])

    study = run(Script(2), Uneven(), parallel=2)
    events = sorted(
        (report.event, trial.number, report.step) for trial in study.history for report in trial.reports
    )
    assert [(number, step) for _, number, step in events] == [(1, 1), (1, 2), (0, 1), (1, 3), (0, 2), (0, 3)]


def test_the_same_study_runs_the_same_twice() -> None:
    def trace(study: Study) -> list:
        return [(t.config, t.state, t.reports, t.transitions, t.started_s, t.seconds) for t in study.history]

    first, second = (simulate_once() for _ in range(2))
    assert trace(first) == trace(second)


def simulate_once() -> Study:
    from autosearch.core.plugins import build

    return simulate(build("schedulers", {"method": "asha", "pause": True}), Curves())


def test_a_budget_of_minutes_is_virtual_and_leaves_trials_resumable() -> None:
    study = run(Script(99), Walk(), parallel=2, budget=Budget(minutes=9 / 60))
    assert [trial.state for trial in study.history] == [State.COMPLETE] * 2 + [State.RUNNING] * 2
    assert [trial.step for trial in study.history] == [STEPS, STEPS, 3, 3]


def test_a_slot_is_free_at_once_when_a_trial_fails_before_its_first_step() -> None:
    study = run(Script(3), Walk(fails={0: (1, 9)}), parallel=1)
    assert [trial.state for trial in study.history] == [State.FAILED, State.COMPLETE, State.COMPLETE]
    assert study.elapsed_s == 2 * STEPS


def test_a_paused_trial_frees_its_worker() -> None:
    study = run(Script(2, {(0, 2): Decision.PAUSE}), Walk(), parallel=1)
    assert study.history[1].started_s == 2
    assert study.history[0].transitions[-1].event > study.history[1].transitions[-1].event


def test_hours_of_halving_take_seconds() -> None:
    space = {"x": Float(0.0, 1.0), "rate": Float(0.05, 0.5)}
    begun = time.process_time()
    study = Study(
        space,
        {"loss": "minimize"},
        searcher="random",
        scheduler="asha",
        budget={"trials": 300},
        fidelity=(1, 27),
    )
    SimulatedRunner(RunSettings(resources=Resources(parallel=8))).run(study, Curves())
    assert len(study.history) == 300
    assert time.process_time() - begun < 10
