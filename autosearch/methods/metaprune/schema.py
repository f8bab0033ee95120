"""A network as a graph and back, exactly: every trainable number in one place of the graph.

A channel is a node, a kernel between two channels an edge. Everything is one gather and one scatter with the same
table of indices, so the way back is the inverse by construction and can be differentiated.

| symbol | meaning | shape |
|---|---|---|
| `x` | features of nodes | `(N, n)` |
| `e[k]` | features of the edges of type k: kernels of k numbers | `(E_k, k)` |
| `ends[k]` | for each edge of type k, the node it comes from and the node it goes to | `(2, E_k)` |

A node's features are, for each of `ports` normalisations that see the channel, weight, bias, running mean and running
variance; then the bias of the layer that makes it; then the biases of query, key and value of an attention block.

Source: Liu et al. 2025, "Meta Pruning via Graph Metanetworks" (arXiv 2506.12041).
Differs from the paper: one rule for every network instead of hand-written offsets for each family; edge types by the
length of a kernel instead of padding to 3x3; a shortcut's convolution has nodes of its own; the classifier comes back
as it went in (the published code transposes it).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autosearch.methods.pruning import PruningError

NORM = ("weight", "bias", "running_mean", "running_var")
NORM_DEFAULT = (1.0, 0.0, 0.0, 1.0)
_ATTENTION = 3  # biases of query, key and value


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the numbers of one parameter or buffer lie.

    Attributes:
        name: in the state of the network.
        shape: of the tensor.
        kind: `node`, or the length of the kernel as text.
        rows: (count,) node or edge of each number.
        column: (count,) which feature.
        trainable: written back to the network; statistics are only read.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    rows: torch.Tensor
    column: torch.Tensor
    trainable: bool = True


@dataclass(frozen=True, slots=True)
class Graph:
    """A network as a graph; see the table above."""

    x: torch.Tensor
    e: Mapping[int, torch.Tensor]
    ends: Mapping[int, torch.Tensor]

    def to(self, device: torch.device | str) -> "Graph":
        """The graph on a device."""
        edges = {k: value.to(device) for k, value in self.e.items()}
        return Graph(self.x.to(device), edges, {k: value.to(device) for k, value in self.ends.items()})


@dataclass(frozen=True, slots=True)
class GraphSchema:
    """The table between a network's state and its graph.

    Attributes:
        slots: of all parameters and of the statistics of normalisations.
        nodes: how many there are.
        ports: normalisations that a node can hold.
        ends: see `Graph`.
        constants: type of edge -> (edges, values): edges of residual connections, which belong to no parameter.
        blocks: (start, stop) of the nodes of each layer's channels, in order of execution.
    """

    slots: tuple[Slot, ...]
    nodes: int
    ports: int
    ends: Mapping[int, torch.Tensor]
    constants: Mapping[int, tuple[torch.Tensor, torch.Tensor]]
    blocks: tuple[tuple[int, int], ...]

    @property
    def node_features(self) -> int:
        """n: features of a node."""
        return len(NORM) * self.ports + 1 + _ATTENTION

    @property
    def family(self) -> dict[str, Any]:
        """What a metanetwork must agree with: numbers of node features, and lengths of kernels."""
        return {"ports": self.ports, "kernels": sorted(self.ends)}

    @property
    def edges(self) -> int:
        """How many edges there are, of all types."""
        return sum(ends.shape[1] for ends in self.ends.values())

    def to_graph(self, state: Mapping[str, torch.Tensor]) -> Graph:
        """The graph of a network with this state (`dict(model.named_parameters())` and buffers, or `state_dict()`).

        Raises:
            PruningError: the state is of another network.
        """
        some = next(iter(state.values()))
        floating = next((t for t in state.values() if t.is_floating_point()), some)
        default = floating.new_tensor([*NORM_DEFAULT * self.ports, *[0.0] * (1 + _ATTENTION)])
        x = default.repeat(self.nodes, 1)
        e = {k: floating.new_zeros(ends.shape[1], k) for k, ends in self.ends.items()}
        for k, (rows, values) in self.constants.items():
            e[k][rows] = values.to(floating)
        for slot in self.slots:
            tensor = state.get(slot.name)
            if tensor is None or tuple(tensor.shape) != slot.shape:
                found = "nothing" if tensor is None else tuple(tensor.shape)
                raise PruningError(
                    f"{slot.name}: the graph was made for {slot.shape}, the network has {found}."
                )
            place = (slot.rows.to(tensor.device), slot.column.to(tensor.device))
            if slot.kind == "node":
                x = x.index_put(place, tensor.reshape(-1))
            else:
                k = int(slot.kind)
                e[k] = e[k].index_put(place, tensor.reshape(-1))
        device = floating.device
        return Graph(x, e, {k: ends.to(device) for k, ends in self.ends.items()})

    def from_graph(self, graph: Graph) -> dict[str, torch.Tensor]:
        """The trainable parameters that a graph holds, by name; differentiable."""
        found = {}
        for slot in self.slots:
            if slot.trainable:
                source = graph.x if slot.kind == "node" else graph.e[int(slot.kind)]
                place = (slot.rows.to(source.device), slot.column.to(source.device))
                found[slot.name] = source[place].reshape(slot.shape)
        return found

    def apply(self, model: nn.Module, graph: Graph) -> None:
        """Write a graph's parameters into the network, in place; buffers stay."""
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in self.from_graph(graph).items():
                parameters[name].copy_(value)


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, shared with the network."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
