"""Layers as graphs of primitive operations: how they are written, drawn at random, changed, and recognised as equal.

Source: Liu et al. 2020, "Evolving Normalization-Activation Layers", sections 3.1 and 3.4, table 1.

A graph has initial nodes, `x` (the features), `zero`, `v0` and `v1` (trained values a channel, from 0 and from 1), and
nodes `n1`, `n2`, …, each an operation on earlier ones. The last node is the output; a node without a path to it is
dead: it is neither computed nor given weights. An aggregation names its index set: `std_whg` is the standard deviation
over width, height and a group of channels, `b` stands for the batch and `c` for all channels.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autosearch.core.errors import OptionError
from autosearch.space import Value, did_you_mean

INITIAL = ("x", "zero", "v0", "v1")
INDEX_SETS = ("bwh", "wh", "whc", "whg")
BINARY = ("add", "mul", "div", "max")
COMMUTATIVE = ("add", "mul", "max")
UNARY = ("neg", "sigmoid", "tanh", "exp", "log", "abs", "square", "sqrt")
AGGREGATIONS = ("mean", "rms", "std")
NAMES = (*BINARY, *UNARY, *AGGREGATIONS)
OPERATIONS = (*BINARY, *UNARY, *(f"{name}_{over}" for name in AGGREGATIONS for over in INDEX_SETS))


@dataclass(frozen=True, slots=True)
class Node:
    """One operation and the names of the nodes that it takes."""

    operation: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A layer: nodes in order, the last one is its output.

    Raises:
        OptionError: if an operation is unknown, has the wrong number of inputs, or names no earlier node.
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise OptionError("a layer's graph needs at least one node.", "nodes")
        known = list(INITIAL)
        for k, node in enumerate(self.nodes, start=1):
            if node.operation not in OPERATIONS:
                hint = did_you_mean(node.operation, OPERATIONS)
                raise OptionError(f"n{k}: no operation {node.operation!r}.{hint}", "nodes")
            if len(node.inputs) != arity(node.operation):
                raise OptionError(
                    f"n{k}: {node.operation} takes {arity(node.operation)} inputs, got {len(node.inputs)}.",
                    "nodes",
                )
            for name in node.inputs:
                if name not in known:
                    raise OptionError(
                        f"n{k}: {name!r} is no earlier node.{did_you_mean(name, known)}", "nodes"
                    )
            known.append(f"n{k}")

    # -- as text and as configuration ----------------------------------------------------------------------

    @classmethod
    def parse(cls, text: str) -> "Graph":
        """A graph from lines `operation input input`, or the same separated by `;`.

        `mul v1 x; sigmoid n1; mul x n2; std_whg x; div n3 n4` is EvoNorm-S0.
        """
        lines = (line.split() for line in text.replace(";", "\n").splitlines())
        return cls(tuple(Node(parts[0], tuple(parts[1:])) for parts in lines if parts))

    def __str__(self) -> str:
        return "; ".join(" ".join((node.operation, *node.inputs)) for node in self.nodes)

    def to_json(self) -> str:
        """The graph as a list of [operation, inputs…]."""
        return json.dumps([[node.operation, *node.inputs] for node in self.nodes])

    @classmethod
    def from_json(cls, text: str) -> "Graph":
        return cls(tuple(Node(operation, tuple(inputs)) for operation, *inputs in json.loads(text)))

    @classmethod
    def from_config(cls, config: Mapping[str, Value]) -> "Graph":
        """The graph that parameters `op1`, `a1`, `b1`, `op2`, … stand for."""
        nodes: list[Node] = []
        while f"op{len(nodes) + 1}" in config:
            k = len(nodes) + 1
            operation = str(config[f"op{k}"])
            names = [f"a{k}", f"b{k}"][: arity(operation)]
            nodes.append(Node(operation, tuple(str(config[name]) for name in names)))
        return cls(tuple(nodes))

    def to_config(self) -> dict[str, Value]:
        """The inverse of `from_config`."""
        config: dict[str, Value] = {}
        for k, node in enumerate(self.nodes, start=1):
            config[f"op{k}"] = node.operation
            config |= dict(zip((f"a{k}", f"b{k}"), node.inputs, strict=False))
        return config

    def padded(self, nodes: int) -> "Graph":
        """The same layer with dead nodes in front, so that it has `nodes`.

        Raises:
            OptionError: if it has more.
        """
        missing = nodes - len(self.nodes)
        if missing < 0:
            raise OptionError(f"a graph of {len(self.nodes)} nodes does not fit into {nodes}.", "nodes")
        names = {f"n{k}": f"n{k + missing}" for k in range(1, len(self.nodes) + 1)}
        moved = [Node(n.operation, tuple(names.get(i, i) for i in n.inputs)) for n in self.nodes]
        return Graph((*(Node("neg", ("x",)) for _ in range(missing)), *moved))

    # -- structure -----------------------------------------------------------------------------------------

    @property
    def active(self) -> tuple[str, ...]:
        """Names of all nodes on a path to the output, initial ones included, in order."""
        needed = {f"n{len(self.nodes)}"}
        for k in range(len(self.nodes), 0, -1):
            if f"n{k}" in needed:
                needed.update(self.nodes[k - 1].inputs)
        return tuple(name for name in (*INITIAL, *self.names) if name in needed)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the nodes, initial ones left out."""
        return tuple(f"n{k}" for k in range(1, len(self.nodes) + 1))

    def node(self, name: str) -> Node:
        return self.nodes[int(name[1:]) - 1]

    @property
    def steps(self) -> tuple[tuple[str, Node], ...]:
        """What is computed, in order: names and nodes that are alive."""
        return tuple((name, self.node(name)) for name in self.active if name not in INITIAL)

    @property
    def uses_batch(self) -> bool:
        """Whether the output depends on other examples of the batch."""
        return any(node.operation.endswith("_bwh") for _, node in self.steps)

    def key(self) -> str:
        """A digest that is equal for graphs which compute the same by structure.

        Dead nodes, the numbering of nodes, repeated parts and the order of commuting inputs make no difference.
        """
        digests = {name: name for name in INITIAL}
        for name, node in self.steps:
            inputs = [digests[i] for i in node.inputs]
            if node.operation in COMMUTATIVE:
                inputs.sort()
            text = "(".join((node.operation, *inputs))
            digests[name] = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        return digests[f"n{len(self.nodes)}"]


def arity(operation: str) -> int:
    return 2 if operation in BINARY else 1


# -- chance ----------------------------------------------------------------------------------------------------


def random_operation(rng: np.random.Generator, *, batch_statistics: bool) -> str:
    """An operation by uniform name, then, for an aggregation, by uniform index set.

    The paper does not say whether names or names with index sets are uniform.
    """
    name = NAMES[int(rng.integers(len(NAMES)))]
    if name not in AGGREGATIONS:
        return name
    sets = index_sets(batch_statistics=batch_statistics)
    return f"{name}_{sets[int(rng.integers(len(sets)))]}"


def index_sets(*, batch_statistics: bool) -> tuple[str, ...]:
    return INDEX_SETS if batch_statistics else INDEX_SETS[1:]


def random_graph(rng: np.random.Generator, nodes: int, *, batch_statistics: bool) -> Graph:
    """Operations and inputs drawn uniformly, inputs with replacement among all earlier nodes."""
    made: list[Node] = []
    for k in range(1, nodes + 1):
        operation = random_operation(rng, batch_statistics=batch_statistics)
        made.append(Node(operation, _random_inputs(rng, operation, k)))
    return Graph(tuple(made))


def mutate(graph: Graph, rng: np.random.Generator, *, batch_statistics: bool) -> Graph:
    """The graph with a new operation and new inputs in one node, drawn uniformly; it may come out as it was."""
    k = int(rng.integers(len(graph.nodes))) + 1
    operation = random_operation(rng, batch_statistics=batch_statistics)
    changed = Node(operation, _random_inputs(rng, operation, k))
    return Graph((*graph.nodes[: k - 1], changed, *graph.nodes[k:]))


def _random_inputs(rng: np.random.Generator, operation: str, k: int) -> tuple[str, ...]:
    earlier = earlier_names(k)
    return tuple(earlier[int(rng.integers(len(earlier)))] for _ in range(arity(operation)))


def earlier_names(k: int) -> tuple[str, ...]:
    """What node `n{k}` may take."""
    return (*INITIAL, *(f"n{j}" for j in range(1, k)))


# -- known layers ----------------------------------------------------------------------------------------------

PUBLISHED: Mapping[str, str] = {
    "b0": "std_bwh x; std_wh x; mul v1 x; add n3 n2; max n1 n4; div x n5",
    "b1": "std_bwh x; rms_wh x; mul x n2; add n3 n2; max n1 n4; div x n5",
    "b2": "std_bwh x; rms_wh x; neg x; add n2 n3; max n1 n4; div x n5",
    "s0": "mul v1 x; sigmoid n1; mul x n2; std_whg x; div n3 n4",
    "s1": "sigmoid x; mul x n1; std_whg x; div n2 n3",
    "s2": "sigmoid x; mul x n1; rms_whg x; div n2 n3",
    "batch_relu": "mean_bwh x; neg n1; add x n2; std_bwh x; div n3 n4; max n5 zero",
    "group_relu": "mean_whg x; neg n1; add x n2; std_whg x; div n3 n4; max n5 zero",
}


def published(name: str, nodes: int | None = None) -> Graph:
    """A layer of the paper, or norm and ReLU, as a graph (of `nodes` nodes).

    `batch_relu` and `group_relu` activate before the channels' weight and bias, not after them.

    Raises:
        OptionError: if there is none of that name.
    """
    if name not in PUBLISHED:
        raise OptionError(
            f"no layer {name!r}.{did_you_mean(name, PUBLISHED)} Known: {', '.join(PUBLISHED)}.", "name"
        )
    graph = Graph.parse(PUBLISHED[name])
    return graph if nodes is None else graph.padded(nodes)


def operation_counts(graphs: Iterable[Graph]) -> np.ndarray:
    """(n, operations) how often each operation is alive in each graph."""
    rows = [[sum(node.operation == o for _, node in graph.steps) for o in OPERATIONS] for graph in graphs]
    return np.array(rows, dtype=float).reshape(-1, len(OPERATIONS))


def depths(graph: Graph) -> Sequence[int]:
    """For each living step, how many operations lie on the longest path from an initial node to it."""
    found = dict.fromkeys(INITIAL, 0)
    for name, node in graph.steps:
        found[name] = 1 + max(found[i] for i in node.inputs)
    return [found[name] for name, _ in graph.steps]
