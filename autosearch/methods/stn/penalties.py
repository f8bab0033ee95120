"""Parts of the training loss that hyperparameters weigh and that need no word from the user."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.methods.stn.signal import merged

PENALTIES = ("activation_penalty", "temporal_penalty")


def _activation(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).square().mean(1)


def _temporal(x: torch.Tensor) -> torch.Tensor:
    return x.diff(dim=1).flatten(1).square().mean(1)


_FORMULAS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "activation_penalty": _activation,
    "temporal_penalty": _temporal,
}


class _Tap:
    """Catches what a module gets in the next pass."""

    def __init__(self, module: nn.Module) -> None:
        self.waiting = False
        self.caught: torch.Tensor | None = None
        self.handle = module.register_forward_pre_hook(self._catch, with_kwargs=True)

    def _catch(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:  # noqa: ARG002
        if self.waiting:
            self.caught = next(iter((*args, *kwargs.values())), None)

    def take(self) -> torch.Tensor | None:
        """What was caught; nothing is kept."""
        caught, self.caught, self.waiting = self.caught, None, False
        return caught


class Penalties:
    """Mean squares of activations, and of their differences in time, of what the last linear layer sees.

    Source: Merity et al. 2017, "Revisiting Activation Regularization for Language RNNs", sections 2.1 and 2.2.

    Args:
        model: network.
        places: path of the module whose input is penalised, None for the last linear layer, by name of `PENALTIES`.
        batch_dim: dimension that counts examples; the other of the first two is time.
    """

    def __init__(self, model: nn.Module, places: Mapping[str, str | None], batch_dim: int) -> None:
        self._batch_dim = batch_dim
        modules = dict(model.named_modules())
        linear = [path for path, module in modules.items() if type(module) is nn.Linear]
        found = {name: place or (linear[-1] if linear else None) for name, place in places.items()}
        for name, path in found.items():
            if path is None or path not in modules:
                what = "the network has no linear layer" if path is None else f"no module is called {path!r}"
                raise OptionError(f"{name}: {what}; give with `of` the module whose input it is of.", name)
        self._taps = {name: (path, _Tap(modules[path])) for name, path in found.items() if path is not None}

    def leave(self, model: nn.Module) -> None:
        """Take the hooks off the network, or off a copy of it."""
        for path, tap in self._taps.values():
            module = model.get_submodule(path)
            del module._forward_pre_hooks[tap.handle.id], module._forward_pre_hooks_with_kwargs[tap.handle.id]

    def watch(self) -> None:
        """Look at the next pass."""
        for _, tap in self._taps.values():
            tap.waiting = True

    def __call__(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor | float:
        """Penalty of the pass just made, mean over examples, linearised as the pass was."""
        total: torch.Tensor | float = 0.0
        for name, (path, tap) in self._taps.items():
            caught = tap.take()
            if caught is None:
                raise OptionError(f"loss: made no pass through {path!r}, whose input {name} is of.", "loss")
            x = merged(caught)
            x = x.transpose(0, 1) if self._batch_dim and x.ndim > 2 else x
            total = total + (values[name] * _FORMULAS[name](x)).mean()
        return total
