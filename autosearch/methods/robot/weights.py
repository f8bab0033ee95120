"""One weight for each metric, fitted to the order of all results.

| symbol | meaning | shape |
|---|---|---|
| `Z` | normalised scores of the measured architectures | `(n, M)` |
| `y` | their results, higher is better | `(n,)` |
| `w` | weights, on the unit sphere | `(M,)` |
"""

import numpy as np

_RIDGE = 0.02  # of the mean loss of a pair, whose differences of scores are of order 1
_STEPS = 30  # Newton's; it converges in about six
_ENOUGH = 1e-7


def fitted_weights(Z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights under which better architectures score higher; zeros where no two results differ.

    The mean logistic loss over pairs, each weighed by how far its results lie apart, with a ridge; signs are free.
    Source: Burges et al. 2005, "Learning to rank using gradient descent" (RankNet), section 3, on a linear model.
    Differs from RoBoT: the published search uses only the value of the best-scored architecture, this the order of all.
    """
    better, worse = np.nonzero(y[:, None] > y[None, :])
    if not len(better):
        return np.zeros(Z.shape[1])
    D, gap = Z[better] - Z[worse], y[better] - y[worse]
    gap = gap / gap.sum()
    w = np.zeros(Z.shape[1])
    for _ in range(_STEPS):
        wrong = 1.0 / (1.0 + np.exp(np.clip(D @ w, -500, 500)))
        slope = _RIDGE * w - D.T @ (gap * wrong)
        curvature = (D * (gap * wrong * (1 - wrong))[:, None]).T @ D + _RIDGE * np.eye(len(w))
        step = np.linalg.solve(curvature, slope)
        w = w - step
        if np.abs(step).max() < _ENOUGH:
            break
    length = float(np.linalg.norm(w))
    return w / length if length else w
