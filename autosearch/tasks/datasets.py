"""Datasets as tensors in memory, with fixed splits for training, validation and test."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from autosearch.core.errors import OptionError
from autosearch.space import did_you_mean
from autosearch.tasks.image_files import DataError, read_cifar10, read_cifar10_subset, read_idx
from autosearch.tasks.splits import split_order

Examples = tuple[torch.Tensor, torch.Tensor]
Arrays = tuple[np.ndarray, np.ndarray]
Parts = tuple[Arrays, Arrays, Arrays]

_DATA_VARIABLE = "AUTOSEARCH_DATA"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Inputs and targets of three splits. Tensors are shared between trials and must not be changed in place.

    Attributes:
        train: inputs (n, …) float32 or int64, targets (n,) int64 for classes, float32 for numbers.
        val: the same, for selection.
        test: the same, for one look at the end.
        classes: number of classes, 0 for regression.
        target_scale: (mean, standard deviation) that targets of a regression were standardised with.
    """

    train: Examples
    val: Examples
    test: Examples
    classes: int
    target_scale: tuple[float, float] = (0.0, 1.0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.train[0].shape[1:])

    def to(self, device: torch.device) -> "Dataset":
        """The dataset on a device; itself where it is there already."""
        if self.train[0].device == device:
            return self
        train, val, test = ((x.to(device), y.to(device)) for x, y in (self.train, self.val, self.test))
        return Dataset(train, val, test, self.classes, self.target_scale)


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset in files: a folder under `data_dir`, the files in it (one of several sets), and a reader.

    Attributes:
        folder: name under `data_dir`.
        files: alternatives, each a tuple of files or folders that must all be there.
        read: `train` and `test` images uint8 NCHW with labels, from the folder.
        val_share: of the published training set that is set aside for validation.
    """

    folder: str
    files: tuple[tuple[str, ...], ...]
    read: Callable[[Path], Mapping[str, Arrays]]
    val_share: float


_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _read_idx_folder(folder: Path) -> dict[str, Arrays]:
    suffix = ".gz" if (folder / f"{_IDX_FILES[0]}.gz").is_file() else ""
    arrays = [read_idx(folder / f"{name}{suffix}") for name in _IDX_FILES]
    return {
        "train": (arrays[0][:, None], arrays[1].astype(np.int64)),
        "test": (arrays[2][:, None], arrays[3].astype(np.int64)),
    }


def _idx_source(folder: str) -> Source:
    gzipped = tuple(f"{name}.gz" for name in _IDX_FILES)
    return Source(folder, (gzipped, _IDX_FILES), _read_idx_folder, 1 / 6)


IMAGE_FILES: dict[str, Source] = {
    "fashion_mnist": _idx_source("fashion_mnist"),
    "mnist": _idx_source("mnist"),
    "cifar10": Source("cifar10", (("cifar-10-batches-py",), ("cifar-10-python.tar.gz",)), read_cifar10, 0.1),
    "cifar10_subset": Source(
        "cifar10_subset",
        (("cifar10_subset.npz",),),
        lambda folder: read_cifar10_subset(folder / "cifar10_subset.npz"),
        0.2,
    ),
}
IMAGE_DATASETS = ("digits", *IMAGE_FILES)
CLASS_TABLES = ("breast_cancer", "wine", "digits")
NUMBER_TABLES = ("diabetes",)
_TEST_SHARE = _VAL_SHARE = 0.2  # of datasets that come in one piece


def data_folder(data_dir: str | Path | None) -> Path | None:
    """The folder of datasets: the argument, else `$AUTOSEARCH_DATA`, else None."""
    found = data_dir or os.environ.get(_DATA_VARIABLE)
    return Path(found).expanduser().resolve() if found else None


def find_files(
    folder: str, alternatives: tuple[tuple[str, ...], ...], data_dir: Path | None, name: str
) -> Path:
    """The folder that holds one complete set of files.

    Raises:
        DataError: if there is none; says which files belong where.
    """
    wanted = " or ".join(", ".join(files) for files in alternatives)
    if data_dir is None:
        raise DataError(
            f"dataset {name!r} needs files and no data_dir is given. Put {wanted} into DATA_DIR/{folder} and set "
            f"data_dir or ${_DATA_VARIABLE} to DATA_DIR."
        )
    place = data_dir / folder
    if not any(all((place / file).exists() for file in files) for files in alternatives):
        raise DataError(f"dataset {name!r} is not there: put {wanted} into {place}.")
    return place


def check_image_dataset(name: str, data_dir: str | Path | None) -> None:
    """Look whether the dataset can be loaded, without loading it.

    Raises:
        OptionError: for an unknown name.
        DataError: if its files are not there.
    """
    if name not in IMAGE_DATASETS:
        _refuse(name, IMAGE_DATASETS)
    if name in IMAGE_FILES:
        source = IMAGE_FILES[name]
        find_files(source.folder, source.files, data_folder(data_dir), name)


def _refuse(name: str, known: tuple[str, ...]) -> None:
    hint = did_you_mean(name, known)
    raise OptionError(f"unknown dataset {name!r}.{hint} Known: {', '.join(known)}.", "dataset")


def load_images(
    name: str,
    *,
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    train_size: int | None = None,
    val_size: int | None = None,
    split_seed: int = 0,
) -> Dataset:
    """An image dataset, NCHW float32, each channel standardised with mean and deviation of the training images.

    Args:
        name: one of `IMAGE_DATASETS`.
        data_dir: folder of datasets, `$AUTOSEARCH_DATA` without it.
        image_size: pixels a side after average pooling; must divide the size of the images.
        train_size: examples to train on, None for all; a smaller set is part of a larger one.
        val_size: examples to validate on, None for all.
        split_seed: which examples go where.

    Raises:
        OptionError: for an unknown name or a size that does not fit.
        DataError: if files are missing or damaged.
    """
    check_image_dataset(name, data_dir)
    return _load_images(name, data_folder(data_dir), image_size, train_size, val_size, split_seed)


@lru_cache(maxsize=2)
def _load_images(
    name: str,
    data_dir: Path | None,
    image_size: int | None,
    train_size: int | None,
    val_size: int | None,
    split_seed: int,
) -> Dataset:
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images * (255 / 16)).astype(np.uint8)[:, None]
        parts = _three_parts((images, digits.target.astype(np.int64)), split_seed)
    else:
        source = IMAGE_FILES[name]
        place = find_files(source.folder, source.files, data_dir, name)
        published = source.read(place)
        parts = _two_parts(published["train"], published["test"], source.val_share, split_seed)
    return image_dataset(parts, image_size, train_size, val_size)


def image_dataset(
    parts: Parts, image_size: int | None, train_size: int | None, val_size: int | None
) -> Dataset:
    """Images NCHW, uint8 or float, as `load_images` gives them.

    Raises:
        OptionError: for a size that does not fit.
    """
    train, val, test = parts
    train, val = _first(train, train_size, "train_size"), _first(val, val_size, "val_size")
    inputs = [_pooled(part[0], image_size) for part in (train, val, test)]
    mean = inputs[0].mean(dim=(0, 2, 3), keepdim=True)
    deviation = inputs[0].std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    inputs = [(x - mean) / deviation for x in inputs]
    targets = [torch.from_numpy(np.ascontiguousarray(part[1])) for part in (train, val, test)]
    splits = list(zip(inputs, targets, strict=True))
    return Dataset(splits[0], splits[1], splits[2], classes=int(max(y.max() for y in targets)) + 1)


def check_table(name: str, known: tuple[str, ...]) -> None:
    """Look whether the table is one of `known`.

    Raises:
        OptionError: if it is not.
    """
    if name not in known:
        _refuse(name, known)


def load_table(
    name: str, *, train_size: int | None = None, val_size: int | None = None, split_seed: int = 0
) -> Dataset:
    """A table of numbers, (n, columns) float32, columns standardised over the training rows; so are number targets.

    Raises:
        OptionError: for an unknown name or a size that does not fit.
    """
    check_table(name, CLASS_TABLES + NUMBER_TABLES)
    return _load_table(name, train_size, val_size, split_seed)


@lru_cache(maxsize=4)
def _load_table(name: str, train_size: int | None, val_size: int | None, split_seed: int) -> Dataset:
    from sklearn import datasets

    table = getattr(datasets, f"load_{name}")()
    classes = 0 if name in NUMBER_TABLES else len(table.target_names)
    columns, target = np.asarray(table.data, np.float64), np.asarray(table.target)
    parts = _three_parts((columns, target), split_seed, stratified=classes > 0)
    return table_dataset(parts, classes, train_size, val_size)


def table_dataset(parts: Parts, classes: int, train_size: int | None, val_size: int | None) -> Dataset:
    """Rows of numbers, float64, as `load_table` gives them; targets are numbers where there are no `classes`.

    Raises:
        OptionError: for a size that does not fit.
    """
    train, val, test = parts
    train, val = _first(train, train_size, "train_size"), _first(val, val_size, "val_size")
    mean, deviation = train[0].mean(axis=0), train[0].std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    scale = (0.0, 1.0) if classes else (float(train[1].mean()), float(train[1].std()) or 1.0)

    def tensors(part: Arrays) -> Examples:
        x = torch.from_numpy(((part[0] - mean) / deviation).astype(np.float32))
        y = part[1].astype(np.int64) if classes else ((part[1] - scale[0]) / scale[1]).astype(np.float32)
        return x, torch.from_numpy(y)

    return Dataset(tensors(train), tensors(val), tensors(test), classes, scale)


def check_text(name: str, data_dir: str | Path | None) -> Path:
    """The file of a text.

    Raises:
        DataError: if it is not there.
    """
    folder = data_folder(data_dir)
    if folder is not None and (folder / "text").is_dir() and not (folder / "text" / f"{name}.txt").is_file():
        there = sorted(path.stem for path in (folder / "text").glob("*.txt"))
        hint = did_you_mean(name, there) or f" There are: {', '.join(there) or 'none'}."
        raise DataError(f"dataset {name!r} is not there: put {name}.txt into {folder / 'text'}.{hint}")
    return find_files("text", ((f"{name}.txt",),), folder, name) / f"{name}.txt"


def load_text(
    name: str,
    *,
    data_dir: str | Path | None = None,
    context: int = 1,
    train_size: int | None = None,
    val_size: int | None = None,
) -> Dataset:
    """A text as characters: each split is (characters, the following characters), int64 (n,), in the text's order.

    The vocabulary is every character of the text, in code order; `classes` is its size.

    Args:
        name: the file is `DATA_DIR/text/NAME.txt`, UTF-8.
        data_dir: folder of datasets, `$AUTOSEARCH_DATA` without it.
        context: characters that every split must have at least.
        train_size: characters to train on, None for the first 80 %.
        val_size: characters to validate on, None for 10 %.

    Raises:
        DataError: if the file is missing, is not UTF-8, or is too short.
        OptionError: for a size that does not fit.
    """
    data = _load_text(check_text(name, data_dir), train_size, val_size)
    shortest = min(len(split[0]) for split in (data.train, data.val, data.test))
    if shortest < context:
        raise DataError(
            f"text {name!r} is too short: a split has {shortest} characters, context is {context}."
        )
    return data


@lru_cache(maxsize=2)
def _load_text(path: Path, train_size: int | None, val_size: int | None) -> Dataset:
    try:
        codes = np.frombuffer(path.read_text(encoding="utf-8").encode("utf-32-le"), dtype="<u4")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: {error}") from error
    vocabulary, tokens = np.unique(codes, return_inverse=True)
    n_test, n_val = round(len(tokens) * 0.1), round(len(tokens) * 0.1)
    ends = [len(tokens) - n_test - n_val, len(tokens) - n_test]
    train, val, test = ((part[:-1], part[1:]) for part in np.split(tokens.astype(np.int64), ends))
    train, val = _first(train, train_size, "train_size"), _first(val, val_size, "val_size")
    splits = [(torch.from_numpy(x.copy()), torch.from_numpy(y.copy())) for x, y in (train, val, test)]
    return Dataset(splits[0], splits[1], splits[2], classes=len(vocabulary))


def _three_parts(data: Arrays, seed: int, *, stratified: bool = True) -> Parts:
    """Training, validation and test part of data in one piece."""
    inputs, targets = data
    size = len(inputs)
    order = split_order(targets if stratified else None, size, seed)
    n_test, n_val = round(size * _TEST_SHARE), round(size * _VAL_SHARE)
    test, val, train = np.split(order, [n_test, n_test + n_val])
    return _take(data, train), _take(data, val), _take(data, test)


def _two_parts(data: Arrays, test: Arrays, val_share: float, seed: int) -> Parts:
    """Training and validation part of a published training set, beside the published test set."""
    order = split_order(data[1], len(data[1]), seed)
    n_val = round(len(order) * val_share)
    return _take(data, order[n_val:]), _take(data, order[:n_val]), test


def _take(data: Arrays, indices: np.ndarray) -> Arrays:
    return data[0][indices], data[1][indices]


def _first(part: Arrays, size: int | None, option: str) -> Arrays:
    if size is None:
        return part
    if not 1 <= size <= len(part[0]):
        raise OptionError(f"{option}: between 1 and {len(part[0])}, got {size}.", option)
    return part[0][:size], part[1][:size]


def _pooled(images: np.ndarray, size: int | None) -> torch.Tensor:
    """Images averaged down to `size` pixels a side; bytes become numbers in [0, 1]."""
    x = torch.from_numpy(images.astype(np.float32))
    if images.dtype == np.uint8:
        x /= 255
    high, wide = x.shape[-2:]
    if size is None or size == high == wide:
        return x
    if high != wide or not 1 <= size <= wide or wide % size:
        pixels = wide if high == wide else f"{high} by {wide}"
        raise OptionError(f"image_size: must divide the images' {pixels} pixels, got {size}.", "image_size")
    return torch.nn.functional.avg_pool2d(x, x.shape[-1] // size)
