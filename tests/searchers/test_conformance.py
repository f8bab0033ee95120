"""Every built-in searcher through the conformance kit."""

from importlib.util import find_spec

import pytest

from autosearch.core.plugins import build, registered
from autosearch.core.protocols import Searcher
from autosearch.testing.searcher_kit import SearcherKit

BLIND = ("empty", "pending", "mixed")  # enough for searchers that read no results


class TestRandom(SearcherKit):
    repeats = True
    histories = BLIND

    def searcher(self) -> Searcher:
        return build("searchers", "random")


class TestSobol(SearcherKit):
    repeats = True
    histories = BLIND

    def searcher(self) -> Searcher:
        return build("searchers", "sobol")


class TestGrid(SearcherKit):
    draws = False
    histories = BLIND

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "grid", "points": 4})


class TestSplit(SearcherKit):
    repeats = True
    spaces = ("nested", "constrained")
    histories = BLIND

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "split", "parts": {"[a-m]*": "random", "*": "sobol"}})


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
    histories = ("empty", "failed", "infeasible", "extreme", "stopped", "mixed")

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "optuna", "n_startup_trials": 2})


class TestOptunaNSGA(SearcherKit):
    repeats = True
    histories = ("empty", "infeasible", "extreme", "mixed")

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "optuna", "sampler": "NSGAIISampler", "population_size": 4})


class TestOptunaGP(SearcherKit):
    repeats = True
    spaces = ("nested",)
    histories = ("mixed",)
    trials = 5

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "optuna", "sampler": "GPSampler", "n_startup_trials": 3})


@pytest.mark.slow
class TestOptunaGPEverywhere(TestOptunaGP):
    spaces = SearcherKit.spaces
    histories = SearcherKit.histories


@pytest.mark.skipif(find_spec("cmaes") is None, reason="CmaEsSampler needs the package cmaes")
class TestOptunaCmaEs(SearcherKit):
    repeats = True
    spaces = ("float", "nested", "constrained")
    objectives = (1,)
    histories = ("empty", "extreme", "mixed")

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "optuna", "sampler": "CmaEsSampler"})


class TestBayesian(SearcherKit):
    spaces = ("finite", "nested")
    histories = ("mixed",)
    trials = 4

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "bayesian", "initial": 3})


@pytest.mark.slow
class TestBayesianEverywhere(TestBayesian):
    spaces = SearcherKit.spaces
    histories = SearcherKit.histories
    trials = SearcherKit.trials


class TestAuto(SearcherKit):
    spaces = ("point", "moves")
    histories = ("empty", "mixed")

    def searcher(self) -> Searcher:
        return build("searchers", "auto")


def test_every_searcher_that_is_registered_stands_in_the_table() -> None:
    tested = {"random", "sobol", "grid", "evolution", "optuna", "bayesian", "auto", "split"}
    own = {
        name
        for name, point in registered("searchers").items()
        if point.value.startswith("autosearch.searchers")
    }
    assert own == tested
