"""Normalisation and activation as one exchangeable piece of every network."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from autosearch.core import plugins
from autosearch.core.errors import OptionError
from autosearch.space import did_you_mean

Layer = Callable[[int], nn.Module]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
}


def find_activation(name: str) -> Callable[[], nn.Module]:
    """The activation called `name`.

    Raises:
        OptionError: if there is none.
    """
    if name not in ACTIVATIONS:
        hint = did_you_mean(name, ACTIVATIONS)
        raise OptionError(
            f"unknown activation {name!r}.{hint} Known: {', '.join(ACTIVATIONS)}.", "activation"
        )
    return ACTIVATIONS[name]


_GROUPS = 8  # at most; group statistics of fewer than a handful of channels are noise in small networks


def _groups(channels: int) -> nn.Module:
    groups = next(g for g in range(min(_GROUPS, channels), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


NORMS_2D: dict[str, Layer] = {
    "batch": nn.BatchNorm2d,
    "group": _groups,
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "none": lambda _: nn.Identity(),
}
NORMS_1D: dict[str, Layer] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "none": lambda _: nn.Identity(),
}


@dataclass(frozen=True, slots=True)
class NormAct:
    """What stands behind every convolution or linear layer of a network.

    Attributes:
        norm: a name of `NORMS_2D` (`NORMS_1D` for vectors), the name of a plug-in of the group
            `autosearch.layers`, or any callable from channels to a module. Plug-ins and callables stand for
            normalisation and activation together.
        activation: a name of `ACTIVATIONS`; not used with a plug-in or callable.
        vectors: whether it works on (batch, channels) instead of (batch, channels, height, width).
    """

    norm: str | Layer = "batch"
    activation: str = "relu"
    vectors: bool = False

    def __post_init__(self) -> None:
        find_activation(self.activation)

    def __call__(self, channels: int) -> nn.Module:
        """Normalisation and activation."""
        whole = self._whole
        if whole is not None:
            return whole(channels)
        activation = ACTIVATIONS[self.activation]()
        if self.norm == "none":
            return activation
        return nn.Sequential(self.linear(channels), activation)

    def linear(self, channels: int) -> nn.Module:
        """Normalisation alone, for the places where a network normalises without activating.

        A plug-in or callable that has a `linear(channels)` gives it; beside any other it is batch norm, as a layer
        that holds its own activation cannot stand there.
        """
        linear = getattr(self._whole, "linear", None)
        if linear is not None:
            made: nn.Module = linear(channels)
            return made
        name = self.norm if isinstance(self.norm, str) and self.norm in self._known else "batch"
        return self._known[name](channels)

    def act(self) -> nn.Module:
        """Activation alone, for the sum behind a residual block."""
        return find_activation(self.activation)()

    @property
    def bias(self) -> bool:
        """Whether the layer in front needs a bias of its own: only where nothing normalises."""
        return self.norm == "none"

    @property
    def _known(self) -> dict[str, Layer]:
        return NORMS_1D if self.vectors else NORMS_2D

    @property
    def _whole(self) -> Layer | None:
        if not isinstance(self.norm, str):
            return self.norm
        if self.norm in self._known:
            return None
        if self.norm in plugins.registered("layers") or ":" in self.norm:
            found: Layer = plugins.load("layers", self.norm)
            return found
        known = [*self._known, *plugins.registered("layers")]
        hint = did_you_mean(self.norm, known)
        raise OptionError(f"unknown norm {self.norm!r}.{hint} Known: {', '.join(known)}.", "norm")
