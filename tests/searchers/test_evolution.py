"""Regularised evolution."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from autosearch.core import Goal, History, OptionError, Problem, State, Study, Trial
from autosearch.core.plugins import build
from autosearch.core.records import Report, Transition
from autosearch.core.seeds import derive_rng
from autosearch.searchers.evolution import EvolutionSearcher, measured, mix
from autosearch.searchers.random import RandomSearcher
from autosearch.space import Categorical, Float, Int, SearchSpace, Subspace

LINE = SearchSpace({"x": Float(0.0, 1.0)})
PLANE = SearchSpace({f"x{i}": Float(0.0, 1.0) for i in range(4)})


def line(values: Sequence[float | Sequence[float]]) -> History:
    """Complete trials at different places, with these values."""
    return History.of(LINE, np.linspace(0.1, 0.9, len(values))[:, None], np.array(values, dtype=float))


def ended(history: History, number: int, **changes: object) -> History:
    trials = [replace(t, **changes) if t.number == number else t for t in history]  # type: ignore[arg-type]
    return History(history.problem, trials)


def parents(history: History, searcher: EvolutionSearcher, draws: int = 60) -> set[int]:
    living = searcher.living(history)
    return {searcher.select(living, derive_rng(i, "test")).number for i in range(draws)}


def test_the_first_population_is_the_start_of_a_sobol_sequence() -> None:
    found = EvolutionSearcher(population=8).suggest(line([]), 8)
    cells = {int(s.config["x"] * 8) for s in found}  # type: ignore[operator]
    assert cells == set(range(8))
    assert {s.info["reason"] for s in found} == {"initial"}


def test_a_batch_that_completes_the_population_goes_no_further() -> None:
    history = line([3.0, 1.0, 2.0])
    reasons = [s.info["reason"] for s in EvolutionSearcher(population=5).suggest(history, 4)]
    assert reasons == ["initial", "initial", "mutation", "mutation"]


def test_a_tournament_of_all_is_won_by_the_best() -> None:
    assert parents(line([3.0, 1.0, 2.0]), EvolutionSearcher(tournament=3)) == {1}


def test_a_tournament_of_one_is_won_by_anybody() -> None:
    assert parents(line([3.0, 1.0, 2.0]), EvolutionSearcher(tournament=1)) == {0, 1, 2}


def test_a_share_of_the_window_enters_a_tournament() -> None:
    # Two of four: the two worst meet sometimes, but the worst never wins.
    assert parents(line([4.0, 1.0, 2.0, 3.0]), EvolutionSearcher(tournament=0.5)) == {1, 2, 3}


def test_parents_come_from_the_newest_results_only() -> None:
    history = line([0.0, 5.0, 4.0, 3.0])
    assert parents(history, EvolutionSearcher(window=3, tournament=3)) == {3}
    assert parents(history, EvolutionSearcher(window=None, tournament=4)) == {0}


def test_failed_stopped_and_running_trials_are_no_parents() -> None:
    history = line([5.0, 0.0, 0.0, 0.0])
    for number, state in ((1, State.FAILED), (2, State.STOPPED), (3, State.RUNNING)):
        transitions = (Transition(2 * number, State.RUNNING), Transition(2 * number + 1, state))
        history = ended(history, number, values=None, state=state, transitions=transitions)
    assert parents(history, EvolutionSearcher(tournament=4)) == {0}


def test_winners_of_several_objectives_are_the_front() -> None:
    history = line([[0.0, 3.0], [3.0, 0.0], [2.0, 2.0], [3.0, 3.0]])
    assert parents(history, EvolutionSearcher(tournament=4)) == {0, 1, 2}
    assert parents(
        line([[0.0, 3.0], [1.0, 1.0], [3.0, 0.0]]), EvolutionSearcher(tournament=3, winner="mean")
    ) == {1}


def test_feasible_trials_win_over_better_infeasible_ones() -> None:
    history = ended(line([5.0, 1.0, 0.0]), 1, violations=(0.5,))
    history = ended(history, 2, violations=(2.0,))
    assert parents(history, EvolutionSearcher(tournament=3)) == {0}
    assert parents(ended(history, 0, violations=(9.0,)), EvolutionSearcher(tournament=3)) == {1}


def test_a_child_differs_from_its_parent_in_as_many_places_as_moves() -> None:
    history = History.of(PLANE, np.full((1, 4), 0.4), np.zeros(1))
    for moves, at_most in ((1, 1), (3, 3)):
        searcher = EvolutionSearcher(population=1, moves=moves)
        changed = []
        for number in range(20):
            problem = replace(history.problem, seed=number)
            child = searcher.suggest(history.with_problem(problem), 1)[0]
            assert child.info["parent"] == 0
            changed.append(sum(child.config[name] != 0.4 for name in child.config))
        assert max(changed) == at_most


def test_fresh_configurations_replace_children_as_often_as_asked() -> None:
    found = EvolutionSearcher(population=1, fresh=0.5).suggest(line([1.0, 2.0, 3.0]), 60)
    fresh = sum(s.info["reason"] == "fresh" for s in found)
    assert 18 <= fresh <= 42  # within 3 standard deviations of 30


def test_crossover_mixes_two_winners() -> None:
    values = np.array([[0.1] * 4, [0.9] * 4])
    history = History.of(PLANE, values, np.array([0.0, 0.0]))
    found = EvolutionSearcher(population=1, tournament=1, crossover=1.0).suggest(history, 30)
    mixed = [s for s in found if {s.info["parent"], s.info["mate"]} == {0, 1}]
    both = [s for s in mixed if {0.1, 0.9} <= set(s.config.values())]
    assert len(both) > len(mixed) / 3


def test_crossover_takes_a_subspace_with_moves_of_its_own_whole() -> None:
    cell = Subspace({"a": Int(0, 9), "b": Int(0, 9)}, neighbours=lambda config, rng, n: [])
    space = SearchSpace({"cell": cell, "x": Int(0, 9), "y": Int(0, 9)})
    first = {"cell.a": 1, "cell.b": 1, "x": 1, "y": 1}
    second = {"cell.a": 2, "cell.b": 2, "x": 2, "y": 2}
    found = [mix(space, first, second, np.random.default_rng(i)) for i in range(40)]
    assert all(c is not None and c["cell.a"] == c["cell.b"] for c in found)
    assert len({tuple(c.values()) for c in found if c}) == 8


def test_crossover_finds_values_of_parameters_that_become_active() -> None:
    space = SearchSpace({"kind": Categorical(["a", "b"]), "m": Float(0.0, 1.0, when="kind == 'b'")})
    found = [mix(space, {"kind": "a"}, {"kind": "b", "m": 0.5}, np.random.default_rng(i)) for i in range(20)]
    assert {tuple(c) for c in found if c is not None} == {("kind",), ("kind", "m")}
    assert None not in found


def test_a_trial_stopped_before_it_reported_was_not_measured() -> None:
    reported = (Report(1, {"loss": 1.0}, 1.0, 1),)
    assert measured(Trial(0, {}, State.STOPPED, reports=reported))
    assert not measured(Trial(0, {}, State.STOPPED))
    assert not measured(Trial(0, {}, State.FAILED, reports=reported))


def test_a_parent_without_moves_is_followed_by_a_random_configuration() -> None:
    cell = Subspace({"a": Float(0.0, 1.0)}, neighbours=lambda config, rng, n: [])
    space = SearchSpace({"cell": cell})
    found = EvolutionSearcher(population=1).suggest(History.of(space, [{"cell.a": 0.5}], np.zeros(1)), 1)
    assert found[0].info["reason"].startswith("random")


def test_equal_functions_are_tried_once() -> None:
    cell = Subspace({"a": Int(0, 1), "b": Int(0, 1)}, canonical=lambda config: config["a"] + config["b"])  # type: ignore[operator]
    study = Study(SearchSpace({"cell": cell}), {"loss": "minimize"}, searcher=EvolutionSearcher(population=2))
    sums = []
    while trials := study.ask(1):
        sums.append(sum(trials[0].config.values()))  # type: ignore[arg-type]
        study.tell(trials[0], 0.0)
    assert sorted(sums) == [0, 1, 2]


def test_evolution_beats_random_search_on_a_bowl() -> None:
    def best(searcher: object, seed: int) -> float:
        X: list[dict[str, object]] = []
        y: list[float] = []
        for _ in range(60):
            history = History.of(PLANE, X, np.array(y), seed=seed)  # type: ignore[arg-type]
            X.append(dict(searcher.suggest(history, 1)[0].config))  # type: ignore[attr-defined]
            y.append(sum((value - 0.37) ** 2 for value in X[-1].values()))  # type: ignore[operator]
        return min(y)

    seeds = range(3)
    ours = [best(EvolutionSearcher(), seed) for seed in seeds]
    theirs = [best(RandomSearcher(), seed) for seed in seeds]
    assert np.mean(ours) < 0.3 * np.mean(theirs)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"population": 0}, "population"),
        ({"window": 0}, "window"),
        ({"moves": 0}, "moves"),
        ({"tournament": 0.0}, "tournament"),
        ({"tournament": 2.5}, "tournament"),
        ({"crossover": 1.5}, "crossover"),
        ({"fresh": -0.1}, "fresh"),
        ({"winner": "worst"}, "winner"),
        ({"initial": "grid"}, "initial"),
        ({"windw": 3}, "windw"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, object], name: str) -> None:
    with pytest.raises(OptionError) as caught:
        build("searchers", {"method": "evolution", **options})
    assert caught.value.option == name


def test_pending_trials_count_towards_the_first_population() -> None:
    space = SearchSpace({"x": Float(0.0, 1.0)})
    trials = [Trial(i, {"x": 0.1 * i}, transitions=(Transition(i, State.RUNNING),)) for i in range(4)]
    done = replace(
        trials[0],
        state=State.COMPLETE,
        values=(1.0,),
        transitions=(Transition(0, State.RUNNING), Transition(4, State.COMPLETE)),
    )
    history = History(Problem(space, (Goal("loss"),)), [done, *trials[1:]])
    assert EvolutionSearcher(population=4).suggest(history, 1)[0].info["reason"] == "mutation"
    assert EvolutionSearcher(population=5).suggest(history, 1)[0].info["reason"] == "initial"
