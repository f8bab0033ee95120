"""Fixed splits: which examples train, validate and test."""

import numpy as np

from autosearch.core.seeds import derive_rng


def split_order(labels: np.ndarray | None, size: int, seed: int) -> np.ndarray:
    """An order of all examples, (size,), of which every stretch holds each class in its share.

    Stretches of it are the splits: a smaller training set is a part of a larger one, and validation and test sets do
    not depend on its size. Within a stretch a class is off its share by less than two examples.

    Args:
        labels: (size,) class of each example; None (regression) for a plain shuffle.
        size: number of examples.
        seed: of the shuffle; the data's own, not a trial's.
    """
    rng = derive_rng(seed, "split")
    if labels is None:
        return rng.permutation(size)
    place = np.empty(size)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        # Members of a class are spread evenly over (0, 1); the shift keeps classes of one size from lining up.
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable")
