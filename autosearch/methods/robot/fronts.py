"""What an architecture may add to a front of several objectives: the expected gain of dominated volume.

Lower is better throughout.

| symbol | meaning | shape |
|---|---|---|
| `V` | objective values of the results | `(n, m)` |
| `front` | the values that no other dominates | `(k, m)` |
| `corner` | what lies behind it in any objective adds nothing | `(m,)` |
"""

import itertools

import numpy as np
from scipy.stats import norm

_MARGIN = 0.1  # of the distance from best to median: being the best in one objective is a gain, however bad the others
_MOST_BOXES = 20_000  # about; with more than two objectives only the newest of a large front are in the way


def scaled(V: np.ndarray) -> np.ndarray:
    """(n, m) distance from the best of each objective, 1 at the median; beyond it only the logarithm counts.

    Failed networks lie many times as far from the median as the median from the best, and say nothing of the front.
    """
    best, middle = V.min(axis=0), np.median(V, axis=0)
    gap = (V - best) / np.where(middle > best, middle - best, 1.0)
    return np.asarray(np.where(gap > 1.0, 1.0 + np.log(np.maximum(gap, 1.0)), gap))


def corner_of(V: np.ndarray) -> np.ndarray:
    """(m,) where gain begins: a little behind the worst of the scaled results `V`."""
    return np.asarray(V.max(axis=0) + _MARGIN)


def free_boxes(front: np.ndarray, corner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(b, m) lower and (b, m) upper ends of boxes that fill, without overlap, what the front leaves before the corner.

    The lower end is minus infinity on the sides that are open.
    """
    inside = front[(front < corner).all(axis=1)]
    if len(corner) == 1:
        return np.array([[-np.inf]]), np.array([[min([corner[0], *inside[:, 0]])]])
    inside = inside[np.argsort(inside[:, -1], kind="stable")]
    edges = [-np.inf, *inside[:, -1], corner[-1]]
    lower, upper = [np.empty((0, len(corner)))], [np.empty((0, len(corner)))]
    # Between two neighbouring values of the last objective only points before both are in the way.
    for i, (begin, end) in enumerate(itertools.pairwise(edges)):
        if begin < end:
            low, high = free_boxes(inside[:i, :-1], corner[:-1])
            lower.append(np.column_stack([low, np.full(len(low), begin)]))
            upper.append(np.column_stack([high, np.full(len(high), end)]))
    return np.concatenate(lower), np.concatenate(upper)


def expected_gain(
    mean: np.ndarray, deviation: np.ndarray, front: np.ndarray, corner: np.ndarray
) -> np.ndarray:
    """(N,) expected growth of the dominated volume, for independent normal objectives; exact.

    The expectation of the volume is the integral of the probability that a point of it becomes dominated, which is a
    product over the objectives within each box (Emmerich et al. 2006, "Single- and Multiobjective Evolutionary
    Optimization Assisted by Gaussian Random Field Metamodels", equation 14, rearranged).

    Args:
        mean: (N, m).
        deviation: (N, m), above 0.
        front: (k, m).
        corner: (m,).
    """
    lower, upper = free_boxes(front[-round(_MOST_BOXES ** (1 / max(1, len(corner) - 1))) :], corner)
    below = []  # of each objective: E[max(0, end - Y)] at the ends of all boxes
    for j in range(len(corner)):
        ends = np.unique(np.concatenate([lower[:, j], upper[:, j]]))
        table = _below(ends, mean[:, j], deviation[:, j])
        below.append((table, np.searchsorted(ends, lower[:, j]), np.searchsorted(ends, upper[:, j])))
    total = np.zeros(len(mean))
    for box in range(len(lower)):
        part = np.ones(len(mean))
        for table, low, high in below:
            part *= table[high[box]] - table[low[box]]
        total += part
    return total


def _below(ends: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(b, N) E[max(0, end - Y)], 0 at minus infinity."""
    u = (ends[:, None] - mean) / deviation
    finite = np.where(np.isfinite(u), u, 0.0)
    return np.where(np.isfinite(u), deviation * (finite * norm.cdf(finite) + norm.pdf(finite)), 0.0)
