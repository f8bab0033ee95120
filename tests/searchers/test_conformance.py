"""Every built-in searcher through the conformance kit."""

from importlib.util import find_spec

import pytest

from autosearch.core.plugins import build, registered
from autosearch.core.protocols import Searcher
from autosearch.testing.searcher_kit import SearcherKit


class TestRandom(SearcherKit):
    repeats = True

    def searcher(self) -> Searcher:
        return build("searchers", "random")


class TestSobol(SearcherKit):
    repeats = True

    def searcher(self) -> Searcher:
        return build("searchers", "sobol")


class TestGrid(SearcherKit):
    draws = False

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "grid", "points": 4})


class TestEvolution(SearcherKit):
    def searcher(self) -> Searcher:
        return build("searchers", {"method": "evolution", "population": 4})


class TestEvolutionWithEveryOption(SearcherKit):
    spaces = ("nested", "constrained", "finite", "moves")
    histories = ("empty", "infeasible", "mixed")

    def searcher(self) -> Searcher:
        return build(
            "searchers",
            {
                "method": "evolution",
                "population": 3,
                "window": 4,
                "tournament": 2,
                "moves": 2,
                "crossover": 0.7,
                "fresh": 0.2,
                "winner": "mean",
                "initial": "random",
            },
        )


class TestOptunaTPE(SearcherKit):
    repeats = True

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "optuna", "n_startup_trials": 2})


class TestOptunaNSGA(SearcherKit):
    repeats = True

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "optuna", "sampler": "NSGAIISampler", "population_size": 4})


class TestOptunaGP(SearcherKit):
    repeats = True
    spaces = ("nested", "finite")
    histories = ("infeasible", "extreme", "mixed")
    trials = 6

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "optuna", "sampler": "GPSampler", "n_startup_trials": 3})


@pytest.mark.skipif(find_spec("cmaes") is None, reason="CmaEsSampler needs the package cmaes")
class TestOptunaCmaEs(SearcherKit):
    repeats = True
    objectives = (1,)

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "optuna", "sampler": "CmaEsSampler"})


class TestBayesian(SearcherKit):
    spaces = ("nested", "constrained", "finite")
    histories = ("empty", "failed", "infeasible", "extreme", "mixed")
    trials = 6

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "bayesian", "initial": 3})


@pytest.mark.slow
class TestBayesianEverywhere(SearcherKit):
    def searcher(self) -> Searcher:
        return build("searchers", {"method": "bayesian", "initial": 4})


class TestAuto(SearcherKit):
    spaces = ("nested", "point", "moves")
    histories = ("empty", "mixed")
    trials = 4

    def searcher(self) -> Searcher:
        return build("searchers", "auto")


def test_every_searcher_that_is_registered_stands_in_the_table() -> None:
    tested = {"random", "sobol", "grid", "evolution", "optuna", "bayesian", "auto"}
    own = {
        name
        for name, point in registered("searchers").items()
        if point.value.startswith("autosearch.searchers")
    }
    assert own == tested
