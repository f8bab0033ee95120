"""Linearised predictions where a layer lacks a derivative forward: two passes backward instead."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from autosearch.methods.stn.signal import Signal


class DoubleBackward:
    """Stands for a network in a loss, as `Linearised` does.

    With v a dummy, J'v is linear in v, and its derivative by v along the gains is J g.

    Args:
        model: network.
        signal: of its layers.
        gains: (B, G).
        values: of hyperparameters.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        signal: Signal,
        gains: torch.Tensor,
        values: Mapping[str, torch.Tensor],
    ) -> None:
        self._model, self._signal, self._gains, self._values = model, signal, gains, values

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        zero = torch.zeros_like(self._gains).requires_grad_()
        with self._signal.showing(zero, self._values):
            outputs, layout = tree_flatten(self._model(*args, **kwargs))
        places = [i for i, y in enumerate(outputs) if isinstance(y, torch.Tensor) and y.requires_grad]
        found = [outputs[i] for i in places]
        dummies = [torch.zeros_like(y).requires_grad_() for y in found]
        (back,) = torch.autograd.grad(found, zero, dummies, create_graph=True)
        changes = torch.autograd.grad(back, dummies, self._gains, create_graph=True, allow_unused=True)
        for i, change in zip(places, changes, strict=True):
            outputs[i] = outputs[i] if change is None else outputs[i] + change
        return tree_unflatten(outputs, layout)
