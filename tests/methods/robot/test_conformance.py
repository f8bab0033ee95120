"""RoBoT through the kit that every searcher passes; there without scores, on graph features."""

from autosearch.core.plugins import build
from autosearch.core.protocols import Searcher
from autosearch.testing.searcher_kit import SearcherKit


class TestRobot(SearcherKit):
    spaces = ("finite", "nested")
    histories = ("empty", "mixed")
    trials = 6

    def searcher(self) -> Searcher:
        return build("searchers", {"method": "robot", "pool": 60, "random": 2})
