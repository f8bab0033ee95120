"""Stopping by a bound."""

import math

import pytest

from autosearch.core import Decision, OptionError, Problem
from autosearch.core.plugins import build
from autosearch.schedulers.threshold import ThresholdScheduler

from .histories import SPACE, decision

CONTINUE, STOP = Decision.CONTINUE, Decision.STOP


def test_a_value_past_the_bound_stops_from_the_given_step_on() -> None:
    scheduler = ThresholdScheduler(above=1.0, at=3)
    assert decision(scheduler, [{1: 9.0, 2: 9.0}]) is CONTINUE
    assert decision(scheduler, [{1: 9.0, 3: 9.0}]) is STOP
    assert decision(scheduler, [{4: 1.0}]) is CONTINUE


def test_values_are_compared_as_measured_whatever_the_objective_s_direction() -> None:
    scheduler = ThresholdScheduler(metric="accuracy", below=0.5)
    assert decision(scheduler, [{1: {"loss": 0.1, "accuracy": 0.4}}]) is STOP
    assert decision(scheduler, [{1: {"loss": 0.1, "accuracy": 0.6}}]) is CONTINUE


def test_nan_is_past_any_bound_and_a_missing_metric_is_not() -> None:
    assert decision(ThresholdScheduler(below=-1e9), [{1: math.nan}]) is STOP
    assert decision(ThresholdScheduler(metric="accuracy", below=0.5), [{1: 1.0}]) is CONTINUE


def test_the_first_step_is_a_milestone() -> None:
    assert ThresholdScheduler(below=0.5, at=300).milestones(Problem(SPACE, ())) == (300,)


@pytest.mark.parametrize("options", [{}, {"below": 2.0, "above": 1.0}, {"below": 1.0, "at": -1}])
def test_bounds_that_stop_all_or_none_are_refused(options: dict) -> None:
    with pytest.raises(OptionError):
        ThresholdScheduler(**options)


def test_a_study_without_objectives_needs_a_metric() -> None:
    with pytest.raises(OptionError, match="needs a `metric`"):
        ThresholdScheduler(below=1.0).check(Problem(SPACE, ()))


@pytest.mark.parametrize("name", ["none", "asha", "hyperband", "median"])
def test_every_scheduler_is_found_by_its_name_and_refuses_unknown_options(name: str) -> None:
    assert build("schedulers", name) is not None
    with pytest.raises(OptionError, match="unknown option"):
        build("schedulers", {"method": name, "etaa": 3})
