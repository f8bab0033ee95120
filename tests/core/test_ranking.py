import itertools

import numpy as np
import pytest

from autosearch.core.ranking import hypervolume, non_dominated, ranks


def brute_force(values: np.ndarray) -> list[bool]:
    return [
        not np.isnan(row).any() and not any((other <= row).all() and (other < row).any() for other in values)
        for row in values
    ]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_non_dominated_agrees_with_the_definition(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    for _ in range(30):
        values = rng.integers(0, 5, (25, objectives)).astype(float)
        values[rng.random(25) < 0.1] = np.nan
        assert non_dominated(values).tolist() == brute_force(values)


def test_ranks_put_infeasible_points_behind_by_violation_and_nan_last() -> None:
    values = np.array([[1.0, 1.0], [2.0, 2.0], [0.0, 0.0], [0.0, 0.0], [np.nan, 1.0]])
    assert ranks(values, np.array([0.0, 0.0, 0.5, 0.1, 0.0])).tolist() == [0, 1, 3, 2, 4]


def test_hypervolume_of_two_boxes_is_their_union() -> None:
    assert hypervolume(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([2.0, 2.0])) == pytest.approx(3.0)
    assert hypervolume(np.array([[3.0, 3.0]]), np.array([2.0, 2.0])) == 0.0


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_agrees_with_inclusion_exclusion(objectives: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.random((6, objectives))
    reference = np.ones(objectives)
    expected = 0.0
    for size in range(1, 7):
        for chosen in itertools.combinations(values, size):
            expected += (-1) ** (size + 1) * float(np.prod(reference - np.max(chosen, axis=0)))
    assert hypervolume(values, reference) == pytest.approx(expected)
