"""Readers of image files: IDX, the CIFAR-10 archive without its pickles' dangers, the subset file."""

import gzip
import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray

from autosearch.core.errors import AutosearchError

_IDX_UBYTE = 8  # type code of unsigned bytes


class DataError(AutosearchError, ValueError):
    """A data file is missing or does not hold what it should."""


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped or not, as a uint8 array of its own shape.

    Raises:
        DataError: if the file is not in that format or is cut short.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != _IDX_UBYTE:
        raise DataError(f"{path}: not an IDX file of unsigned bytes.")
    rank = raw[3]
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", rank, 4))
    data = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    if data.size != np.prod(shape):
        raise DataError(f"{path}: its head announces {shape}, it holds {data.size} bytes. Is it cut short?")
    return data.reshape(shape)


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them in a pickle of Python 2: in place of `codecs.encode`, for this one encoding."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} does not belong into a data file")
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    """Loads containers and numpy arrays, and nothing that could run code."""

    _ALLOWED: dict[tuple[str, str], Any] = {  # noqa: RUF012 - pickle looks it up on the instance
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
        ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,
    }

    def find_class(self, module: str, name: str) -> Any:
        found = self._ALLOWED.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into a data file")
        return found


def read_cifar10(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """CIFAR-10 as published: `train` (50,000) and `test` (10,000) of images uint8 NCHW and labels.

    Reads `cifar-10-batches-py/` or `cifar-10-python.tar.gz` in `folder`.

    Raises:
        DataError: if a file is damaged or holds anything but arrays.
    """
    train: list[tuple[np.ndarray, np.ndarray]] = []
    test: list[tuple[np.ndarray, np.ndarray]] = []
    for name, raw in _cifar_batches(folder):
        try:
            content = _ArrayUnpickler(io.BytesIO(raw), encoding="bytes").load()
            images = np.asarray(content[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
            labels = np.asarray(content[b"labels"], dtype=np.int64)
        except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{folder}: {name} is not a CIFAR-10 batch: {error}") from error
        (test if name == "test_batch" else train).append((images, labels))
    return {
        split: (np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]))
        for split, parts in (("train", train), ("test", test))
    }


_CIFAR_NAMES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


def _cifar_batches(folder: Path) -> Iterator[tuple[str, bytes]]:
    unpacked = folder / "cifar-10-batches-py"
    if unpacked.is_dir():
        for name in _CIFAR_NAMES:
            if not (unpacked / name).is_file():
                raise DataError(
                    f"{unpacked}: {name} is missing. The archive holds {', '.join(_CIFAR_NAMES)}."
                )
            yield name, (unpacked / name).read_bytes()
        return
    archive = folder / "cifar-10-python.tar.gz"
    try:
        with tarfile.open(archive) as tar:
            for name in _CIFAR_NAMES:
                member = tar.extractfile(f"cifar-10-batches-py/{name}")
                if member is None:
                    raise DataError(f"{archive}: cifar-10-batches-py/{name} is not a file.")
                yield name, member.read()
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise DataError(f"{archive}: cannot be read: {error}") from error


def read_cifar10_subset(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The subset file: `train` and `test` of images uint8 NCHW and labels."""
    with np.load(path, allow_pickle=False) as file:
        return {
            split: (file[f"x_{split}"].transpose(0, 3, 1, 2), file[f"y_{split}"].astype(np.int64))
            for split in ("train", "test")
        }
