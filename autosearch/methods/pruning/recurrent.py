"""Recurrent layers, which the dependency graph cannot follow: they stay whole, and so does what is tied to them."""

from collections.abc import Collection
from typing import Any

from torch import nn

from autosearch.methods.pruning.attention import blank_linear, replace
from autosearch.methods.pruning.errors import PruningError


class RecurrentStandIn(nn.Module):
    """Linear layers with the outer sizes of a recurrent layer or cell; its outputs have the shapes of the layer's."""

    def __init__(self, layer: nn.RNNBase | nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = isinstance(layer, nn.RNNCellBase)
        self.pair = isinstance(layer, nn.LSTM | nn.LSTMCell)
        state = getattr(layer, "proj_size", 0) or layer.hidden_size
        directions = 2 if getattr(layer, "bidirectional", False) else 1
        self.states = directions * getattr(layer, "num_layers", 1)
        self.time = 1 if getattr(layer, "batch_first", False) else 0
        like = next(layer.parameters())
        self.enter, self.state, self.memory = (
            blank_linear(layer.input_size, n, like=like)
            for n in (directions * state, state, layer.hidden_size)
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Sequence and state, or a cell's state."""
        x = next(iter((*args, *kwargs.values())))
        if self.cell:
            return (self.state(x), self.memory(x)) if self.pair else self.state(x)
        last = x.mean(self.time if x.dim() == 3 else 0)
        h, c = (layer(last).expand(self.states, *last.shape[:-1], -1) for layer in (self.state, self.memory))
        return self.enter(x), ((h, c) if self.pair else h)


def ignored(name: str, ignore: Collection[str]) -> bool:
    """Whether a module is one of those named or inside one."""
    return any(name == other or name.startswith(f"{other}.") for other in ignore)


def stand_in_for_recurrent(model: nn.Module, ignore: Collection[str]) -> set[str]:
    """Replace the recurrent layers of `model`, in place; the names of the stand-ins.

    Raises:
        PruningError: one is not in `ignore`.
    """
    found = {name: m for name, m in model.named_modules() if isinstance(m, nn.RNNBase | nn.RNNCellBase)}
    for name, layer in found.items():
        if not ignored(name, ignore):
            raise PruningError(
                f"{name}: {type(layer).__name__} cannot be pruned. List it in 'ignore' to leave it whole."
            )
        replace(model, name, RecurrentStandIn(layer))
    return set(found)
