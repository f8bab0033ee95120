"""The space of layer graphs, `{use: evonorm, nodes: 10, batch_statistics: true}`."""

import numpy as np

from autosearch.core.errors import OptionError
from autosearch.methods.evonorm.graphs import (
    BINARY,
    OPERATIONS,
    PUBLISHED,
    Graph,
    earlier_names,
    index_sets,
    mutate,
    published,
    random_graph,
)
from autosearch.space import (
    Categorical,
    Config,
    Expression,
    Parameter,
    SearchSpace,
    SpaceError,
    Subspace,
    Value,
)
from autosearch.space.subspace import Group

_TRIES = 64  # mutations that may leave the graph as it was before a move counts as impossible


def evonorm(*, nodes: int = 10, batch_statistics: bool = True, known: bool = False) -> Subspace:
    """Normalisation-activation layers as graphs: per node an operation (`op3`) and what it takes (`a3`, `b3`).

    Random graphs and moves are those of the paper: see `graphs`. Layers that compute the same are one: see `identity`.

    Args:
        nodes: of a graph, at least 1.
        batch_statistics: allow aggregations over the batch (EvoNorm-B), or not (EvoNorm-S).
        known: try the published layers that fit first.
    """
    if nodes < 1:
        raise OptionError(f"nodes: at least 1, got {nodes}.", "nodes")
    sets = index_sets(batch_statistics=batch_statistics)
    allowed = [o for o in OPERATIONS if "_" not in o or o.partition("_")[2] in sets]
    parameters: dict[str, Parameter] = {}
    for k in range(1, nodes + 1):
        parameters[f"op{k}"] = Categorical(allowed)
        parameters[f"a{k}"] = Categorical(earlier_names(k))
        binary = ", ".join(f"'{name}'" for name in BINARY)
        parameters[f"b{k}"] = Categorical(earlier_names(k), when=Expression.parse(f"op{k} in ({binary})"))

    def neighbours(config: Config, rng: np.random.Generator, n: int) -> list[dict[str, Value]]:
        graph = Graph.from_config(config)
        found: list[dict[str, Value]] = []
        for _ in range(_TRIES * n):
            child = mutate(graph, rng, batch_statistics=batch_statistics)
            if child != graph:
                found.append(child.to_config())
            if len(found) == n:
                break
        return found

    def canonical(config: Config) -> str:
        from autosearch.methods.evonorm.features import (
            identity,
        )  # torch, which reading a record does not need

        return identity(Graph.from_config(config))

    def sample(rng: np.random.Generator) -> dict[str, Value]:
        return random_graph(rng, nodes, batch_statistics=batch_statistics).to_config()

    return Subspace(
        parameters,
        first=tuple(_known(nodes, batch_statistics=batch_statistics)) if known else (),
        neighbours=neighbours,
        canonical=canonical,
        sample=sample,
    )


def _known(nodes: int, *, batch_statistics: bool) -> list[dict[str, Value]]:
    graphs = [published(name) for name in PUBLISHED]
    return [
        graph.padded(nodes).to_config()
        for graph in graphs
        if len(graph.nodes) <= nodes and (batch_statistics or not graph.uses_batch)
    ]


def layer_group(space: SearchSpace) -> Group:
    """Where the space holds its layer.

    Raises:
        SpaceError: if it holds none.
    """
    for group in space.groups:
        if "op1" in group.names and group.subspace.neighbours is not None:
            return group
    raise SpaceError("there is no layer to search: write `space: {layer: {use: evonorm}}`.", ("space",))
