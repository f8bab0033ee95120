"""Tests of paired differences: an exact signed-rank test that knows ties, Holm's correction, a bootstrap interval."""

from collections.abc import Sequence

import numpy as np


def signed_rank(differences: Sequence[float]) -> float:
    """Two-sided p-value that differences are symmetric about 0: Wilcoxon's signed ranks, exact.

    Zeros are left out, equal sizes share the mean rank. The sum of the positive ranks is counted over all signs.
    """
    found = np.array([d for d in differences if d != 0])
    if not len(found):
        return 1.0
    sizes = np.abs(found)
    # Mean ranks are halves: doubled, they are whole.
    doubled = np.array([(sizes < s).sum() * 2 + (sizes == s).sum() + 1 for s in sizes])
    chances = np.zeros(doubled.sum() + 1)
    chances[0] = 1.0
    for rank in doubled:
        moved = np.roll(chances, rank)
        moved[:rank] = 0.0
        chances = (chances + moved) / 2
    got = doubled[found > 0].sum()
    return float(min(1.0, 2 * min(chances[: got + 1].sum(), chances[got:].sum())))


def holm(chances: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979)."""
    order = np.argsort(chances)
    corrected, highest = [0.0] * len(chances), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - place) * chances[i]))
        corrected[i] = highest
    return corrected


def bootstrap(values: Sequence[float], draws: int = 10_000) -> tuple[float, float]:
    """95 % interval of the mean."""
    rng = np.random.default_rng(0)
    means = rng.choice(np.asarray(values), (draws, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
