"""Checkpoints: plain tensors and containers in one file, written atomically and read without running code."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autosearch.core.errors import AutosearchError

FILE_NAME = "learner.pt"


class CheckpointError(AutosearchError, RuntimeError):
    """A checkpoint is missing, damaged, or belongs to another network."""


def detached(tree: Any) -> Any:
    """A deep copy of nested mappings, lists and tuples in which no tensor shares memory with the original."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: detached(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(detached(value) for value in tree)
    return tree


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> Path:
    """Write `state` into `folder` (made if absent) and return the file.

    The file appears complete or not at all, also if the machine stops in between.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / FILE_NAME
    draft = folder / f".{FILE_NAME}.{os.getpid()}"
    try:
        with draft.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote into `folder`, tensors on the CPU.

    Raises:
        CheckpointError: if there is none, or the file is damaged or holds more than plain values.
    """
    path = folder / FILE_NAME
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint in {folder}: {FILE_NAME} is missing.") from error
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"checkpoint {path} cannot be read: {reason}") from error
    return state
