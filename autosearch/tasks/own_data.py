"""The user's own data in a built-in task: `dataset: ./file.py:name`, a function that returns arrays."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autosearch.tasks.code import Code
from autosearch.tasks.datasets import Arrays, Dataset, Parts, image_dataset, table_dataset
from autosearch.tasks.image_files import DataError
from autosearch.tasks.splits import split_order

_SPLITS = ("train", "val", "test")
_SHARE = 0.2  # of the examples, for each split that is not given
_FORMS = "(inputs, targets), or a mapping of train, val and test to such pairs"


def is_own(dataset: str) -> bool:
    """Whether a name of data is code of the user's."""
    return ":" in dataset


def check_own(dataset: str, folder: Path | None) -> None:
    """Look whether the function is there, without calling it.

    Raises:
        ResolveError: if it is not.
    """
    Code(dataset, folder).load()


@lru_cache(maxsize=2)
def load_own(
    dataset: str,
    folder: Path | None,
    *,
    images: bool,
    classes: bool,
    image_size: int | None = None,
    train_size: int | None = None,
    val_size: int | None = None,
    split_seed: int = 0,
) -> Dataset:
    """What the function `dataset` returns, split and standardised like data that come with the package.

    It is called once in a process, without arguments, and returns `(inputs, targets)`, of which a fifth each goes to
    validation and test, or a mapping of `train` and, if they are apart, `val` and `test` to such pairs. Images are
    (n, channels, height, width) or (n, height, width), bytes or floats; tables (n, columns). Targets are (n,): integers
    from 0 for classes, else numbers. Arrays of NumPy, tensors, or what `numpy.asarray` takes.

    Args:
        dataset: `./file.py:name` or `package.module:name`.
        folder: that a relative file is relative to.
        images: whether inputs are images.
        classes: whether targets are classes.
        image_size: pixels a side after average pooling, of square images.
        train_size: examples to train on, None for all.
        val_size: examples to validate on, None for all.
        split_seed: which examples go where.

    Raises:
        ResolveError: if the function is not there.
        DataError: if what it returns is something else.
        OptionError: for a size that does not fit.
    """
    own = _Own(dataset, images=images, classes=classes)
    parts = own.parts(Code(dataset, folder).load()(), split_seed)
    if images:
        return image_dataset(parts, image_size, train_size, val_size)
    number = int(max(part[1].max() for part in parts)) + 1 if classes else 0
    return table_dataset(parts, number, train_size, val_size)


class _Own:
    """Checks of what the function of this name returned."""

    def __init__(self, name: str, *, images: bool, classes: bool) -> None:
        self._name, self._images, self._classes = name, images, classes

    def parts(self, returned: Any, seed: int) -> Parts:
        if isinstance(returned, Mapping):
            if "train" not in returned or not set(returned) <= set(_SPLITS):
                raise self._error(f"must return {_FORMS}; got a mapping of {', '.join(map(str, returned))}")
            given = {name: self._pair(pair, f"{name}: ") for name, pair in returned.items()}
        else:
            given = {"train": self._pair(returned, "")}
        self._refuse_other_shapes(given)
        inputs, targets = given["train"]
        order = split_order(targets if self._classes else None, len(targets), seed)
        for name in ("test", "val"):
            if name not in given:
                chosen, order = np.split(order, [round(len(targets) * _SHARE)])
                given[name] = inputs[chosen], targets[chosen]
        given["train"] = inputs[order], targets[order]
        for name, part in given.items():
            if not len(part[1]):
                raise self._error(f"has too few examples, {len(targets)}: none is left for {name}")
        return given["train"], given["val"], given["test"]

    def _pair(self, pair: Any, where: str) -> Arrays:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise self._error(f"{where}must return {_FORMS}; got {type(pair).__name__}")
        inputs, targets = (_array(part) for part in pair)
        inputs, targets = self._inputs(inputs, where), self._targets(targets, where)
        if len(inputs) != len(targets):
            raise self._error(f"{where}has {len(inputs)} inputs and {len(targets)} targets")
        return inputs, targets

    def _inputs(self, x: np.ndarray, where: str) -> np.ndarray:
        if x.dtype.kind not in "buif":
            raise self._error(f"{where}inputs must be numbers, got an array of {x.dtype}")
        if not np.isfinite(x).all():
            raise self._error(f"{where}inputs must be finite")
        if not self._images:
            if x.ndim != 2:
                raise self._error(f"{where}inputs must have the shape (n, columns), got {x.shape}")
            return x.astype(np.float64)
        x = x[:, None] if x.ndim == 3 else x
        if x.ndim != 4 or (x.shape[1] > x.shape[3] and x.shape[3] <= 4):
            raise self._error(
                f"{where}images must have the shape (n, channels, height, width) or (n, height, width), got {x.shape}"
            )
        return x if x.dtype == np.uint8 else x.astype(np.float32)

    def _targets(self, y: np.ndarray, where: str) -> np.ndarray:
        if y.ndim != 1:
            raise self._error(f"{where}targets must have the shape (n,), got {y.shape}")
        if not self._classes:
            if y.dtype.kind not in "buif" or not np.isfinite(y.astype(np.float64)).all():
                raise self._error(f"{where}targets must be finite numbers")
            return y.astype(np.float64)
        if y.dtype.kind not in "bui" or (len(y) and y.min() < 0):
            raise self._error(
                f"{where}classes must be integers from 0, got {y.dtype}: "
                "numpy.unique(targets, return_inverse=True)[1] makes them"
            )
        return y.astype(np.int64)

    def _refuse_other_shapes(self, given: Mapping[str, Arrays]) -> None:
        shapes = {name: part[0].shape[1:] for name, part in given.items()}
        if len(set(shapes.values())) > 1:
            raise self._error(f"has inputs of several shapes: {shapes}")

    def _error(self, text: str) -> DataError:
        return DataError(f"dataset {self._name!r}: {text}.")


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
