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


def plain_snapshot(snapshot: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a TorchLearner has saved, without what training methods have put around it."""
    while "inner" in snapshot:
        snapshot = snapshot["inner"]
    return snapshot


def export_weights(folder: Path, target: Path) -> bool:
    """Write the network of the checkpoint in `folder` to `target`, as a plain `state_dict`.

    It is the network that was evaluated: the averaged one where there is an average.

    Returns:
        Whether it was written: other tasks keep other things in their checkpoints.

    Raises:
        CheckpointError: if the checkpoint is damaged.
    """
    if not (folder / FILE_NAME).is_file():
        return False
    learner = plain_snapshot(load_checkpoint(folder).get("learner", {}))
    if "model" not in learner:
        return False
    torch.save(dict((learner["average"] or learner)["model"]["state"]), target)
    return True
