"""Configurations that no trial has yet."""

import numpy as np

from autosearch.core import History
from autosearch.searchers.unseen import Tried, draw_unseen
from autosearch.space import Float, Int, SearchSpace


def test_the_last_untried_configuration_of_a_finite_space_is_found() -> None:
    space = SearchSpace({"n": Int(1, 500)})
    tried = {space.key({"n": n}) for n in range(1, 501) if n != 77}
    assert draw_unseen(space, np.random.default_rng(0), tried) == {"n": 77}
    assert draw_unseen(space, np.random.default_rng(0), tried | {space.key({"n": 77})}) is None


def test_a_space_of_many_combinations_counts_as_exhausted_when_many_draws_were_tried() -> None:
    space = SearchSpace({"n": Int(1, 20_000), "m": Int(1, 60)}, ["m == 1"])
    everything = {space.key({"n": n, "m": 1}) for n in range(1, 20_001)}
    assert draw_unseen(space, np.random.default_rng(0), everything) is None
    half = {key for i, key in enumerate(sorted(everything)) if i % 2}
    found = draw_unseen(space, np.random.default_rng(0), half)
    assert found is not None
    assert space.key(found) not in half


def test_keys_follow_the_history_that_is_asked_about() -> None:
    space, other = SearchSpace({"x": Float(0.0, 1.0)}), SearchSpace({"x": Float(0.0, 1.0), "n": Int(1, 3)})
    tried = Tried()
    long = History.of(space, [{"x": 0.1}, {"x": 0.2}, {"x": 0.3}], np.zeros(3))
    assert tried.keys(long) == {space.key({"x": x}) for x in (0.1, 0.2, 0.3)}
    assert tried.keys(long.until_event(2)) == {space.key({"x": 0.1})}
    changed = History.of(space, [{"x": 0.5}, {"x": 0.2}], np.zeros(2))
    assert tried.keys(changed) == {space.key({"x": 0.5}), space.key({"x": 0.2})}
    assert tried.keys(History.of(other, [{"x": 0.1, "n": 1}], np.zeros(1))) == {other.key({"x": 0.1, "n": 1})}
