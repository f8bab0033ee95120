import numpy as np
import pytest

from autosearch.core import Goal, History, OptionError, Problem, Study
from autosearch.core.plugins import build
from autosearch.space import SearchSpace

SPACE = {
    "a.x": {"type": "float", "low": 0.0, "high": 1.0},
    "a.kind": ["one", "two", "three"],
    "b.y": {"type": "int", "low": 1, "high": 8},
    "b.z": {"type": "float", "low": 1e-3, "high": 1.0, "log": True, "when": "a.kind != 'one'"},
}
PARTS = {"a.*": "random", "b.*": {"method": "evolution", "population": 4}}


def split(parts=None):
    return build("searchers", {"method": "split", "parts": parts or PARTS})


def problem(space=None, require=()):
    return Problem(space=SearchSpace(space or SPACE, require), objectives=(Goal("loss"),))


def test_each_searcher_chooses_its_own_parameters():
    study = Study(SPACE, {"loss": "minimize"}, searcher={"method": "split", "parts": PARTS}, seed=1)
    for _ in range(12):
        trial = study.ask()
        study.tell(trial, {"loss": trial.config["a.x"] + trial.config["b.y"]})
    assert all(set(trial.info["parts"]) == {"a.*", "b.*"} for trial in study.history)
    assert {trial.config["a.kind"] for trial in study.history} == {"one", "two", "three"}
    assert all(("b.z" in trial.config) == (trial.config["a.kind"] != "one") for trial in study.history)


def test_a_part_is_searched_as_if_it_were_alone():
    space = {"u": {"type": "float", "low": 0.0, "high": 1.0}, "v": {"type": "float", "low": 0.0, "high": 1.0}}
    study = Study(
        space, {"loss": "minimize"}, searcher={"method": "split", "parts": {"u": "bayesian", "v": "random"}}
    )
    for _ in range(16):
        trial = study.ask()
        study.tell(trial, {"loss": (trial.config["u"] - 0.3) ** 2})
    late = [trial.config["u"] for trial in study.history][8:]
    assert np.median(np.abs(np.array(late) - 0.3)) < 0.05
    spread = np.array([trial.config["v"] for trial in study.history])
    assert spread.max() - spread.min() > 0.5


def test_a_constraint_between_parts_is_met_and_said():
    searcher = split()
    made = problem(require=["a.x * b.y <= 1.0"])
    found = searcher.suggest(History(made), 40)
    assert all(s.config["a.x"] * s.config["b.y"] <= 1.0 for s in found)
    said = [s.info.get("reason", "") for s in found]
    assert {"drawn at random" in reason for reason in said} == {True, False}


def test_a_part_of_a_space_keeps_what_lies_within_it():
    space = SearchSpace(
        {**SPACE, "b.twice": {"expr": "b.y * 2"}, "both": {"expr": "a.x * b.y"}, "b.fixed": 3},
        ["b.y + b.twice <= 12", "a.x <= b.y"],
    )
    part = space.part(["b.y", "b.z"])
    assert part.searched == ("b.y", "b.z")
    assert set(part.parameters) == {"b.y", "b.z", "b.twice", "b.fixed"}
    assert [e.text for e in part.require] == ["b.y + b.twice <= 12"]
    assert part.parameters["b.z"].condition is None
    assert part.complete({"b.y": 2, "b.z": 0.1}) == {"b.y": 2, "b.z": 0.1, "b.twice": 4, "b.fixed": 3}
    with pytest.raises(ValueError, match="no searched parameter"):
        space.part(["nothing"])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"*": "random"}, "two patterns or more"),
        ({"a.*": "random", "c.*": "random", "*": "random"}, r"parts\.c\.\*: matches no parameter"),
        ({"a.*": "random", "b.y": "random"}, "no pattern matches the parameter 'b.z'"),
        ({"a.*": "randm", "*": "random"}, r"parts\.a\.\*"),
        ({"a.*": {"method": "evolution", "population": 0}, "*": "random"}, r"parts\.a\.\*"),
    ],
)
def test_wrong_parts_are_one_clear_error(parts, message):
    with pytest.raises(OptionError, match=message):
        split(parts).check(problem())
