"""What trials are worth to the search when they fail, break constraints, or have several objectives."""

import numpy as np

from autosearch.core import Goal, History, Problem, Report, State, Transition, Trial
from autosearch.methods.robot.results import order_of, results
from autosearch.space import SearchSpace

SPACE = SearchSpace({"x": [0, 1, 2, 3, 4]})


def history(*rows: tuple[State, tuple[float, ...] | None, tuple[float, ...]]) -> History:
    goals = tuple(Goal(f"m{j}") for j in range(2))
    trials = []
    for number, (state, values, violations) in enumerate(rows):
        end = (Transition(2 * number, State.RUNNING), Transition(2 * number + 1, state))
        trials.append(
            Trial(number, {"x": number}, state, values=values, violations=violations, transitions=end)
        )
    return History(Problem(SPACE, goals), trials)


def test_a_failed_trial_is_the_worst_and_one_that_breaks_a_constraint_worse() -> None:
    found = results(
        history(
            (State.COMPLETE, (1.0, 4.0), ()),
            (State.COMPLETE, (3.0, 2.0), ()),
            (State.FAILED, None, ()),
            (State.COMPLETE, (0.0, 0.0), (5.0,)),
            (State.STOPPED, None, ()),
        )
    )
    np.testing.assert_array_equal(found[0], [-1.0, -4.0])
    np.testing.assert_array_equal(found[2], [-3.0, -4.0])
    np.testing.assert_array_equal(found[4], [-3.0, -4.0])
    assert (found[3] < found[2]).all(), "its values would be the best"


def test_results_are_ordered_front_by_front() -> None:
    Y = np.array([[0.0, 0.0], [3.0, 1.0], [1.0, 3.0], [2.0, 0.5]])
    assert set(order_of(Y)[:2].tolist()) == {1, 2}
    assert order_of(Y).tolist()[2:] == [3, 0]
    assert order_of(np.array([[1.0], [3.0], [2.0]])).tolist() == [1, 2, 0]


def test_a_report_that_is_no_number_says_nothing_of_what_a_stopped_trial_would_have_gained() -> None:
    def trial(number: int, state: State, values: tuple[float, ...] | None, reported: float) -> Trial:
        end = (Transition(2 * number, State.RUNNING), Transition(2 * number + 1, state))
        reports = (Report(1, {"m": reported}, 1.0, 2 * number),)
        return Trial(number, {"x": number}, state, values=values, reports=reports, transitions=end)

    trials = [
        trial(0, State.COMPLETE, (1.0,), float("nan")),
        trial(1, State.COMPLETE, (2.0,), 4.0),
        trial(2, State.STOPPED, None, 5.0),
    ]
    found = results(History(Problem(SPACE, (Goal("m"),)), trials))
    np.testing.assert_array_equal(found[2], [-3.0])
