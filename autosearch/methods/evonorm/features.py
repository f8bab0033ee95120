"""What is known of a layer without training it: whether it can work, what it equals, and what a surrogate is told."""

import functools
import hashlib

import numpy as np
import torch
from torch.nn import functional

from autosearch.methods.evonorm.graph_layer import GraphLayer
from autosearch.methods.evonorm.graphs import INDEX_SETS, INITIAL, NAMES, Graph, depths
from autosearch.methods.evonorm.rejection import RejectedError, check_static

_CHANNELS = 8


def features(graph: Graph) -> np.ndarray:
    """(d,) numbers in [0, 1]; equal for graphs that differ in dead nodes only.

    Counts of living operations, of index sets and of uses of each initial node; the longest and the mean path; and,
    of the output and its gradient on random features: size, spread, tails, likeness to the input, to ReLU and to
    normalised features, and how it scales with its input.
    """
    return np.concatenate([_structure(graph), _behaviour(graph)])


def works(graph: Graph) -> bool:
    """Whether a layer passes the static check."""
    return _works(str(graph))


@functools.lru_cache(maxsize=4096)
def _works(text: str) -> bool:
    try:
        check_static(Graph.parse(text))
    except RejectedError:
        return False
    return True


def identity(graph: Graph) -> str:
    """A digest that is equal for layers that compute the same, such as `tanh x` and `neg n1` after `tanh (neg x)`.

    One in eight random layers that pass the static check repeats another by what it computes alone. Compared are
    outputs on random features with random v0 and v1, in training and after it, to nine digits of the largest; layers
    whose outputs are not finite are compared by structure.
    """
    return _identity(str(graph))


@functools.lru_cache(maxsize=1 << 16)
def _identity(text: str) -> str:
    graph = Graph.parse(text)
    generator = torch.Generator().manual_seed(0)
    layer = GraphLayer(_CHANNELS, graph, group_size=4).double()
    x = torch.randn(3, _CHANNELS, 3, 3, dtype=torch.float64, generator=generator) * 1.5 + 0.3
    with torch.no_grad():
        for weights in (layer.v0, layer.v1):
            drawn = torch.randn(_CHANNELS, dtype=torch.float64, generator=generator)
            if weights is not None:
                weights.copy_(drawn)
        y = torch.stack([layer.train()(x), layer.eval()(x)])
    if not torch.isfinite(y).all():
        return graph.key()
    digits = torch.round(y / y.abs().max().clamp(min=1e-300) * 1e9).to(torch.int64)
    return hashlib.blake2b(
        digits.numpy().tobytes() + f"{float(y.abs().max()):.8e}".encode(), digest_size=12
    ).hexdigest()


def _structure(graph: Graph) -> np.ndarray:
    steps = [node for _, node in graph.steps]
    parts = [node.operation.partition("_") for node in steps]
    counts = [sum(kind == name for kind, _, _ in parts) for name in NAMES]
    counts += [sum(over == name for _, _, over in parts) for name in INDEX_SETS]
    counts += [sum(node.inputs.count(name) for node in steps) for name in INITIAL]
    paths = depths(graph)
    return np.array(
        [*(1 - 0.5**c for c in counts), 1 - 0.8 ** max(paths), 1 - 0.8 ** (sum(paths) / len(paths))]
    )


def _behaviour(graph: Graph) -> np.ndarray:
    return np.array(_measured(str(graph)))


@functools.lru_cache(maxsize=4096)
def _measured(text: str) -> tuple[float, ...]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, _CHANNELS, 4, 4, dtype=torch.float64, generator=generator) * 1.5 + 0.3
    layer = GraphLayer(_CHANNELS, Graph.parse(text), group_size=4).double().train()
    given = x.clone().requires_grad_()
    y = layer(given)
    weights = torch.randn(x.shape, dtype=x.dtype, generator=generator)
    (gradient,) = torch.autograd.grad((y * weights).sum(), given, allow_unused=True)
    gradient = torch.zeros_like(x) if gradient is None else gradient
    with torch.no_grad():
        y, larger = y.detach(), layer(3 * x)
        normalised = functional.batch_norm(x, None, None, training=True)
        found = [
            _squashed(y.mean()),
            _squashed(y.std()),
            _squashed(y.abs().max()),
            _squashed(gradient.square().mean().sqrt()),
            _squashed(gradient.abs().max()),
            *(
                _likeness(y, other)
                for other in (x, x.relu(), functional.silu(x), normalised, normalised.relu())
            ),
            _squashed(larger.std() / y.std().clamp(min=1e-9)),
            _likeness(y, larger),
        ]
    return tuple(found)


def _squashed(value: torch.Tensor) -> float:
    """A number of any size in [0, 1]; what is not finite is the largest."""
    size = float(torch.asinh(value)) / 20
    return min(max(0.5 + size / 2, 0.0), 1.0) if np.isfinite(size) else 1.0


def _likeness(a: torch.Tensor, b: torch.Tensor) -> float:
    """Correlation in [0, 1], 0.5 for none."""
    a, b = a - a.mean(), b - b.mean()
    found = float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-30))
    return min(max(0.5 + found / 2, 0.0), 1.0) if np.isfinite(found) else 0.5
