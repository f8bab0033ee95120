"""The median stopping rule."""

import math

import numpy as np
import pytest

from autosearch.core import Decision, OptionError
from autosearch.schedulers.median import MedianScheduler

from .histories import decision, problem

CONTINUE, STOP = Decision.CONTINUE, Decision.STOP


def flat(value: float, steps: int = 4) -> dict[int, float]:
    return dict.fromkeys(range(1, steps + 1), value)


FIVE = [flat(value) for value in (1.0, 2.0, 3.0, 4.0, 5.0)]


def test_a_trial_worse_than_the_median_is_stopped() -> None:
    assert decision(MedianScheduler(), [*FIVE, flat(3.5)]) is STOP
    assert decision(MedianScheduler(), [*FIVE, flat(2.5)]) is CONTINUE
    assert decision(MedianScheduler(), [*FIVE, flat(3.0)]) is CONTINUE


def test_the_best_value_so_far_counts_not_the_present_one() -> None:
    assert decision(MedianScheduler(), [*FIVE, {1: 2.5, 2: 9.0}]) is CONTINUE


def test_others_count_by_their_average_up_to_the_step() -> None:
    falling = [{1: 9.0, 2: 1.0, 3: -90.0}] * 5
    assert decision(MedianScheduler(), [*falling, {1: 6.0, 2: 6.0}]) is STOP
    assert decision(MedianScheduler(), [*falling, {1: 4.9, 2: 4.9}]) is CONTINUE


def test_the_rule_waits_for_its_warmup_and_first_step() -> None:
    assert decision(MedianScheduler(), [*FIVE[:4], flat(9.0)]) is CONTINUE
    assert decision(MedianScheduler(warmup=4), [*FIVE[:4], flat(9.0)]) is STOP
    assert decision(MedianScheduler(min=5), [*FIVE, flat(9.0)]) is CONTINUE


def test_only_trials_that_came_as_far_are_compared_with() -> None:
    assert decision(MedianScheduler(), [*FIVE, flat(9.0, steps=5)]) is CONTINUE


def test_the_percentile_says_how_many_go_on() -> None:
    assert decision(MedianScheduler(percentile=20), [*FIVE, flat(1.5)]) is STOP
    assert decision(MedianScheduler(percentile=80), [*FIVE, flat(3.9)]) is CONTINUE


def test_the_percentile_agrees_with_numpy() -> None:
    values = np.random.default_rng(0).random(21)
    for percentile in (10, 25, 50, 90):
        bound = np.percentile(values, percentile, method="inverted_cdf")
        curves = [flat(float(v)) for v in values]
        scheduler = MedianScheduler(percentile=percentile)
        assert decision(scheduler, [*curves, flat(bound + 1e-9)]) is STOP
        assert decision(scheduler, [*curves, flat(bound)]) is CONTINUE


def test_nan_is_the_worst() -> None:
    assert decision(MedianScheduler(), [*FIVE, flat(math.nan)]) is STOP
    diverged = [flat(math.nan)] * 5
    assert decision(MedianScheduler(), [*diverged, flat(1e9)]) is CONTINUE


def test_the_sole_best_goes_on_even_where_all_curves_rise() -> None:
    rising = [{1: 0.1, 2: 5.0}] * 5
    assert decision(MedianScheduler(), [*rising, {1: 4.9, 2: 4.9}]) is CONTINUE
    assert decision(MedianScheduler(), [*rising, {1: 5.1, 2: 5.1}]) is STOP


def test_infeasible_reports_count_as_the_worst() -> None:
    small = problem(constraints=["size <= 1"])
    fits = [{1: {"loss": float(v), "size": 0.5}} for v in range(1, 6)]
    assert decision(MedianScheduler(), [*fits, {1: {"loss": 0.0, "size": 2.0}}], of=small) is STOP


def test_several_objectives_are_compared_by_rank() -> None:
    two = problem("loss", "size")
    diagonal = [{1: {"loss": float(v), "size": float(v)}} for v in range(1, 6)]
    assert decision(MedianScheduler(), [*diagonal, {1: {"loss": 4.5, "size": 4.5}}], of=two) is STOP
    assert decision(MedianScheduler(), [*diagonal, {1: {"loss": 0.5, "size": 9.0}}], of=two) is CONTINUE


@pytest.mark.parametrize("options", [{"percentile": 0.0}, {"percentile": 100.0}, {"warmup": 0}, {"min": 0}])
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(OptionError) as caught:
        MedianScheduler(**options)
    assert caught.value.option == next(iter(options))
