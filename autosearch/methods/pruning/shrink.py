"""Removing channels from a network, from a description that fits into a small JSON file.

A *slot* is one axis of a module along which channels lie: the outputs or inputs of a convolution or linear layer, the
channels of a normalisation. A description names, for every narrowed slot, the indices that were kept; `shrink` alone
changes networks, right after a decision as well as when a network is built again from a file.

| symbol | meaning |
|---|---|
| slot | `(module, axis)`; axis `out`, `in`, `channels`, `heads`, or `dimN` of a parameter |
| kept | slot -> increasing indices of the original network that are left |
"""

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from autosearch.methods.pruning.errors import PruningError

Network = TypeVar("Network", bound=nn.Module)


class Slot(NamedTuple):
    """One axis of a module: its name in the network and which axis."""

    module: str
    axis: str

    def __str__(self) -> str:
        return f"{self.module}:{self.axis}"

    @classmethod
    def parse(cls, text: str) -> "Slot":
        """The slot that `str` wrote."""
        module, _, axis = text.rpartition(":")
        return cls(module, axis)


Kept = Mapping[Slot, Sequence[int]]


def shrink(model: Network, kept: Kept) -> Network:
    """A copy of `model` with only the `kept` channels; the original stays as it is.

    Raises:
        PruningError: a slot does not fit the network.
    """
    small = copy.deepcopy(model)
    for slot, indices in kept.items():
        _narrow(small, slot, list(indices))
    return small


def to_json(kept: Kept) -> dict[str, list[int]]:
    """The description as JSON values."""
    return {str(slot): [int(i) for i in indices] for slot, indices in kept.items()}


def from_json(data: Any) -> dict[Slot, list[int]]:
    """The description that `to_json` wrote.

    Raises:
        PruningError: it is no such description.
    """
    if not isinstance(data, Mapping):
        raise PruningError(
            f"kept channels: a mapping of slots to indices is expected, got {type(data).__name__}."
        )
    kept = {}
    for text, indices in data.items():
        if not isinstance(text, str) or ":" not in text:
            raise PruningError(f"kept channels: {text!r} is no slot such as 'layer1.conv:out'.")
        whole = isinstance(indices, list) and all(type(i) is int and i >= 0 for i in indices)
        if not whole or not indices or any(a >= b for a, b in itertools.pairwise(indices)):
            raise PruningError(f"kept channels: {text}: increasing whole numbers from 0 are expected.")
        kept[Slot.parse(text)] = indices
    return kept


def width(model: nn.Module, slot: Slot) -> int:
    """How many channels a slot has.

    Raises:
        PruningError: the network has no such slot.
    """
    owner = _owner(model, slot)
    if slot.axis.startswith("dim") and isinstance(owner, nn.Parameter):
        return int(owner.shape[int(slot.axis[3:])])
    if slot.axis == "heads":
        return int(getattr(owner, _heads_name(owner, slot)))
    for kinds, axes in _AXES:
        if isinstance(owner, kinds) and slot.axis in axes:
            return int(getattr(owner, axes[slot.axis]))
    if isinstance(owner, nn.LayerNorm) and slot.axis == "channels":
        return int(owner.normalized_shape[-1])
    raise PruningError(f"{slot.module}: {type(owner).__name__} has no axis {slot.axis!r} that can be pruned.")


_AXES: tuple[tuple[tuple[type, ...], dict[str, str]], ...] = (
    ((_ConvNd,), {"out": "out_channels", "in": "in_channels", "channels": "out_channels"}),
    ((nn.Linear,), {"out": "out_features", "in": "in_features"}),
    ((_BatchNorm, _InstanceNorm), {"channels": "num_features"}),
    ((nn.GroupNorm,), {"channels": "num_channels"}),
    ((nn.PReLU,), {"channels": "num_parameters"}),
    ((nn.Embedding,), {"channels": "embedding_dim"}),
)
HEAD_NAMES = ("heads", "num_heads", "n_heads", "n_head", "num_attention_heads")


def _heads_name(owner: Any, slot: Slot) -> str:
    name = next((n for n in HEAD_NAMES if isinstance(getattr(owner, n, None), int)), None)
    if name is None:
        raise PruningError(
            f"{slot.module}: no count of heads, which is called one of {', '.join(HEAD_NAMES)}."
        )
    return name


def _owner(model: nn.Module, slot: Slot) -> Any:
    place: Any = model
    for part in slot.module.split(".") if slot.module else ():
        place = getattr(place, part, None)
        if place is None:
            raise PruningError(f"{slot.module}: the network has no such module.")
    return place


def _narrow(model: nn.Module, slot: Slot, indices: list[int]) -> None:
    total = width(model, slot)
    if not indices or indices[-1] >= total:
        raise PruningError(
            f"{slot}: {len(indices)} of indices up to {indices[-1:]} do not fit {total} channels."
        )
    owner = _owner(model, slot)
    index = torch.tensor(indices)
    if isinstance(owner, nn.Parameter):
        parent, _, name = slot.module.rpartition(".")
        axis = int(slot.axis[3:])
        setattr(model.get_submodule(parent), name, _selected(owner, index, axis))
    elif slot.axis == "heads":
        setattr(owner, _heads_name(owner, slot), len(indices))
    elif isinstance(owner, _ConvNd):
        _narrow_conv(owner, slot.axis, index)
    elif isinstance(owner, nn.Linear):
        _select(owner, {"weight": 0, "bias": 0} if slot.axis == "out" else {"weight": 1}, index)
        setattr(owner, "out_features" if slot.axis == "out" else "in_features", len(index))
    elif isinstance(owner, nn.Embedding):
        _select(owner, {"weight": 1}, index)
        owner.embedding_dim = len(index)
    elif isinstance(owner, nn.LayerNorm):
        _select(owner, {"weight": -1, "bias": -1}, index)
        owner.normalized_shape = (*owner.normalized_shape[:-1], len(index))
    else:
        _select(owner, {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 0}, index)
        name = next(axes[slot.axis] for kinds, axes in _AXES if isinstance(owner, kinds))
        setattr(owner, name, len(index))


def _narrow_conv(conv: _ConvNd, axis: str, index: torch.Tensor) -> None:
    # A transposed convolution stores (in, out / groups, ...), an ordinary one (out, in / groups, ...).
    per_group = "out" if conv.transposed else "in"
    if axis == "channels":
        _select(conv, {"weight": 0, "bias": 0}, index)
        conv.in_channels = conv.out_channels = conv.groups = len(index)
        return
    count = conv.out_channels if axis == "out" else conv.in_channels
    if axis == per_group:
        # Kept indices are alike in all groups, so those of the first one say which.
        local = index[index < count // conv.groups]
        _select(conv, {"weight": 1}, local)
    else:
        _select(conv, {"weight": 0}, index)
    if axis == "out":
        _select(conv, {"bias": 0}, index)
        conv.out_channels = len(index)
    else:
        conv.in_channels = len(index)


def _select(module: nn.Module, axes: Mapping[str, int], index: torch.Tensor) -> None:
    for name, axis in axes.items():
        tensor = getattr(module, name, None)
        if tensor is not None:
            setattr(module, name, _selected(tensor, index, axis))


def _selected(tensor: torch.Tensor, index: torch.Tensor, axis: int) -> torch.Tensor:
    part = tensor.detach().index_select(axis, index.to(tensor.device)).clone()
    return (
        nn.Parameter(part, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else part
    )


def masked(model: Network, kept: Kept) -> Network:
    """A copy whose removed output channels are silenced instead of removed: weights, biases and statistics are zero.

    Where no normalisation mixes channels it computes what the shrunken network computes.
    """
    quiet = copy.deepcopy(model)
    for slot, indices in kept.items():
        if slot.axis not in ("out", "channels"):
            continue
        owner = _owner(quiet, slot)
        gone = torch.ones(width(quiet, slot), dtype=torch.bool)
        gone[list(indices)] = False
        with torch.no_grad():
            _silence(owner, slot.axis, gone)
    return quiet


def _silence(owner: nn.Module, axis: str, gone: torch.Tensor) -> None:
    def clear(name: str, *, along: int = 0) -> None:
        tensor = getattr(owner, name, None)
        if tensor is not None:
            tensor.movedim(along, 0)[gone] = 0.0

    if isinstance(owner, nn.Embedding):
        clear("weight", along=1)
    elif isinstance(owner, _ConvNd) and axis == "out" and owner.transposed:
        clear("weight", along=1)
        clear("bias")
    else:
        clear("weight")
        clear("bias")
        clear("running_mean")
