"""The search goes on whatever happens to models and constraints, and says how."""

import numpy as np
import pytest

from autosearch.searchers.bayesian import batch, beliefs
from autosearch.searchers.bayesian.likelihood import FitError
from autosearch.searchers.bayesian.searcher import BayesianSearcher
from autosearch.space import SearchSpace
from autosearch.space.errors import SpaceError

from .bayesian_histories import SQUARE, Builder, random_history


def bowl(config):
    return (config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2


def test_where_no_model_can_be_fitted_the_design_goes_on_and_says_so(monkeypatch):
    def fails(*_):
        raise FitError("singular")

    monkeypatch.setattr(batch, "believe", fails)
    found = BayesianSearcher().suggest(random_history(SQUARE, bowl, 12).history(), 2)
    assert len({tuple(s.config.values()) for s in found}) == 2
    assert all("no model could be fitted (singular)" in s.info["reason"] for s in found)


def test_where_a_likelihood_cannot_be_maximised_default_hyperparameters_are_taken_and_said_so(monkeypatch):
    def fails(*_, **__):
        raise FitError("not finite")

    monkeypatch.setattr("autosearch.searchers.bayesian.likelihood.minimize", fails)
    found = BayesianSearcher().suggest(random_history(SQUARE, bowl, 12).history(), 1)[0]
    assert found.info["model"] == "gaussian process"
    assert "default hyperparameters" in found.info["notes"]


def test_contradictory_constraints_between_parameters_are_an_error_that_names_them():
    space = SearchSpace(SQUARE, ["x > y + 0.1", "y > x + 0.1"])
    with pytest.raises(SpaceError, match=r"unsatisfiable.*x > y \+ 0\.1"):
        BayesianSearcher().suggest(Builder(space).history(), 1)


def test_contradictory_outcome_constraints_leave_a_search_for_feasibility():
    builder = Builder(SQUARE, constraints=["size >= 1", "size <= 0"])
    for config in builder.problem.space.sample(np.random.default_rng(0), 8):
        builder.complete(config, loss=bowl(config), size=config["x"])
    found = BayesianSearcher().suggest(builder.history(), 2)
    assert [s.info["reason"] for s in found] == ["feasibility"] * 2


def test_one_observation_is_enough_for_a_model():
    builder = Builder(SQUARE)
    builder.complete({"x": 0.5, "y": 0.5}, loss=1.0)
    found = BayesianSearcher(initial=1).suggest(builder.history(), 1)[0]
    assert found.info["model"] == "gaussian process"
    assert max(abs(found.config["x"] - 0.5), abs(found.config["y"] - 0.5)) > 0.1


def test_noise_free_trials_are_never_repeated_however_sure_the_model_is():
    """On a line of eight values the best is known soon; the rest of the budget goes to others."""
    builder = Builder({"x": {"type": "int", "low": 0, "high": 7}})
    for x in (2, 3, 4):
        builder.complete({"x": x}, loss=float((x - 3) ** 2))
    found = BayesianSearcher(initial=1).suggest(builder.history(), 8)
    assert sorted(s.config["x"] for s in found) == [0, 1, 5, 6, 7]


def test_the_map_by_the_gap_is_named_where_it_is_chosen():
    history = random_history(SQUARE, lambda c: bowl(c) + 300 * (c["y"] - 0.6) ** 2, 25).history()
    assert beliefs.BY_GAP in BayesianSearcher().suggest(history, 1)[0].info["notes"]
