"""The metanetwork: a graph network that maps a network's graph to one that is easier to prune.

| symbol | meaning | shape |
|---|---|---|
| `H` | hidden features of nodes | `(N, h)` |
| `A` | hidden features of edges | `(E, h)` |
| `s`, `d` | node that an edge comes from, node it goes to | `(E,)` |
| `sign` | +1 for the first half of the hidden features, -1 for the other: edges read against their direction | `(h,)` |

Source: Liu et al. 2025, "Meta Pruning via Graph Metanetworks" (arXiv 2506.12041), its published code; the layer is the
principal neighbourhood aggregation of Corso et al. 2020.
Differs from the published code: encoders and decoders by length of the kernel; no unused layers; the layers' hidden
features are computed again on the way back where they would not fit into memory.
"""

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from autosearch.core.errors import OptionError
from autosearch.methods.metaprune.schema import Graph, GraphSchema, state_of
from autosearch.methods.pruning import PruningError

_FORMAT = 1
_LONG = 64  # kernels longer than this pass through a bottleneck
_STD_FLOOR = 1e-5  # of a variance, before its root is taken: its slope at zero is infinite
_RECOMPUTE = 2**24  # numbers of a layer's edges beyond which the way back computes them again


def aggregate(messages: torch.Tensor, target: torch.Tensor, nodes: int) -> torch.Tensor:
    """(nodes, 4 h): mean, standard deviation, maximum and minimum of the messages (E, h) that arrive at each node.

    Nodes where none arrive have 0, and the floor's root as standard deviation.
    """
    count = (
        messages.new_zeros(nodes).index_add(0, target, messages.new_ones(len(target))).clamp_min(1)[:, None]
    )
    mean = messages.new_zeros(nodes, messages.shape[1]).index_add(0, target, messages) / count
    square = messages.new_zeros(nodes, messages.shape[1]).index_add(0, target, messages.square()) / count
    spread = (square - mean.square()).clamp_min(_STD_FLOOR).sqrt()
    index = target[:, None].expand_as(messages)
    empty = messages.new_zeros(nodes, messages.shape[1])
    high = empty.scatter_reduce(0, index, messages, "amax", include_self=False)
    low = empty.scatter_reduce(0, index, messages, "amin", include_self=False)
    return torch.cat([mean, spread, high, low], dim=1)


class _Layer(nn.Module):
    """One round of messages along the edges, with the same weights in both directions."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.phi = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(4))
        self.down = nn.Linear(4 * hidden, hidden)
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False)

    def forward(
        self, h: torch.Tensor, a: torch.Tensor, ends: torch.Tensor, sign: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.norm(h)
        n1, a1 = self._along(x, a, ends[0], ends[1])
        n2, a2 = self._along(x, sign * a, ends[1], ends[0])
        return h + n1 + n2, a + a1 + sign * a2

    def _along(
        self, x: torch.Tensor, a: torch.Tensor, source: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        p1, p2, p3, p4 = (functional.silu(phi(x)) for phi in self.phi)
        arriving = p2[target] * p1[source] * a
        return self.down(aggregate(arriving, target, len(x))), p3[source] * p4[target] * a


class _Decoder(nn.Sequential):
    def __init__(self, hidden: int, out: int) -> None:
        last: list[nn.Module] = [nn.Linear(hidden, out)]
        if out > _LONG:
            last = [nn.Linear(hidden, _LONG), nn.SiLU(), nn.Linear(_LONG, out)]
        super().__init__(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.SiLU(), *last)


def _encoder(size: int, hidden: int) -> nn.Module:
    if size > _LONG:
        return nn.Sequential(nn.Linear(size, _LONG), nn.SiLU(), nn.Linear(_LONG, hidden))
    return nn.Linear(size, hidden)


class MetaNetwork(nn.Module):
    """Adds a small learnt change to every number of a graph; equivariant under a renaming of channels.

    Args:
        family: of the graphs it reads, `GraphSchema.family`.
        layers: rounds of messages.
        hidden: features of nodes and edges in between.
        residual: size of the change; 0 changes nothing.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self, family: Mapping[str, Any], *, layers: int = 4, hidden: int = 16, residual: float = 0.01
    ) -> None:
        super().__init__()
        for name, value, low in (("layers", layers, 1), ("hidden", hidden, 2)):
            if value < low:
                raise OptionError(f"{name}: at least {low}, got {value}.", name)
        self.options = {"layers": layers, "hidden": hidden, "residual": residual}
        self.ports, self.kernels = int(family["ports"]), [int(k) for k in family["kernels"]]
        self.residual = residual
        features = 4 * self.ports + 4
        self.encode_nodes = _encoder(features, hidden)
        self.encode_edges = nn.ModuleDict({str(k): _encoder(k, hidden) for k in self.kernels})
        self.layers = nn.ModuleList(_Layer(hidden) for _ in range(layers))
        self.decode_nodes = _Decoder(hidden, features)
        self.decode_edges = nn.ModuleDict({str(k): _Decoder(hidden, k) for k in self.kernels})
        sign = torch.ones(hidden)
        sign[hidden // 2 :] = -1
        self.register_buffer("sign", sign, persistent=False)

    def forward(self, graph: Graph) -> Graph:
        """The changed graph, of the same shapes.

        Raises:
            PruningError: the graph has kernels or normalisations that this metanetwork was not made for.
        """
        self.refuse_other(graph)
        kernels = sorted(graph.e)
        ends = torch.cat([graph.ends[k] for k in kernels], dim=1)
        h = self.encode_nodes(graph.x)
        a = torch.cat([self.encode_edges[str(k)](graph.e[k]) for k in kernels])
        for layer in self.layers:
            if a.numel() > _RECOMPUTE and torch.is_grad_enabled():
                h, a = checkpoint(layer, h, a, ends, self.sign, use_reentrant=False)
            else:
                h, a = layer(h, a, ends, self.sign)
        x = graph.x + self.residual * self.decode_nodes(h)
        parts = torch.split(a, [len(graph.e[k]) for k in kernels])
        e = {
            k: graph.e[k] + self.residual * self.decode_edges[str(k)](part)
            for k, part in zip(kernels, parts, strict=True)
        }
        return Graph(x, e, graph.ends)

    @property
    def family(self) -> dict[str, Any]:
        """What `GraphSchema.family` says of the graphs that it reads."""
        return {"ports": self.ports, "kernels": self.kernels}

    def refuse_other(self, graph: Graph) -> None:
        """Raises PruningError for a graph of another family."""
        other = [k for k in graph.e if k not in self.kernels]
        if other or graph.x.shape[1] != 4 * self.ports + 4:
            raise PruningError(
                f"the metanetwork was made for kernels of {self.kernels} numbers and {self.ports} "
                f"normalisations a channel; this network has kernels of {sorted(graph.e)} and "
                f"{graph.x.shape[1] // 4 - 1}."
            )

    def easier(self, model: nn.Module, schema: GraphSchema) -> nn.Module:
        """A copy of the network with the changed parameters."""
        changed = copy.deepcopy(model)
        with torch.no_grad():
            schema.apply(changed, self(schema.to_graph(state_of(model))))
        return changed

    def save(self, path: str | Path) -> Path:
        """Write options, family and weights into one file that runs no code when it is read."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(
            {"format": _FORMAT, "options": self.options, "family": self.family, "state": self.state_dict()},
            path,
        )
        return path

    @classmethod
    def load(cls, path: str | Path) -> "MetaNetwork":
        """The metanetwork in a file.

        Raises:
            PruningError: there is none.
        """
        try:
            data = torch.load(Path(path), map_location="cpu", weights_only=True)
            if not isinstance(data, dict) or data.get("format") != _FORMAT:
                raise ValueError(f"format {_FORMAT} is expected")
            made = cls(data["family"], **data["options"])
            made.load_state_dict(data["state"])
        except (
            OSError,
            RuntimeError,
            EOFError,
            ValueError,
            KeyError,
            TypeError,
            pickle.UnpicklingError,
        ) as error:
            raise PruningError(f"{path}: no metanetwork can be read: {str(error).splitlines()[0]}") from error
        return made
