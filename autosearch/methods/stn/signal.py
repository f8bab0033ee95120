"""What the converted layers of one network see of the hyperparameters at a moment."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch.utils._pytree import tree_map

from autosearch.core.errors import OptionError


class Signal:
    """Gains of every converted layer and values of the hyperparameters, set for the length of a pass.

    Attributes:
        gains: (B, G) for a batch of B examples or (1, G) for all, G over all layers; None: layers are plain.
        tangent: gains are a direction: layers carry values at zero gain together with their derivative along it.
        values: of hyperparameters that layers read themselves, (B,) or (1,) each; None: what modules hold.
        batch_dim: dimension of inputs that counts examples.
    """

    def __init__(self, batch_dim: int = 0) -> None:
        self.gains: torch.Tensor | None = None
        self.tangent = False
        self.values: Mapping[str, torch.Tensor] | None = None
        self.batch_dim = batch_dim

    @contextmanager
    def showing(
        self,
        gains: torch.Tensor | None,
        values: Mapping[str, torch.Tensor] | None,
        *,
        tangent: bool = False,
    ) -> Iterator[None]:
        """Layers see this inside, and what they saw before afterwards."""
        before = self.gains, self.values, self.tangent
        self.gains, self.values, self.tangent = gains, values, tangent
        try:
            yield
        finally:
            self.gains, self.values, self.tangent = before

    def spread(self, rows: torch.Tensor, y: torch.Tensor, channel: int, name: str) -> torch.Tensor:
        """`rows` (B, C) or (1, C) in a shape that broadcasts over `y`, whose dimension `channel` has C entries.

        Raises:
            OptionError: if `y` has no dimension of B examples.
        """
        n, shape = len(rows), [1] * y.ndim
        shape[channel] = -1
        if n == 1:
            return rows.view(shape)
        dim = self.batch_dim if y.ndim > self.batch_dim + 1 else 0
        if y.shape[dim] != n:
            if dim or y.shape[0] % n:
                raise OptionError(
                    f"{name}: an output of shape {tuple(y.shape)} for a batch of {n} examples: hyperparameters differ "
                    f"between examples, which must be counted by dimension {self.batch_dim} (`batch_dim`). Give the "
                    "right one, exclude the layer, or make every hyperparameter `shared`.",
                    name,
                )
            # Examples and time were made one dimension, in the order in which they lay.
            times = y.shape[0] // n
            rows = rows.repeat(times, 1) if self.batch_dim else rows.repeat_interleave(times, 0)
        shape[dim] = y.shape[dim]
        return rows.view(shape)


def split(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Value and derivative of a tensor inside `Signal.showing(tangent=True)`; no derivative where none has entered."""
    primal, tangent = forward_ad.unpack_dual(x)  # type: ignore[no-untyped-call]
    return primal, tangent


def join(primal: torch.Tensor, tangent: torch.Tensor) -> torch.Tensor:
    """A tensor that carries its derivative."""
    dual: torch.Tensor = forward_ad.make_dual(primal, tangent)  # type: ignore[no-untyped-call]
    return dual


class Linearised:
    """Stands for a network in a loss: its outputs are value plus derivative, f(x, w0) + J_w f(x, w0) (w - w0).

    Args:
        model: network with its layers showing a tangent.
    """

    def __init__(self, model: Callable[..., Any]) -> None:
        self._model = model

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return tree_map(merged, self._model(*args, **kwargs))


def merged(x: Any) -> Any:
    """Value plus derivative of a tensor that carries one; all else as it is."""
    if not isinstance(x, torch.Tensor):
        return x
    primal, tangent = split(x)
    return primal if tangent is None else primal + tangent
