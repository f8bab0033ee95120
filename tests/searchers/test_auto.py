"""The choice of a searcher."""

import sys

import pytest

from autosearch.core import Goal, History, Problem, StudyError, Suggestion
from autosearch.searchers.auto import AutoSearcher, choose
from autosearch.space import Float, Int, SearchSpace, Subspace

CELL = Subspace({"a": Int(0, 3), "b": Int(0, 3)}, neighbours=lambda config, rng, n: [dict(config, a=0)])


def problem(space: SearchSpace, objectives: int = 1) -> Problem:
    return Problem(space, tuple(Goal(f"y{i}") for i in range(objectives)))


def floats(d: int) -> SearchSpace:
    return SearchSpace({f"x{i}": Float(0.0, 1.0) for i in range(d)})


@pytest.mark.parametrize(
    ("space", "objectives", "choice"),
    [
        (floats(1), 1, "bayesian"),
        (floats(100), 1, "bayesian"),
        (floats(101), 1, "evolution"),
        (floats(3), 4, "bayesian"),
        (floats(3), 5, "bayesian"),
        (floats(3), 0, "sobol"),
        (SearchSpace({"cell": CELL, "x": Float(0.0, 1.0)}), 1, "evolution"),
        (SearchSpace({"cell": CELL, "x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}), 1, "bayesian"),
    ],
)
def test_the_problem_decides(space: SearchSpace, objectives: int, choice: str) -> None:
    name, why = choose(problem(space, objectives))
    assert name == choice
    assert why
    assert "\n" not in why


def test_every_suggestion_says_why() -> None:
    searcher = AutoSearcher()
    history = History(problem(floats(120)))
    found = searcher.suggest(history, 2)
    assert [s.info["why"] for s in found] == [searcher.reason(history.problem)] * 2
    assert found[0].info["why"] == "evolution: 120 parameters are too many for a Gaussian process"


class Chosen:
    """A searcher with everything that is optional."""

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        return [Suggestion({"x": 0.5}, parent=3, until=4, info={"reason": "test"})] * n

    def check(self, problem: Problem) -> None:
        raise ValueError("checked")

    def stages(self, problem: Problem) -> list[str]:
        return ["stage"]

    def needs_checkpoints(self, history: History) -> set[int]:
        return {3}

    def predictor(self, history: History) -> str:
        return "predictor"


def test_everything_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autosearch.searchers.auto.plugins.build", lambda kind, name: Chosen())
    searcher, history = AutoSearcher(), History(problem(floats(1)))
    suggestion = searcher.suggest(history, 1)[0]
    assert (suggestion.parent, suggestion.until, suggestion.info["reason"]) == (3, 4, "test")
    assert searcher.stages(history.problem) == ["stage"]
    assert searcher.needs_checkpoints(history) == {3}
    assert searcher.predictor(history) == "predictor"  # type: ignore[comparison-overlap]
    with pytest.raises(ValueError, match="checked"):
        searcher.check(history.problem)


def test_a_choice_without_the_optional_parts_has_none() -> None:
    searcher, history = AutoSearcher(), History(problem(floats(120)))
    searcher.check(history.problem)
    assert searcher.stages(history.problem) == []
    assert searcher.needs_checkpoints(history) == set()
    with pytest.raises(StudyError, match="no surrogate"):
        searcher.predictor(history)


def test_botorch_is_loaded_only_when_it_is_chosen() -> None:
    import subprocess

    code = (
        "import sys; from autosearch.core import Goal, History, Problem; "
        "from autosearch.searchers.auto import AutoSearcher; from autosearch.space import Float, SearchSpace; "
        "space = SearchSpace({f'x{i}': Float(0.0, 1.0) for i in range(120)}); "
        "AutoSearcher().suggest(History(Problem(space, (Goal('y'),))), 1); "
        "assert not {'torch', 'botorch', 'optuna'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
