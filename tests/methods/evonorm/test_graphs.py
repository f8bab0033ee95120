"""Layer graphs: text, structure, chance, equality; the space; and the modules that compute them."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autosearch.core import OptionError
from autosearch.core.opening import resolve_space
from autosearch.methods.evonorm import EvoNorm2d
from autosearch.methods.evonorm.graph_layer import GraphFactory, GraphLayer
from autosearch.methods.evonorm.graphs import (
    BINARY,
    INITIAL,
    OPERATIONS,
    Graph,
    Node,
    depths,
    mutate,
    operation_counts,
    published,
    random_graph,
)
from autosearch.methods.evonorm.space import evonorm

from .interpreter import evaluate

SHAPES = [(1, 1, 1, 1), (2, 8, 3, 3), (4, 16, 5, 7)]
SEEDS = st.integers(0, 10**6)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(seed: int, nodes: int = 10, *, batch_statistics: bool = True) -> Graph:
    return random_graph(rng(seed), nodes, batch_statistics=batch_statistics)


def alive(graph: Graph) -> set[str]:
    """Nodes from which the output is reached, by walking every path."""
    reached: set[str] = set()

    def walk(name: str) -> None:
        reached.add(name)
        if name not in INITIAL:
            for source in graph.node(name).inputs:
                walk(source)

    walk(f"n{len(graph.nodes)}")
    return reached


# -- structure -------------------------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 12))
def test_every_form_of_a_random_graph_reads_back_as_itself(seed: int, nodes: int) -> None:
    graph = drawn(seed, nodes)
    assert Graph.parse(str(graph)) == graph
    assert Graph.from_json(graph.to_json()) == graph
    assert Graph.from_config(graph.to_config()) == graph


@given(SEEDS)
def test_random_graphs_are_acyclic_and_know_their_living_nodes(seed: int) -> None:
    graph = drawn(seed)
    for k, node in enumerate(graph.nodes, start=1):
        assert set(node.inputs) <= {*INITIAL, *(f"n{j}" for j in range(1, k))}
    assert set(graph.active) == alive(graph)
    assert [name for name, _ in graph.steps] == [name for name in graph.active if name not in INITIAL]


def test_batch_statistics_can_be_excluded() -> None:
    graphs = [drawn(seed, batch_statistics=False) for seed in range(200)]
    assert not any(node.operation.endswith("_bwh") for graph in graphs for node in graph.nodes)
    assert any(drawn(seed).uses_batch for seed in range(20))


def test_operations_are_uniform_by_name() -> None:
    counts = Counter(node.operation.partition("_")[0] for s in range(600) for node in drawn(s).nodes)
    assert len(counts) == 15
    assert max(counts.values()) < 1.35 * min(counts.values())


@pytest.mark.parametrize("text", ["", "add x", "neg x x", "bogus x", "neg n1", "neg n2; neg x", "neg y"])
def test_what_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        Graph.parse(text)


def test_padding_adds_dead_nodes_only() -> None:
    graph = published("s0", 10)
    assert len(graph.nodes) == 10
    assert graph.key() == published("s0").key()
    with pytest.raises(OptionError, match="does not fit"):
        graph.padded(9)


def test_counts_and_depths_are_those_of_the_living_part() -> None:
    graph = published("s0", 10)
    counts = operation_counts([graph])[0]
    assert {o: int(c) for o, c in zip(OPERATIONS, counts, strict=True) if c} == {
        "mul": 2, "sigmoid": 1, "std_whg": 1, "div": 1,
    }  # fmt: skip
    assert list(depths(graph)) == [1, 2, 3, 1, 4]


# -- equality --------------------------------------------------------------------------------------------------


@given(SEEDS, st.integers(0, 5))
def test_equality_does_not_see_dead_nodes_and_numbering(seed: int, dead: int) -> None:
    graph = drawn(seed, 6)
    assert graph.padded(6 + dead).key() == graph.key()


def test_equality_sees_through_commuting_inputs_and_repeated_parts() -> None:
    assert Graph.parse("neg x; add n1 v1").key() == Graph.parse("neg x; add v1 n1").key()
    assert Graph.parse("neg x; div n1 v1").key() != Graph.parse("neg x; div v1 n1").key()
    twice = Graph.parse("neg x; neg x; mul n1 n2")
    assert twice.key() == Graph.parse("neg x; mul n1 n1").key()


@given(SEEDS)
@settings(max_examples=30)
def test_graphs_that_are_equal_compute_the_same(seed: int) -> None:
    """Equal keys from a shuffled order of evaluation: the values agree."""
    graph = drawn(seed, 6)
    swapped = Graph(
        tuple(
            Node(n.operation, n.inputs[::-1]) if n.operation in ("add", "mul", "max") else n
            for n in graph.nodes
        )
    )
    assert swapped.key() == graph.key()
    x = np.random.default_rng(1).normal(size=(2, 4, 2, 2))
    v = np.ones(4)
    with np.errstate(all="ignore"):
        one, other = (evaluate(g, x, 0 * v, v, 2) for g in (graph, swapped))
    assert np.allclose(one, other, equal_nan=True)


# -- mutation --------------------------------------------------------------------------------------------------


@given(SEEDS)
def test_a_mutation_changes_one_node_at_most(seed: int) -> None:
    graph = drawn(seed)
    child = mutate(graph, rng(seed + 1), batch_statistics=True)
    assert sum(a != b for a, b in zip(graph.nodes, child.nodes, strict=True)) <= 1


def test_mutation_reaches_every_neighbour() -> None:
    graph = Graph.parse("neg x; tanh n1")
    expected = set()
    for k, names in ((1, INITIAL), (2, (*INITIAL, "n1"))):
        for operation in OPERATIONS:
            pairs = [(a, b) for a in names for b in names] if operation in BINARY else [(a,) for a in names]
            for inputs in pairs:
                nodes = list(graph.nodes)
                nodes[k - 1] = Node(operation, inputs)
                expected.add(Graph(tuple(nodes)))
    draws = rng()
    seen = {mutate(graph, draws, batch_statistics=True) for _ in range(20_000)}
    assert seen == expected


# -- the space -------------------------------------------------------------------------------------------------


def test_the_space_samples_and_moves_as_the_paper_does() -> None:
    space = resolve_space({"layer": {"use": "evonorm", "nodes": 10, "batch_statistics": False}})
    config = space.sample(rng(), 1)[0]
    inner = {name.removeprefix("layer."): value for name, value in config.items()}
    graph = Graph.from_config(inner)
    assert len(graph.nodes) == 10
    assert space.validate(config) == config
    for child in space.neighbours(config, rng(1), 5):
        other = Graph.from_config({n.removeprefix("layer."): v for n, v in child.items()})
        assert sum(a != b for a, b in zip(graph.nodes, other.nodes, strict=True)) == 1
        assert other.key() != graph.key()


def test_equal_layers_have_equal_keys_in_the_space() -> None:
    space = resolve_space({"layer": evonorm(nodes=6)})
    one, other = (
        {f"layer.{k}": v for k, v in Graph.parse(text).padded(6).to_config().items()}
        for text in ("neg x; add n1 v1", "neg x; add v1 n1")
    )
    assert space.key(one) == space.key(other)


def test_known_layers_that_fit_come_first() -> None:
    space = resolve_space({"layer": evonorm(nodes=5, batch_statistics=False, known=True)})
    first = [
        Graph.from_config({n.removeprefix("layer."): v for n, v in c.items()}).key() for c in space.first
    ]
    assert first == [published(name).key() for name in ("s0", "s1", "s2")]
    with pytest.raises(OptionError, match="nodes"):
        evonorm(nodes=0)


# -- modules ---------------------------------------------------------------------------------------------------


@given(SEEDS, st.sampled_from(SHAPES))
@settings(max_examples=150, deadline=None)
def test_a_compiled_graph_agrees_with_a_slow_interpreter(seed: int, shape: tuple[int, ...]) -> None:
    graph = drawn(seed)
    x = rng(seed + 1).normal(size=shape) * 1.5
    layer = GraphLayer(shape[1], graph, group_size=4).double()
    v0, v1 = rng(seed + 2).normal(size=(2, shape[1]))
    for name, value in (("v0", v0), ("v1", v1)):
        if getattr(layer, name) is not None:
            getattr(layer, name).data = torch.from_numpy(value)
    with np.errstate(all="ignore"):
        expected = evaluate(graph, x, v0, v1, min(4, shape[1]))
    found = layer(torch.from_numpy(x)).detach().numpy()
    assert found.shape == shape
    finite = np.isfinite(expected) & (np.abs(expected) < 1e12)
    # Where numbers cancel, both are right to the precision of what went in; a graph may make noise of that.
    if finite.all():
        scale = np.abs(expected).max() + 1
        assert np.abs(found - expected).max() <= 1e-6 * scale


@pytest.mark.parametrize("name", ["b0", "b1", "b2", "s0", "s1", "s2"])
@pytest.mark.parametrize("training", [True, False])
def test_the_published_layers_as_graphs_equal_the_modules(name: str, training: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    graph = GraphLayer(16, published(name, 10), group_size=8).double()
    module = EvoNorm2d(16, name, group_size=8, dtype=torch.float64)
    for parameter in module.parameters():
        nn.init.normal_(parameter, 1.0, 0.3, generator=generator)
    graph.weight.data, graph.bias.data = module.weight.data, module.bias.data
    if module.v is not None:
        graph.v1.data = module.v.data
    for _ in range(3):
        x = torch.randn(4, 16, 5, 5, dtype=torch.float64, generator=generator)
        torch.testing.assert_close(graph(x), module(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(graph.train(training)(x), module.train(training)(x), rtol=1e-12, atol=1e-12)


def test_norm_and_relu_as_graphs_equal_torch_s() -> None:
    x = torch.randn(4, 16, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU()).double()
    torch.testing.assert_close(GraphLayer(16, published("batch_relu")).double()(x), batch(x))
    group = nn.Sequential(nn.GroupNorm(2, 16), nn.ReLU()).double()
    torch.testing.assert_close(GraphLayer(16, published("group_relu")).double()(x), group(x))


def test_dead_nodes_own_nothing_and_cost_nothing() -> None:
    layer = GraphLayer(4, Graph.parse("std_bwh v0; mul v1 x; tanh x"))
    assert {name for name, _ in layer.named_parameters()} == {"weight", "bias"}
    assert not list(layer.buffers())
    linear = GraphFactory(layer.graph).linear(4)
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(linear(x), x)


def test_running_moments_start_and_move_as_batch_norm_s() -> None:
    layer = GraphLayer(3, Graph.parse("mean_bwh x; std_bwh x; rms_bwh x; add n1 n2; add n4 n3")).double()
    assert [b.tolist() for b in layer.buffers()] == [[0.0] * 3, [1.0] * 3, [1.0] * 3]
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer(x)
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(layer.running_n1, 0.1 * mean)
    torch.testing.assert_close(layer.running_n2, 0.9 + 0.1 * variance)
    torch.testing.assert_close(layer.running_n3, 0.9 + 0.1 * (variance + mean**2))
    before = {name: b.clone() for name, b in layer.named_buffers()}
    first = layer.eval()(x[:1])
    torch.testing.assert_close(first, layer(x)[:1])
    torch.testing.assert_close(dict(layer.named_buffers()), before)


@given(SEEDS)
@settings(max_examples=50, deadline=None)
def test_infinities_are_values_and_never_exceptions(seed: int) -> None:
    graph = Graph((*drawn(seed, 8).nodes, Node("exp", ("n8",)), Node("square", ("n9",))))
    x = 1e4 * torch.randn(2, 8, 2, 2, generator=torch.Generator().manual_seed(seed))
    layer = GraphLayer(8, graph)
    layer(x.requires_grad_()).sum().backward()


def test_groups_fit_any_number_of_channels() -> None:
    layer = GraphLayer(12, Graph.parse("mean_whg x"), group_size=8)
    assert layer.groups == 2
    x = torch.randn(2, 12, 3, 3)
    expected = x.view(2, 2, 6, 3, 3).mean((2, 3, 4)).repeat_interleave(6, 1)[:, :, None, None].expand_as(x)
    torch.testing.assert_close(layer(x).detach(), expected)
