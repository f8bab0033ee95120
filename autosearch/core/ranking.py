"""Order among trials with several objectives: dominance, ranks, hypervolume. Lower is better throughout.

Symbols: n points, m objectives, `values` (n, m).
"""

import bisect
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from autosearch.core.history import History
    from autosearch.core.records import Trial


def non_dominated(values: np.ndarray) -> np.ndarray:
    """(n,) bool: which rows of `values` (n, m) no other row dominates; NaN rows never are. Equal rows all stay."""
    n, m = values.shape
    keep = np.zeros(n, dtype=bool)
    valid = ~np.isnan(values).any(axis=1)
    if m == 1:
        return np.asarray(valid & (values[:, 0] == np.min(values[valid, 0], initial=math.inf)))
    front = np.empty((0, m))
    for i in np.lexsort(values.T[::-1]):
        row = values[i]
        # In lexicographic order only an earlier row can dominate; with two objectives the last one kept decides.
        rivals = front[-1:] if m == 2 else front
        dominated = ((rivals <= row).all(axis=1) & (rivals < row).any(axis=1)).any()
        if valid[i] and not dominated:
            keep[i] = True
            front = np.vstack([front, row])
    return keep


def ranks(values: np.ndarray, violations: np.ndarray | None = None) -> np.ndarray:
    """(n,) int: front by front from 0; NaN rows come last.

    Args:
        values: (n, m).
        violations: (n,) summed constraint violation, 0 if feasible. Infeasible points rank behind all feasible
            ones, by violation (Deb et al. 2002, NSGA-II, section VI).
    """
    n = len(values)
    result = np.full(n, n, dtype=int)
    bad = np.isnan(values).any(axis=1)
    over = np.zeros(n) if violations is None else np.nan_to_num(violations, nan=math.inf)
    feasible = np.flatnonzero(~bad & (over <= 0))
    result[feasible] = _fronts(values[feasible])
    rank = int(result[feasible].max(initial=-1)) + 1
    infeasible = np.flatnonzero(~bad & (over > 0))
    for amount in np.unique(over[infeasible]):
        result[infeasible[over[infeasible] == amount]] = rank
        rank += 1
    result[bad] = rank
    return result


def _fronts(values: np.ndarray) -> np.ndarray:
    """(n,) int: which front each row of `values` (n, m) without NaN is in.

    In lexicographic order only earlier rows can dominate, and a row that a front dominates is dominated by every
    front before it: a binary search finds its own (Zhang et al. 2015, ENS-BS).
    """
    n, m = values.shape
    if m == 1:
        return np.unique(values[:, 0], return_inverse=True)[1].reshape(n)
    result = np.zeros(n, dtype=int)
    lasts: list[tuple[float, float]] = []
    fronts: list[list[int]] = []
    for i in np.lexsort(values.T[::-1]).tolist():
        row = values[i]
        if m == 2:  # the last of a front has its least second value: it alone decides
            key = (float(row[1]), float(row[0]))
            front = bisect.bisect_left(lasts, key)
            lasts[front : front + 1] = [key]
        else:
            front = bisect.bisect_left(
                fronts,
                1,
                key=lambda members: 0 if _dominated(row, values[members]) else 1,
            )
            if front == len(fronts):
                fronts.append([])
            fronts[front].append(i)
        result[i] = front
    return result


def _dominated(row: np.ndarray, others: np.ndarray) -> bool:
    return bool(((others <= row).all(axis=1) & (others < row).any(axis=1)).any())


def hypervolume(values: np.ndarray, reference: np.ndarray) -> float:
    """Volume that `values` (n, m) dominates below `reference` (m,).

    Exact, by slicing along the last objective: fast for two objectives, meant for fronts of at most a few hundred
    points and four objectives.
    """
    inside = values[(values < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    inside = np.unique(inside[non_dominated(inside)], axis=0)
    if values.shape[1] == 1:
        return float(reference[0] - inside[:, 0].min())
    if values.shape[1] == 2:
        heights = np.append(reference[1], inside[:-1, 1]) - inside[:, 1]
        return float(((reference[0] - inside[:, 0]) * heights).sum())
    order = inside[np.argsort(inside[:, -1])]
    tops = np.append(order[1:, -1], reference[-1])
    return sum(
        hypervolume(order[: i + 1, :-1], reference[:-1]) * float(top - row[-1])
        for i, (row, top) in enumerate(zip(order, tops, strict=True))
        if top > row[-1]
    )


def best_trials(history: "History", n: int) -> "list[Trial]":
    """The best `n` feasible trials: by value; with several objectives front by front, then by hypervolume.

    Within the front that does not fit whole, trials are taken greedily by the hypervolume they add below the worst
    value of that front in each objective.
    """
    feasible = [t for t in history.finished if t.feasible and t.values]
    if n <= 0 or not feasible:
        return []
    values = np.array([t.values for t in feasible])
    if values.shape[1] == 1:
        order = np.argsort(values[:, 0], kind="stable")
        return [feasible[i] for i in order[:n]]
    chosen: list[int] = []
    by_rank = ranks(values)
    for rank in range(int(by_rank.max()) + 1):
        front = np.flatnonzero(by_rank == rank).tolist()
        if len(chosen) + len(front) > n:
            front = _by_hypervolume(values, front, n - len(chosen))
        chosen += front
        if len(chosen) >= n:
            break
    return [feasible[i] for i in chosen]


def _by_hypervolume(values: np.ndarray, front: list[int], n: int) -> list[int]:
    worst, best = values[front].max(axis=0), values[front].min(axis=0)
    reference = worst + 0.1 * np.maximum(worst - best, 1e-12)
    chosen: list[int] = []
    while len(chosen) < n:
        rest = [i for i in front if i not in chosen]
        gains = [hypervolume(values[[*chosen, i]], reference) for i in rest]
        chosen.append(rest[int(np.argmax(gains))])
    return chosen
