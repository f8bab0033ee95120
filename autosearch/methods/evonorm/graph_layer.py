"""A layer graph as a module.

Guards keep every operation finite where its inputs are, without changing values that need no guard: a divisor, and what
is under a logarithm or a root, is at least `eps` in size. Sums of squares have `eps` added under the root, as in the
published layers.

Nodes are computed in the smallest shape that holds their values (a batch statistic is (1, c, 1, 1)): what an operation
does to numbers that repeat is what it does to one of them.
"""

from collections.abc import Callable

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.methods.evonorm.functional import per_channel, widened
from autosearch.methods.evonorm.graphs import Graph, Node
from autosearch.methods.evonorm.layers import GROUP_SIZE, group_count, recomputing


class GraphLayer(nn.Module):
    """The layer that `graph` describes, with the channels' weight and bias behind it.

    Args:
        channels: c.
        graph: what is computed; dead nodes cost nothing.
        group_size: channels of a group; where it does not divide the channels, the next smaller size that does.
        eps: of the guards, see the module.
        momentum: weight of the newest batch in running moments.
        activate: False for places without activation: weight and bias alone are left.
    """

    def __init__(
        self,
        channels: int,
        graph: Graph,
        *,
        group_size: int = GROUP_SIZE,
        eps: float = 1e-5,
        momentum: float = 0.1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise OptionError(f"channels: at least 1, got {channels}.", "channels")
        self.channels, self.graph, self.eps, self.momentum = channels, graph, eps, momentum
        self.activate = activate
        self.groups = channels // group_count(channels, group_size)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        active = graph.active if activate else ()
        self.v0 = nn.Parameter(torch.zeros(channels)) if "v0" in active else None
        self.v1 = nn.Parameter(torch.ones(channels)) if "v1" in active else None
        self._moments: dict[str, str] = {}
        for name, node in graph.steps if activate else ():
            if node.operation.endswith("_bwh"):
                self._moments[name] = f"running_{name}"
                start = torch.zeros if node.operation.startswith("mean") else torch.ones
                self.register_buffer(f"running_{name}", start(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = widened(x)
        if self.activate:
            z = self._value(z)
        return (z * per_channel(self.weight) + per_channel(self.bias)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.graph}" + ("" if self.activate else ", activate=False")

    def _value(self, x: torch.Tensor) -> torch.Tensor:
        values: dict[str, torch.Tensor] = {"x": x, "zero": x.new_zeros(1, 1, 1, 1)}
        for name, weights in (("v0", self.v0), ("v1", self.v1)):
            if weights is not None:
                values[name] = per_channel(weights)
        name = "x"
        for name, node in self.graph.steps:
            values[name] = self._computed(name, node, [values[i] for i in node.inputs])
        return values[name].expand_as(x)

    def _computed(self, name: str, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        kind, _, over = node.operation.partition("_")
        if not over:
            return ELEMENTWISE[kind](*inputs, *((self.eps,) if kind in GUARDED else ()))
        a = inputs[0]
        if over == "whg":
            # A value that is the same in all channels has groups as well.
            parts = torch.unflatten(a.expand(-1, self.channels, -1, -1), 1, (self.groups, -1))
            moment = self._moment(kind, parts, (2, 3, 4))
            result = self._root(kind, moment).expand_as(parts[:, :, :, :1, :1])
            return torch.flatten(result, 1, 2)
        if over == "bwh":
            return self._root(kind, self._batch_moment(name, kind, a))
        return self._root(kind, self._moment(kind, a, (2, 3) if over == "wh" else (1, 2, 3)))

    @staticmethod
    def _moment(kind: str, a: torch.Tensor, over: tuple[int, ...]) -> torch.Tensor:
        if kind == "mean":
            return a.mean(over, keepdim=True)
        if kind == "std":
            a = a - a.mean(over, keepdim=True)
        return a.square().mean(over, keepdim=True)

    def _root(self, kind: str, moment: torch.Tensor) -> torch.Tensor:
        return moment if kind == "mean" else (moment + self.eps).sqrt()

    def _batch_moment(self, name: str, kind: str, a: torch.Tensor) -> torch.Tensor:
        running = getattr(self, self._moments[name])
        if not self.training:
            return per_channel(running)
        moment = self._moment(kind, a, (0, 2, 3))
        if not recomputing():
            with torch.no_grad():
                newest = moment.detach().expand(1, self.channels, 1, 1).flatten().to(running.dtype)
                running.lerp_(newest, self.momentum)
        return moment


def _away_from_zero(a: torch.Tensor, eps: float) -> torch.Tensor:
    """`a`, or ±eps with its sign where it is smaller; zero counts as positive."""
    return torch.where(a < 0, a.clamp(max=-eps), a.clamp(min=eps))


ELEMENTWISE: dict[str, Callable[..., torch.Tensor]] = {
    "add": torch.add,
    "mul": torch.mul,
    "div": lambda a, b, eps: a / _away_from_zero(b, eps),
    "max": torch.maximum,
    "neg": torch.neg,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "log": lambda a, eps: a.sign() * a.abs().clamp(min=eps).log(),
    "abs": torch.abs,
    "square": torch.square,
    "sqrt": lambda a, eps: a.sign() * a.abs().clamp(min=eps).sqrt(),
}
GUARDED = ("div", "log", "sqrt")


class GraphFactory:
    """A graph as networks ask for layers: `factory(channels)`, and `factory.linear(channels)` without activation."""

    def __init__(self, graph: Graph, group_size: int = GROUP_SIZE) -> None:
        self.graph, self.group_size = graph, group_size

    def __call__(self, channels: int) -> GraphLayer:
        return GraphLayer(channels, self.graph, group_size=self.group_size)

    def linear(self, channels: int) -> GraphLayer:
        return GraphLayer(channels, self.graph, group_size=self.group_size, activate=False)
