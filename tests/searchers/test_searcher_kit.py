"""The kit finds what a broken searcher does wrong."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from autosearch.core import History, Suggestion
from autosearch.searchers.evolution import EvolutionSearcher
from autosearch.searchers.random import RandomSearcher
from autosearch.testing.searcher_cases import HISTORIES, SPACES, Case
from autosearch.testing.searcher_kit import SearcherKit

CASE = Case("constrained", 1, "mixed")


def kit(suggest: Callable[[History, int], list[Suggestion]], *, repeats: bool = True) -> SearcherKit:
    class Mine:
        def suggest(self, history: History, n: int) -> list[Suggestion]:
            return suggest(history, n)

    class Kit(SearcherKit):
        def searcher(self) -> Mine:
            return Mine()

    Kit.repeats = repeats
    return Kit()


def fails(call: Callable[[], None], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        call()


def test_every_combination_of_space_and_history_can_be_built() -> None:
    for space in SPACES:
        for history in HISTORIES:
            assert len(Case(space, 2, history).build()) == len(HISTORIES[history])


def test_kit_finds_a_configuration_that_is_not_whole() -> None:
    broken = kit(
        lambda h, n: [Suggestion({**c.config, "epochs": 7.0}) for c in RandomSearcher().suggest(h, n)]
    )
    with pytest.raises((AssertionError, ValueError), match="epochs"):
        broken.test_suggestions_are_legal_and_change_nothing(CASE)


def test_kit_finds_a_broken_constraint() -> None:
    broken = kit(lambda h, n: [Suggestion({"width": 512, "layers": 16, "x": 0.1})] * n)
    with pytest.raises(ValueError, match="width"):
        broken.test_suggestions_are_legal_and_change_nothing(CASE)


def test_kit_finds_a_missing_reason() -> None:
    broken = kit(lambda h, n: [Suggestion(s.config) for s in RandomSearcher().suggest(h, n)])
    fails(lambda: broken.test_suggestions_are_legal_and_change_nothing(CASE), "reason")


def test_kit_finds_the_use_of_global_random_state() -> None:
    def suggest(history: History, n: int) -> list[Suggestion]:
        np.random.random()  # noqa: NPY002
        return RandomSearcher().suggest(history, n)

    fails(lambda: kit(suggest).test_suggestions_are_legal_and_change_nothing(CASE), "numpy")


def test_kit_finds_a_changed_history() -> None:
    def suggest(history: History, n: int) -> list[Suggestion]:
        history.events += 1
        return RandomSearcher().suggest(history, n)

    fails(lambda: kit(suggest).test_suggestions_are_legal_and_change_nothing(CASE), "changed the history")


def test_kit_finds_a_repeated_configuration() -> None:
    broken = kit(lambda h, n: RandomSearcher().suggest(h, 1) * n, repeats=False)
    fails(lambda: broken.test_suggestions_are_legal_and_change_nothing(CASE), "twice")
    broken = kit(lambda h, n: [Suggestion(h[0].config, info={"reason": "again"})], repeats=False)
    fails(lambda: broken.test_suggestions_are_legal_and_change_nothing(CASE), "that a trial has")


def test_kit_finds_a_searcher_that_gives_up_early() -> None:
    broken = kit(lambda h, n: EvolutionSearcher().suggest(h, n)[:1], repeats=False)
    finite = Case("finite", 1, "empty")
    fails(lambda: broken.test_suggestions_are_legal_and_change_nothing(finite), "are left")
    fails(lambda: broken.test_suggestions_are_legal_and_change_nothing(CASE), "endless")
    gone = kit(lambda h, n: EvolutionSearcher().suggest(h, n) if len(h) < 5 else [], repeats=False)
    fails(gone.test_a_finite_space_is_exhausted_without_repeating, "never tried")


def test_kit_finds_more_suggestions_than_asked_for() -> None:
    broken = kit(lambda h, n: RandomSearcher().suggest(h, n + 1))
    fails(lambda: broken.test_suggestions_are_legal_and_change_nothing(CASE), "asked for")


def test_kit_finds_memory_of_earlier_questions() -> None:
    class Counting:
        def __init__(self) -> None:
            self.asked = 0

        def suggest(self, history: History, n: int) -> list[Suggestion]:
            self.asked += 1
            rng = np.random.default_rng(self.asked)
            configs = history.problem.space.sample(rng, n)
            return [Suggestion(config, info={"reason": "random"}) for config in configs]

    class Kit(SearcherKit):
        repeats = True

        def searcher(self) -> Counting:
            return Counting()

    fails(lambda: Kit().test_a_fresh_searcher_says_the_same_as_a_long_lived_one(CASE), "asked before")
    fails(
        lambda: Kit().test_every_trial_can_be_suggested_again_from_what_it_had_seen(("float", 1)),
        "same history",
    )


def test_kit_finds_a_source_of_chance_of_its_own() -> None:
    def suggest(history: History, n: int) -> list[Suggestion]:
        rng = np.random.default_rng(random.SystemRandom().randrange(2**32))
        configs = history.problem.space.sample(rng, n)
        return [Suggestion(config, info={"reason": "random"}) for config in configs]

    with pytest.raises(AssertionError):
        kit(suggest).test_a_fresh_searcher_says_the_same_as_a_long_lived_one(CASE)


def test_kit_finds_a_seed_that_is_ignored() -> None:
    def suggest(history: History, n: int) -> list[Suggestion]:
        configs = history.problem.space.sample(np.random.default_rng(len(history)), n)
        return [Suggestion(config, info={"reason": "random"}) for config in configs]

    fails(kit(suggest).test_studies_of_different_seeds_differ, "seeds 0 and 1")


def test_kit_finds_a_costly_suggestion() -> None:
    broken = kit(lambda h, n: RandomSearcher().suggest(h, n))
    broken.most_calls = 10
    fails(broken.test_the_cost_of_a_suggestion_is_bounded, "calls")


def test_kit_finds_suggestions_for_nothing() -> None:
    broken = kit(lambda h, n: RandomSearcher().suggest(h, max(n, 1)))
    fails(broken.test_none_asked_is_none_suggested, "nothing")
