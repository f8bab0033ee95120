"""Random, Sobol and grid search."""

import dataclasses

import numpy as np
import pytest

from autosearch.core import Budget, History, OptionError, Study, Suggestion
from autosearch.searchers.grid import GridSearcher
from autosearch.searchers.random import RandomSearcher
from autosearch.searchers.sobol import SobolSearcher
from autosearch.space import Categorical, Derived, Fixed, Float, Int, SearchSpace, SpaceError

SQUARE = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})


def history(space: SearchSpace, trials: int = 0, seed: int = 0, spread: float = 1.0) -> History:
    rng = np.random.default_rng(seed)
    return History.of(space, space.sample(rng, trials), spread * rng.random(trials), seed=seed)


def configs(suggestions: list[Suggestion]) -> list[dict[str, object]]:
    return [dict(suggestion.config) for suggestion in suggestions]


@pytest.mark.parametrize("searcher", [RandomSearcher, SobolSearcher])
def test_a_trial_depends_on_seed_and_number_alone(searcher: type) -> None:
    batch = configs(searcher().suggest(history(SQUARE), 6))
    for number in (0, 3, 5):
        after = history(SQUARE, number, spread=100.0)
        assert configs(searcher().suggest(after, 1)) == batch[number : number + 1]


def test_sobol_points_fill_a_square_evenly() -> None:
    X = SQUARE.encode([s.config for s in SobolSearcher().suggest(history(SQUARE), 64)])
    cells = {tuple(cell) for cell in np.floor(X * 8).astype(int).tolist()}
    assert len(cells) == 64  # a net: one point in each of 8 x 8 cells


def test_sobol_takes_the_feasible_points_in_order() -> None:
    half = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}, ["x + y <= 1"])
    all_points = configs(SobolSearcher().suggest(history(SQUARE), 40))
    feasible = [config for config in all_points if config["x"] + config["y"] <= 1]
    assert configs(SobolSearcher().suggest(history(half), len(feasible))) == feasible


def test_sobol_says_so_where_hardly_any_point_is_feasible() -> None:
    thin = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}, ["x <= 0.003"])
    reasons = [s.info["reason"] for s in SobolSearcher().suggest(history(thin), 120)]
    assert reasons[0] == "sobol"
    assert reasons[-1] == "random: under 1% of Sobol points are feasible"


def test_sobol_refuses_more_parameters_than_the_sequence_has_dimensions() -> None:
    class Wide:
        dimensions = 30_000

    class Problem:
        space = Wide()

    with pytest.raises(OptionError, match=r"21,201 parameters.*30,000"):
        SobolSearcher().check(Problem())  # type: ignore[arg-type]


def test_grid_goes_through_every_cell_in_the_order_of_nested_loops() -> None:
    space = SearchSpace({"a": Categorical(["p", "q"]), "n": Int(1, 3)})
    found = GridSearcher().suggest(history(space), 99)
    assert configs(found) == [{"a": a, "n": n} for a in "pq" for n in (1, 2, 3)]
    assert [s.info["cell"] for s in found] == list(range(6))


@pytest.mark.parametrize(
    ("points", "trials", "n"),
    [(None, 60, 20), (None, 59, 5), (None, None, 5), (5, 60, 5), (20, 59, 20)],
)
def test_grid_takes_every_whole_number_where_the_budget_is_enough(
    points: int | None, trials: int | None, n: int
) -> None:
    space = SearchSpace({"n": Int(1, 20), "k": Categorical(["p", "q", "r"])})
    seen = history(space)
    seen.problem = dataclasses.replace(seen.problem, budget=Budget(trials=trials))
    found = configs(GridSearcher(points).suggest(seen, 99))
    assert len(found) == 3 * n
    assert len({c["n"] for c in found}) == n


def test_grid_is_finer_where_the_budget_was_raised() -> None:
    study = Study({"n": Int(0, 11)}, {"loss": "minimize"}, searcher="grid", budget={"trials": 5})
    coarse = [study.tell(trial, 0.0).config["n"] for trial in study.ask(9)]
    study.set_budget(Budget(trials=12))
    fine = [trial.config["n"] for trial in study.ask(9)]
    assert len(coarse) == 5
    assert sorted(coarse + fine) == list(range(12))


def test_grid_neither_repeats_nor_loses_cells_when_other_trials_take_numbers() -> None:
    space = {"a": Categorical(["p", "q"], default="q"), "n": Int(1, 3, default=2)}
    study = Study(space, {"loss": "minimize"}, searcher=GridSearcher())
    seen = []
    for i in range(6):
        if i == 2:
            study.enqueue({"a": "p", "n": 3})
        trial = study.ask()
        seen.append((trial.info["reason"], trial.config["a"], trial.config["n"]))
        study.tell(trial, 0.0)
    assert seen[:4] == [("first", "q", 2), ("grid", "p", 1), ("queued", "p", 3), ("grid", "p", 2)]
    assert len({entry[1:] for entry in seen}) == 6
    assert study.ask(1) == []


def test_grid_skips_the_values_of_inactive_parameters_at_once() -> None:
    inner = {f"p{i}": Float(0.0, 1.0, when="kind == 'b'") for i in range(20)}
    space = SearchSpace({"kind": Categorical(["a", "b"]), **inner})
    found = GridSearcher().suggest(history(space), 2)
    assert configs(found)[0] == {"kind": "a"}
    assert found[1].info["cell"] == 5**20


def test_grid_skips_no_cell_where_a_condition_refers_to_a_later_parameter() -> None:
    space = SearchSpace({"m": Int(1, 3, when="kind == 'b'"), "kind": Categorical(["a", "b"])})
    found = {(c.get("m"), c["kind"]) for c in configs(GridSearcher().suggest(history(space), 99))}
    assert found == {(None, "a"), (1, "b"), (2, "b"), (3, "b")}


def test_grid_skips_what_a_constraint_forbids_at_once() -> None:
    space = SearchSpace({f"x{i}": Float(0.0, 1.0) for i in range(20)}, ["x0 > 0.9", "x1 + x3 >= 1"])
    found = GridSearcher(points=3).suggest(history(space), 1)[0].config
    assert [found[f"x{i}"] for i in range(5)] == [1.0, 0.0, 0.0, 1.0, 0.0]


INTRICATE = (
    (
        {
            "k": Int(1, 4),
            "n": Int(1, 3),
            "f": Fixed(2, when="n < 3"),
            "g": Derived("f * k"),
            "m": Int(1, 3, when="f == 2"),
        },
        ["f * k <= 3", "g != 2 or m > 1"],
    ),
    (
        {
            "late": Int(1, 2, when="kind == 'b'"),
            "kind": Categorical(["a", "b", "c"]),
            "n": Int(1, 4),
            "m": Int(1, 3, when="kind != 'c' and n > 1"),
            "f": 2,
        },
        ["n * f <= 6", "m >= 2 or kind == 'a'", "late != 1 or n == 1"],
    ),
)


@pytest.mark.parametrize(("parameters", "require"), INTRICATE)
def test_grid_with_constraints_and_conditions_finds_every_feasible_cell(
    parameters: dict[str, object], require: list[str]
) -> None:
    space = SearchSpace(parameters, require)  # type: ignore[arg-type]
    grid = space.grid(9)
    expected = [config for config in map(grid.__getitem__, range(grid.cells)) if config is not None]
    assert configs(GridSearcher().suggest(history(space), 999)) == expected
    assert len(expected) > 5


def test_grid_gives_up_on_a_desert_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autosearch.searchers.grid._PATIENCE", 500)
    space = SearchSpace({f"x{i}": Float(0.0, 1.0) for i in range(12)}, ["x11 + x0 + x10 > 2.9"])
    with pytest.raises(SpaceError, match="sobol"):
        GridSearcher(points=4).suggest(history(space), 1)


def test_grid_refuses_less_than_a_point() -> None:
    with pytest.raises(OptionError, match="points"):
        GridSearcher(points=0)
