"""Brackets: who belongs where, asynchronous stopping within a bracket, synchronised halving by pausing."""

from collections import Counter

import pytest

from autosearch.core import Decision, OptionError, State
from autosearch.schedulers.hyperband import Brackets, HyperbandScheduler

from .histories import decision, history, problem

PAUSED = State.PAUSED


def test_the_brackets_of_the_paper_s_example_have_its_sizes() -> None:
    """Table 1 of the paper: R = 81, eta = 3."""
    brackets = Brackets.of((1, 3, 9, 27), 3, None)
    assert brackets.sizes == (81, 34, 15, 8, 5)
    assert brackets.climbs(0) == (1, 3, 9, 27)
    assert brackets.climbs(81) == (3, 9, 27)
    assert brackets.climbs(142) == ()


def test_the_bracket_is_a_function_of_the_number_in_cycles() -> None:
    brackets = Brackets.of((1, 3), 3, None)
    assert brackets.sizes == (9, 5, 3)
    assert Counter(brackets.find(number)[1] for number in range(34)) == {0: 18, 1: 10, 2: 6}
    assert brackets.find(17) == (1, 0)


def test_every_number_belongs_to_the_instance_that_lists_it() -> None:
    brackets = Brackets.of((1, 3), 3, 2)
    listed = {n: group for group, numbers in brackets.instances(40) for n in numbers}
    assert all(listed[number] == brackets.find(number) for number in range(40))


def test_trials_are_compared_within_their_bracket_only() -> None:
    scheduler = HyperbandScheduler(max=9)
    widest = [{1: 0.1, 3: 0.1}] * 9
    assert decision(scheduler, [*widest, {3: 5.0}], of=problem(fidelity=(1, 9))) is Decision.CONTINUE
    assert decision(scheduler, [*widest, {3: 5.0}, {3: 6.0}], of=problem(fidelity=(1, 9))) is Decision.STOP


def test_the_last_bracket_lets_every_trial_run() -> None:
    seen = [{1: 0.1, 3: 0.1}] * 14
    ends = problem(fidelity=(1, 9))
    assert decision(HyperbandScheduler(), [*seen, {1: 9.0, 3: 9.0, 8: 9.0}], of=ends) is Decision.CONTINUE


def test_a_synchronised_bracket_waits_for_all_of_its_trials() -> None:
    scheduler = HyperbandScheduler(pause=True)
    ends = problem(fidelity=(1, 9))
    curves = [{1: float(n)} for n in range(9)]
    not_yet = history([*curves[:8], {}], states=dict.fromkeys(range(8), PAUSED), of=ends)
    assert scheduler.propose(not_yet, 9) == []
    together = history(curves, states=dict.fromkeys(range(9), PAUSED), of=ends)
    assert [s.resume for s in scheduler.propose(together, 9)] == [0, 1, 2]


def test_a_failed_trial_does_not_hold_up_its_bracket() -> None:
    ends = problem(fidelity=(1, 9))
    states = {**dict.fromkeys(range(8), PAUSED), 8: State.FAILED}
    seen = history([*({1: 9.0 - n} for n in range(8)), {}], states=states, of=ends)
    assert [s.resume for s in HyperbandScheduler(pause=True).propose(seen, 2)] == [7, 6]


def test_the_second_rung_is_halved_among_those_promoted() -> None:
    ends = problem(fidelity=(1, 9))
    promoted = [{1: 0.0, 3: 2.0}, {1: 1.0, 3: 1.0}, {1: 2.0, 3: 3.0}]
    left = [{1: float(n)} for n in range(3, 9)]
    seen = history([*promoted, *left], states=dict.fromkeys(range(9), PAUSED), of=ends)
    assert [s.resume for s in HyperbandScheduler(pause=True).propose(seen, 9)] == [1]


def test_a_bracket_cut_short_by_the_budget_is_halved_as_it_is() -> None:
    ends = problem(fidelity=(1, 9), trials=4)
    seen = history([{1: float(n)} for n in range(4)], states=dict.fromkeys(range(4), PAUSED), of=ends)
    assert [s.resume for s in HyperbandScheduler(pause=True).propose(seen, 9)] == [0]


def test_a_study_without_an_end_is_refused() -> None:
    with pytest.raises(OptionError, match="give `max`"):
        HyperbandScheduler().check(problem(fidelity=(None, None)))


def test_a_bracket_less_than_one_is_refused() -> None:
    with pytest.raises(OptionError, match="brackets must be at least 1, got 0"):
        HyperbandScheduler(brackets=0)
