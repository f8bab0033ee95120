"""Successive halving without waiting: who is stopped, paused and promoted."""

import dataclasses
import math

import pytest

from autosearch.core import Decision, OptionError, State, Transition
from autosearch.core.ranking import ranks
from autosearch.schedulers.asha import AshaScheduler

from .histories import decision, history, problem

CONTINUE, PAUSE, STOP = Decision.CONTINUE, Decision.PAUSE, Decision.STOP
PAUSED = State.PAUSED


def test_rungs_are_spaced_by_the_reduction_below_the_end() -> None:
    assert AshaScheduler().milestones(problem(fidelity=(None, 27))) == (1, 3, 9)
    assert AshaScheduler(min=2, reduction=2).milestones(problem(fidelity=(None, 20))) == (2, 4, 8, 16)
    assert AshaScheduler(max=10).milestones(problem(fidelity=(None, None))) == (1, 3, 9)
    assert AshaScheduler(reduction=1.5).milestones(problem(fidelity=(1, 6))) == (1, 2, 3, 5)


def test_a_trial_alone_on_a_rung_goes_on() -> None:
    assert decision(AshaScheduler(), [{1: 5.0}]) is CONTINUE


def test_a_trial_outside_the_best_third_is_stopped() -> None:
    others = [{1: 1.0}, {1: 2.0}, {1: 3.0}, {1: 4.0}, {1: 5.0}]
    assert decision(AshaScheduler(), [*others, {1: 1.5}]) is CONTINUE
    assert decision(AshaScheduler(), [*others, {1: 2.5}]) is STOP


def test_the_sole_best_goes_on_before_a_rung_has_filled() -> None:
    assert decision(AshaScheduler(), [{1: 1.0}, {1: 0.9}]) is CONTINUE
    assert decision(AshaScheduler(), [{1: 1.0}, {1: 1.1}]) is STOP


def test_ties_go_on_together() -> None:
    assert decision(AshaScheduler(), [{1: 1.0}, {1: 1.0}, {1: 1.0}]) is CONTINUE


def test_more_is_better_where_the_objective_is_maximized() -> None:
    higher = problem(maximize=True)
    assert decision(AshaScheduler(), [{1: 0.5}, {1: 0.6}], of=higher) is CONTINUE
    assert decision(AshaScheduler(), [{1: 0.5}, {1: 0.4}], of=higher) is STOP


def test_nan_is_the_worst() -> None:
    assert decision(AshaScheduler(), [{1: 9.0}, {1: math.nan}]) is STOP
    assert decision(AshaScheduler(), [{1: math.nan}, {1: 9.0}]) is CONTINUE


def test_between_rungs_every_trial_goes_on() -> None:
    assert decision(AshaScheduler(), [{1: 1.0, 2: 1.0}, {1: 0.5, 2: 9.0}]) is CONTINUE


def test_a_rung_is_reached_by_the_first_report_beyond_it() -> None:
    others = [{1: 1.0, 4: 0.5}]
    assert decision(AshaScheduler(), [*others, {1: 0.9, 4: 0.6}]) is STOP
    assert decision(AshaScheduler(), [*others, {1: 0.9, 4: 0.4, 5: 9.0}]) is CONTINUE


def test_a_failed_trial_still_stands_where_it_got() -> None:
    assert decision(AshaScheduler(), [{1: 1.0}, {1: 2.0}], states={0: State.FAILED}) is STOP


def test_infeasible_trials_stand_behind_feasible_ones() -> None:
    small = problem(constraints=["size <= 10"])
    feasible, infeasible = {"loss": 1.0, "size": 5.0}, {"loss": 0.1, "size": 20.0}
    assert decision(AshaScheduler(), [{1: feasible}, {1: infeasible}], of=small) is STOP
    assert decision(AshaScheduler(), [{1: infeasible}, {1: feasible}], of=small) is CONTINUE
    nearly = {"loss": 0.5, "size": 11.0}
    assert decision(AshaScheduler(), [{1: infeasible}, {1: nearly}], of=small) is CONTINUE


def test_a_constraint_measured_at_the_end_only_does_not_count_before() -> None:
    small = problem(constraints=["size <= 10"])
    assert decision(AshaScheduler(), [{1: 1.0}, {1: 0.5}], of=small) is CONTINUE


def test_with_several_objectives_the_front_goes_on_and_the_dominated_stop() -> None:
    two = problem("loss", "size")
    front = [{1: {"loss": 1.0, "size": 3.0}}, {1: {"loss": 3.0, "size": 1.0}}]
    assert decision(AshaScheduler(), [*front, {1: {"loss": 2.0, "size": 2.0}}], of=two) is CONTINUE
    assert decision(AshaScheduler(), [*front, {1: {"loss": 4.0, "size": 4.0}}], of=two) is STOP


def test_a_promotion_goes_to_the_best_paused_third() -> None:
    scheduler = AshaScheduler(pause=True)
    seen = history([{1: 3.0}, {1: 1.0}, {1: 2.0}], states=dict.fromkeys(range(3), PAUSED))
    assert [s.resume for s in scheduler.propose(seen, 4)] == [1]


def test_nobody_is_promoted_before_a_rung_has_filled() -> None:
    scheduler = AshaScheduler(pause=True)
    assert scheduler.propose(history([{1: 3.0}, {1: 1.0}], states={0: PAUSED, 1: PAUSED}), 4) == []


def test_the_highest_rung_is_promoted_first() -> None:
    top = [{1: 0.1 * i, 3: float(i)} for i in range(1, 4)]
    low = [{1: 0.01 * i} for i in range(1, 7)]
    seen = history([*top, *low], states=dict.fromkeys(range(9), PAUSED))
    assert [s.resume for s in AshaScheduler(pause=True).propose(seen, 9)] == [0, 3, 4, 5]


def test_pausing_waits_at_a_rung_unless_promoted_at_once() -> None:
    scheduler = AshaScheduler(pause=True)
    assert decision(scheduler, [{1: 1.0}]) is PAUSE
    assert decision(scheduler, [{1: 1.0}, {1: 2.0}, {1: 0.5}]) is CONTINUE


def test_the_best_is_promoted_alone_once_no_new_trial_may_begin() -> None:
    last = problem(trials=2)
    scheduler = AshaScheduler(pause=True)
    seen = history([{1: 3.0}, {1: 1.0}], states={0: PAUSED, 1: PAUSED}, of=last)
    assert [s.resume for s in scheduler.propose(seen, 4)] == [1]
    still_running = history([{1: 3.0}, {1: 1.0}], states={1: PAUSED}, of=last)
    assert scheduler.propose(still_running, 4) == []


def test_a_thawed_trial_that_starts_from_scratch_is_not_paused_at_the_same_rung_again() -> None:
    seen = history([{1: 0.0}, {1: 0.1}, {1: 1.0}], states=dict.fromkeys(range(3), PAUSED))
    paused = seen[2]
    again = dataclasses.replace(
        paused, state=State.RUNNING, transitions=(*paused.transitions, Transition(90, State.RUNNING, 0))
    )
    report = dataclasses.replace(paused.reports[0], event=91, attempt=1)
    again = dataclasses.replace(again, reports=(*again.reports, report))
    later = type(seen)(seen.problem, [*seen[:2], again])
    assert AshaScheduler(pause=True).decide(later, again) is CONTINUE


def test_an_old_cache_never_shows() -> None:
    long_lived = AshaScheduler()
    first = history([{1: 1.0}, {1: 2.0}, {1: 0.5, 3: 0.5}])
    second = history([{1: 9.0}, {1: 2.0}])
    shorter = type(first)(first.problem, first[:2])
    flipped = first.with_problem(problem(maximize=True))
    for seen in (first, second, shorter, flipped, first):
        for trial in seen:
            alone = type(seen)(seen.problem, seen[: trial.number + 1])
            assert long_lived.decide(alone, trial) is AshaScheduler().decide(alone, trial)


def test_places_with_several_objectives_are_those_of_the_ranks() -> None:
    import numpy as np

    from autosearch.schedulers.ladder import Rung

    values = np.random.default_rng(0).random((60, 2)).round(1)
    rung = Rung(2)
    for number, row in enumerate(values):
        rung.put(number, 0.0, tuple(row))
    for number in range(0, 60, 7):
        rung.remove(number)
    left = [number for number in range(60) if number % 7]
    expected = ranks(values[left])
    assert [rung.place(n) for n in left] == [int((expected < rank).sum()) for rank in expected]


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"min": 0}, "min"),
        ({"min": 9, "max": 3}, "min"),
        ({"reduction": 1.0}, "reduction"),
        ({"max": 0}, "max"),
    ],
)
def test_impossible_options_are_refused(options: dict, option: str) -> None:
    with pytest.raises(OptionError) as caught:
        AshaScheduler(**options)
    assert caught.value.option == option


def test_a_first_rung_beyond_the_study_s_end_is_refused() -> None:
    with pytest.raises(OptionError, match="min is 30, but a trial is complete at step 27"):
        AshaScheduler(min=30).check(problem())
