"""Scores of a pool made comparable: failed ones settled, columns on one scale.

| symbol | meaning | shape |
|---|---|---|
| `S` | scores of the pool, NaN where a metric failed | `(N, M)` |
"""

from typing import Literal

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

Norm = Literal["minmax", "log", "rank", "gauss"]


def normalised(S: np.ndarray, norm: Norm) -> np.ndarray:
    """(N, M) scores on one scale; failed ones get their column's minimum, columns without information are 0.

    `minmax`: [0, 1], as published. `log`: the same of the logarithm (signed: `sign(s) log(1 + |s| / median |s|)`).
    `rank`: rank in (0, 1). `gauss`: normal quantile of the rank, unit variance: the extremes of a column stay
    apart, which decide who is first, and its outliers do not.
    """
    result = np.zeros_like(S, dtype=float)
    for j, column in enumerate(S.T):
        known = np.isfinite(column)
        if not known.any() or np.ptp(column[known]) == 0:
            continue
        result[:, j] = _scaled(np.where(known, column, column[known].min()), norm)
    return result


def _scaled(column: np.ndarray, norm: Norm) -> np.ndarray:
    if norm == "log":
        unit = float(np.median(np.abs(column))) or 1.0
        column = np.sign(column) * np.log1p(np.abs(column) / unit)
    if norm in ("minmax", "log"):
        scaled: np.ndarray = (column - column.min()) / np.ptp(column)
        return scaled
    ranks = (rankdata(column) - 0.5) / len(column)
    if norm == "rank":
        return np.asarray(ranks)
    gauss = ndtri(ranks)
    return np.asarray((gauss - gauss.mean()) / gauss.std())


def informative(S: np.ndarray) -> np.ndarray:
    """(M,) bool: which columns of `S` hold at least two different finite scores."""
    return np.array([len(np.unique(column[np.isfinite(column)])) > 1 for column in S.T], dtype=bool)


def consensus(Z: np.ndarray) -> np.ndarray:
    """(N,) mean of the columns of `Z` (N, M), each turned so that it agrees with what most of them share.

    What they share is their first principal component. Which end is the good one only results tell, so the sign is
    taken from the shape alone, the longer tail up: scores of the other sign give the same mean.
    """
    if not Z.shape[1]:
        return np.zeros(len(Z))
    centred = Z - Z.mean(axis=0)
    signs = np.sign(np.linalg.eigh(centred.T @ centred)[1][:, -1])
    signs[signs == 0] = 1.0
    mean = centred @ signs / Z.shape[1]
    return np.asarray(mean if (mean**3).sum() >= 0 else -mean)
