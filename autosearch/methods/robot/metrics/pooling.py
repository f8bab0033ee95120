"""Scores of a pool of architectures put together into one ranking.

| symbol | meaning | shape |
|---|---|---|
| `S` | scores, a row for each of N architectures, NaN where a metric has no value | `(N, M)` |
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Scores2d = NDArray[np.float64]


def ranks(S: Scores2d) -> Scores2d:
    """1 for the worst of each column to N for the best, ties at their mean; (N, M). NaN ranks with the worst."""
    filled = np.where(np.isnan(S), -np.inf, S)
    found: Scores2d = rankdata(filled, axis=0)
    return found


def rank_average(S: Scores2d) -> NDArray[np.float64]:
    """Mean rank over the metrics as a share of N, (N,); higher is better."""
    found: NDArray[np.float64] = ranks(S).mean(axis=1) / len(S)
    return found


def rank_log_sum(S: Scores2d) -> NDArray[np.float64]:
    """Σ log(rank / N) over the metrics, (N,); one bad rank weighs more than several good ones.

    Source: Lee and Ham 2024, "AZ-NAS", eq. 9.
    """
    found: NDArray[np.float64] = np.log(ranks(S) / len(S)).sum(axis=1)
    return found
