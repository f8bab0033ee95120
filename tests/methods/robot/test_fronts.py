"""The expected gain of a front's volume, against volumes that are counted."""

import numpy as np
import pytest

from autosearch.core.ranking import hypervolume, non_dominated
from autosearch.methods.robot.fronts import corner_of, expected_gain, free_boxes, scaled


def front_of(m: int, seed: int = 0) -> np.ndarray:
    """On the unit sphere, some points behind it."""
    values = np.random.default_rng(seed).uniform(0.2, 1.0, size=(12, m))
    values /= np.linalg.norm(values, axis=1, keepdims=True) if m > 1 else 1.0
    values[:4] *= 1.2
    return values[non_dominated(values)]


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_boxes_and_the_dominated_volume_fill_the_whole(m: int) -> None:
    front, corner = front_of(m), np.full(m, 0.8)
    lower, upper = free_boxes(front, corner)
    volume = (upper - np.maximum(lower, 0.0)).prod(axis=1).sum()
    assert volume + hypervolume(front, corner) == pytest.approx(0.8**m)


@pytest.mark.parametrize("m", [2, 3])
def test_the_gain_of_a_certain_point_is_what_the_volume_grows_by(m: int) -> None:
    front, corner = front_of(m), np.full(m, 0.9)
    points = np.random.default_rng(1).uniform(size=(40, m))
    found = expected_gain(points, np.full_like(points, 1e-6), front, corner)
    grown = [hypervolume(np.vstack([front, p]), corner) - hypervolume(front, corner) for p in points]
    np.testing.assert_allclose(found, grown, atol=1e-5)
    assert max(grown) > 0.01


def test_the_gain_of_an_uncertain_point_is_the_mean_over_its_outcomes() -> None:
    front, corner = front_of(2), np.ones(2)
    mean, deviation = np.array([[0.3, 0.4]]), np.array([[0.2, 0.1]])
    drawn = mean + deviation * np.random.default_rng(2).normal(size=(4000, 2))
    grown = [hypervolume(np.vstack([front, p]), corner) - hypervolume(front, corner) for p in drawn]
    [found] = expected_gain(mean, deviation, front, corner)
    assert found == pytest.approx(np.mean(grown), abs=4 * np.std(grown) / np.sqrt(len(grown)))


def test_of_objectives_beyond_the_median_only_the_logarithm_counts() -> None:
    V = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [2.0, 5.0], [2.0 * np.exp(3.0), 5.0]])
    np.testing.assert_allclose(scaled(V)[:, 0], [0.0, 0.5, 1.0, 1.0, 4.0])
    assert (scaled(V)[:, 1] == 0.0).all()


def test_the_best_in_one_objective_is_a_gain_however_bad_it_is_in_the_other() -> None:
    V = np.array([[0.0, 3.0], [1.0, 1.0], [3.0, 0.5]])
    ends = np.array([[3.0, 0.4], [3.0, 0.6]])
    gain = expected_gain(ends, np.full_like(ends, 1e-6), V, corner_of(V))
    assert gain[0] > 0.005 > 1e-6 > gain[1]
