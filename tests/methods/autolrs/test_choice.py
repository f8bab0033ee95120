import math

import numpy as np
import pytest

from autosearch.methods.autolrs.choice import UnitProcess, best_improvement, lowest_bound, matern


def test_the_posterior_of_two_points_has_its_closed_form():
    x, y, s2, t = np.array([0.0, 0.7]), np.array([1.0, -0.5]), 0.1, 0.3
    k12, k1, k2 = (float(matern(np.array(d))) for d in (0.7, 0.3, 0.4))
    d = (1 + s2) ** 2 - k12**2
    inverse = np.array([[1 + s2, -k12], [-k12, 1 + s2]]) / d
    k = np.array([k1, k2])
    mean, deviation = UnitProcess(x, y, s2).predict(np.array([t]))
    assert mean[0] == pytest.approx(k @ inverse @ y)
    assert deviation[0] ** 2 == pytest.approx(1 - k @ inverse @ k)


def test_the_posterior_passes_through_points_without_noise():
    x, y = np.array([-3.0, -1.0, 0.5]), np.array([2.0, 1.0, 1.5])
    mean, deviation = UnitProcess(x, y, 1e-12).predict(x)
    assert mean == pytest.approx(y, abs=1e-9)
    assert deviation == pytest.approx(0.0, abs=1e-5)


def test_a_large_kappa_asks_where_least_is_known_end_points_first():
    low, high = math.log(1e-3), math.log(1.0)
    tried = [(low + high) / 2]
    second = lowest_bound(tried, [1.0], low, high, kappa=1e9, seed=0)
    third = lowest_bound([*tried, second], [1.0, 1.0], low, high, kappa=1e9, seed=0)
    assert {second, third} == {low, high}


def test_a_small_kappa_asks_where_the_forecast_is_lowest():
    found = lowest_bound([-4.0, -3.0, -2.0], [1.0, -1.0, 1.0], -5.0, 0.0, kappa=1e-9, seed=0)
    assert found == pytest.approx(-3.0, abs=0.1)


def test_the_first_candidate_depends_on_the_seed_alone_and_a_divergence_counts_as_the_worst():
    assert lowest_bound([], [], -5, 0, kappa=1, seed=3) == lowest_bound([], [], -5, 0, kappa=1, seed=3)
    with_infinity = lowest_bound([-4.0, -1.0], [0.5, math.inf], -5, 0, kappa=2.0, seed=0)
    assert with_infinity == lowest_bound([-4.0, -1.0], [0.5, 0.5], -5, 0, kappa=2.0, seed=0)


def test_expected_improvement_finds_the_bottom_of_a_bowl():
    xs = [-4.0, -2.0, 0.0]
    for _ in range(5):
        x, share = best_improvement(xs, [(x + 1.3) ** 2 for x in xs], [0.0] * len(xs), -5.0, 1.0)
        xs.append(x)
    assert min(abs(x + 1.3) for x in xs) < 0.1
    assert share < 0.05


def test_a_near_divergence_does_not_hide_the_bottom():
    xs, ys = [-4.0, -3.0, -2.0, 0.0], [1.0, 0.8, 0.9, 1e6]
    x, _ = best_improvement(xs, ys, [0.0] * 4, -5.0, 0.5)
    assert -4.0 < x < -1.5
