"""Ranks against peeling one front after the other, which is slow and plainly right."""

import numpy as np
import pytest

from autosearch.core.ranking import non_dominated, ranks


def peeled(values: np.ndarray) -> np.ndarray:
    result, left, rank = np.zeros(len(values), dtype=int), np.arange(len(values)), 0
    while len(left):
        front = non_dominated(values[left])
        result[left[front]] = rank
        left, rank = left[~front], rank + 1
    return result


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("decimals", [1, 9])
def test_ranks_are_those_of_peeled_fronts(objectives: int, decimals: int) -> None:
    rng = np.random.default_rng(objectives)
    for _ in range(5):
        values = rng.random((60, objectives)).round(decimals)
        values[rng.random(60) < 0.1] = np.inf
        np.testing.assert_array_equal(ranks(values), peeled(values))


def test_no_rows_have_no_ranks() -> None:
    assert ranks(np.empty((0, 2))).shape == (0,)
    assert ranks(np.full((2, 2), np.nan)).tolist() == [0, 0]
