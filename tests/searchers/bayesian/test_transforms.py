import numpy as np
import pytest
import torch

from autosearch.searchers.bayesian.beliefs import _likeliest
from autosearch.searchers.bayesian.layout import Layout
from autosearch.searchers.bayesian.transforms import Outcome

RNG = np.random.default_rng(0)
X = RNG.random((25, 2))
BASIN = -((X - 0.4) ** 2 @ [1.0, 300.0])
WAVES = np.sin(4 * X[:, 0]) + np.cos(5 * X[:, 1])


def maps(y):
    return [Outcome.fit(y), Outcome.fit(y, bend=False), Outcome.of_gap(y)]


@pytest.mark.parametrize("kind", range(3))
def test_maps_increase_and_are_undone_by_their_inverses(kind):
    outcome = maps(BASIN)[kind]
    at = np.linspace(2 * BASIN.min(), 1.0, 400)
    z = outcome.forward(at)
    assert (np.diff(z) > 0).all()
    assert outcome.inverse(z) == pytest.approx(at, rel=1e-9)


@pytest.mark.parametrize("kind", range(3))
def test_slopes_of_maps_are_those_of_finite_differences(kind):
    outcome = maps(BASIN)[kind]
    at = np.linspace(BASIN.min(), 1.0, 50)
    estimate = (outcome.forward(at + 1e-6) - outcome.forward(at - 1e-6)) / 2e-6
    assert outcome.slope(at) == pytest.approx(estimate, rel=1e-4)


@pytest.mark.parametrize("kind", range(3))
def test_maps_make_nothing_of_affine_changes(kind):
    plain, moved = maps(BASIN)[kind], maps(1e5 * BASIN - 7.0)[kind]
    assert moved.forward(1e5 * BASIN - 7.0) == pytest.approx(plain.forward(BASIN), abs=1e-8)


def test_there_is_no_gap_where_most_values_are_the_best():
    assert Outcome.of_gap(np.array([1.0, 1.0, 1.0, 0.0])) is None


@pytest.mark.parametrize(("values", "gap"), [(BASIN, True), (WAVES, False)])
def test_the_map_is_chosen_by_what_makes_the_values_likely(values, gap):
    chosen, _ = _likeliest(Layout(2), torch.from_numpy(X), values, np.full(len(values), np.nan))
    assert chosen == (Outcome.of_gap(values) if gap else Outcome.fit(values))
