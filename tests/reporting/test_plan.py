import time
from collections.abc import Generator
from pathlib import Path

import pytest

from autosearch.core import Budget, Decision, Goal, Job, Problem, Progress, Resources, StudyError, Trial
from autosearch.reporting.plan import Probe, Rehearsal, estimate, probe, rehearse, workers_of
from autosearch.space import Float, SearchSpace

SPACE = SearchSpace({"lr": Float(1e-4, 1e-1, log=True)})
TRIAL = Trial(0, {"lr": 0.01})


def problem(
    trials: int | None = 27, fidelity: tuple[int | None, int | None] = (1, 9), **more: object
) -> Problem:
    values = {"budget": Budget(trials=trials), "fidelity": fidelity, **more}
    return Problem(SPACE, (Goal("loss"),), **values)  # type: ignore[arg-type]


class Timed:
    """An objective whose clock is moved by hand: 10 s to load (once), 2 s to build, 3 s a step."""

    def __init__(self, natural_end: int = 9, error: Exception | None = None) -> None:
        self.now, self.loaded, self.closed = 0.0, False, 0
        self.end, self.error = natural_end, error

    def clock(self) -> float:
        return self.now

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        try:
            self.now += 2.0 if self.loaded else 12.0
            self.loaded = True
            for step in range(1, self.end + 1):
                self.now += 3.0
                if self.error:
                    raise self.error
                yield Progress({"loss": 1.0 / step}, step=step, save=lambda folder: self.save(folder))
        finally:
            self.closed += 1

    @staticmethod
    def save(folder: Path) -> None:
        (folder / "weights").write_bytes(b"x" * 1000)


def test_the_probe_tells_loading_from_training_and_sizes_a_checkpoint() -> None:
    task = Timed()
    found = probe(task, problem(), TRIAL, clock=task.clock)
    assert (found.steps, found.step_s, found.setup_s, found.whole) == (2, 3.0, 12.0, False)
    assert found.checkpoint_bytes == 1000
    assert task.closed == 1


def test_where_a_process_is_reused_loading_is_counted_once() -> None:
    task = Timed()
    found = probe(task, problem(), TRIAL, reused=True, clock=task.clock)
    assert (found.setup_s, found.once_s) == (2.0, 10.0)


def test_a_probe_without_fidelity_may_run_to_its_end() -> None:
    task = Timed(natural_end=1)
    found = probe(task, problem(fidelity=(None, None)), TRIAL, clock=task.clock)
    assert found.whole
    assert found.seconds == 15.0


def test_a_probe_of_code_that_only_returns_its_result_is_one_step() -> None:
    class Returns(Timed):
        def run(self, job: Job) -> Generator[Progress, Decision, Progress]:
            yield from ()
            self.now += 4.0
            return Progress({"loss": 0.5})

    task = Returns()
    found = probe(task, problem(fidelity=(None, None)), TRIAL, clock=task.clock)
    assert (found.steps, found.step_s, found.seconds, found.whole) == (1, 4.0, 4.0, True)
    assert found.metrics == {"loss": 0.5}


def test_a_probe_that_fails_says_why() -> None:
    with pytest.raises(StudyError, match="the probe trial failed: ValueError: no data"):
        probe(Timed(error=ValueError("no data")), problem(), TRIAL)
    with pytest.raises(StudyError, match="without a report or a result"):
        probe(Timed(natural_end=0), problem(), TRIAL)


def test_without_a_scheduler_every_trial_reaches_every_step() -> None:
    found = rehearse(problem(), None)
    assert set(found.rungs.values()) == {(1.0, 1.0)}
    assert found.steps == (9.0, 9.0)
    assert max(found.rungs) == 9


def test_halving_lets_about_a_third_through_each_rung() -> None:
    found = rehearse(problem(), {"method": "asha"})
    assert list(found.rungs) == [1, 3, 9]
    assert found.rungs[1] == (1.0, 1.0)
    assert all(0.25 <= share <= 0.5 for share in found.rungs[3])
    assert all(0.05 <= share <= 0.25 for share in found.rungs[9])
    assert found.steps is not None
    assert found.steps[1] < 4


def test_pausing_holds_checkpoints() -> None:
    assert rehearse(problem(), {"method": "asha", "pause": True}).paused > 0.3


def test_no_upper_fidelity_leaves_nothing_to_rehearse() -> None:
    assert rehearse(problem(fidelity=(None, None)), None) == Rehearsal({}, None)


PROBE = Probe({}, 2, 18.0, 12.0, 3.0, 0.0, whole=False, checkpoint_bytes=1000)
FULL = Rehearsal({9: (1.0, 1.0)}, (9.0, 9.0))


def test_the_estimate_brackets_what_the_probe_says() -> None:
    found = estimate(problem(trials=100), PROBE, FULL, workers=4)
    assert found.hours is not None
    said = 100 * (12 + 9 * 3) / 4 / 3600
    assert found.hours[0] < said < found.hours[1]
    assert found.trials == (100, 100)
    assert found.disk_bytes == (1000, 9000)
    assert any("between 0.5 and 2 times" in words for words in found.assumptions)


def test_the_cost_follows_the_price() -> None:
    found = estimate(problem(trials=100, price_per_hour=2.0), PROBE, FULL, workers=4)
    assert found.cost is not None
    assert found.hours is not None
    assert found.cost[1] == pytest.approx(2.0 * 4 * found.hours[1])


def test_a_budget_of_minutes_ends_the_study_and_says_how_many_trials_fit() -> None:
    limited = problem(trials=None, budget=Budget(minutes=30))
    found = estimate(limited, PROBE, FULL, workers=2)
    assert found.trials is not None
    assert found.hours is not None
    assert 1 <= found.trials[0] < found.trials[1]
    assert found.hours[1] <= 0.5


def test_a_budget_of_cost_caps_the_cost() -> None:
    limited = problem(trials=10_000, budget=Budget(cost=5.0), price_per_hour=2.0)
    found = estimate(limited, PROBE, FULL, workers=2)
    assert found.cost is not None
    assert found.cost[1] <= 5.0


def test_without_a_probe_only_the_budget_speaks() -> None:
    found = estimate(problem(trials=10), None, FULL, workers=1)
    assert (found.trials, found.hours, found.cost, found.disk_bytes) == ((10, 10), None, None, None)


def test_a_trial_of_unknown_length_is_said_to_be_unknown() -> None:
    found = estimate(problem(fidelity=(None, None)), PROBE, Rehearsal({}, None), workers=1)
    assert found.hours is None
    assert any("scheduler.max" in words for words in found.assumptions)


def test_workers_are_bounded_by_the_budget_and_inline_runs_one() -> None:
    assert workers_of(Resources(parallel=8), Budget(trials=3), inline=False) == 3
    assert workers_of(Resources(parallel=8), Budget(), inline=True) == 1


def test_a_rehearsal_takes_seconds_at_most() -> None:
    begun = time.perf_counter()
    rehearse(problem(), {"method": "asha"})
    assert time.perf_counter() - begun < 5.0
