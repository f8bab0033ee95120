"""Synthetic curves: the optimum is where it is said to be, faults strike as told, checkpoints carry what was learnt."""

import itertools
import math
from pathlib import Path

import pytest

from autosearch.core import Goal, Job, OptionError, Problem
from autosearch.space import Float, SearchSpace
from autosearch.tasks.synthetic import SyntheticCurves


def job(number: int = 0, **changes) -> Job:
    return Job(**{"number": number, "config": {"x": 0.3}, "seed": number, **changes})


def losses(task: SyntheticCurves, asked: Job) -> list[float]:
    return [progress.metrics["loss"] for progress in task.run(asked)]


def test_the_best_configuration_is_the_one_at_the_optimum() -> None:
    task = SyntheticCurves(steps=50, optimum=0.7)
    ends = {x: losses(task, job(config={"x": x, "deep": {"y": 0.7}}))[-1] for x in (0.6, 0.7, 0.8)}
    assert min(ends, key=ends.__getitem__) == 0.7
    assert ends[0.7] == pytest.approx(math.exp(-5))


def test_the_rate_makes_curves_cross() -> None:
    task = SyntheticCurves(steps=10)
    slow_but_good = losses(task, job(config={"x": 0.3, "rate": 0.2}))
    fast_but_poor = losses(task, job(config={"x": 0.9, "rate": 2.0}))
    assert slow_but_good[0] > fast_but_poor[0]
    assert slow_but_good[-1] < fast_but_poor[-1]


def test_noise_is_a_function_of_trial_and_step() -> None:
    task = SyntheticCurves(noise=0.1)
    assert losses(task, job(1)) == losses(task, job(1))
    assert losses(task, job(1)) != losses(task, job(2))


def test_a_checkpoint_carries_what_a_parent_has_learnt(tmp_path: Path) -> None:
    task = SyntheticCurves(steps=9)
    parent = list(itertools.islice(task.run(job()), 4))[-1]
    parent.save(tmp_path)
    resumed = list(task.run(job(checkpoint=tmp_path)))
    assert [progress.step for progress in resumed] == [5, 6, 7, 8, 9]
    assert [progress.metrics["loss"] for progress in resumed] == losses(task, job())[4:]
    child = next(task.run(job(1, config={"x": 0.5}, checkpoint=tmp_path)))
    assert child.metrics["loss"] < losses(task, job(1, config={"x": 0.5}))[0]


def test_failures_strike_their_share_and_spare_later_attempts() -> None:
    task = SyntheticCurves(steps=3, fail_rate=0.5, fail_attempts=1)
    failed = []
    for number in range(40):
        try:
            losses(task, job(number))
        except RuntimeError:
            failed.append(number)
    assert 10 <= len(failed) <= 30
    assert all(len(losses(task, job(number, attempt=1))) == 3 for number in failed)


def test_diverged_curves_stay_nan() -> None:
    curve = losses(SyntheticCurves(steps=9, nan_rate=1.0), job(3))
    bad = [math.isnan(loss) for loss in curve]
    assert bad[-1]
    assert bad == sorted(bad)


def test_objectives_that_it_does_not_measure_are_refused() -> None:
    problem = Problem(SearchSpace({"x": Float(0, 1)}), (Goal("accuracy"),))
    with pytest.raises(OptionError, match="measures loss and size, not 'accuracy'"):
        SyntheticCurves().check(problem)


@pytest.mark.parametrize(("option", "value"), [("steps", 0), ("fail_rate", 1.5), ("nan_rate", -0.1)])
def test_impossible_options_are_refused(option: str, value: float) -> None:
    with pytest.raises(OptionError) as caught:
        SyntheticCurves(**{option: value})
    assert caught.value.option == option
