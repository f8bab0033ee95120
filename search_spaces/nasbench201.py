"""The cell of NAS-Bench-201: four nodes, an operation on each of six edges, 15,625 architectures.

Source: Dong and Yang 2020, "NAS-Bench-201", section 2; it is also the topology space of NATS-Bench.

An architecture is a mapping of edge names to operations, `edge02` from node 0 to node 2, as a configuration holds it.
Two more encodings are in use elsewhere: digits in the benchmark's edge order, and NASLib's, which orders edges and
numbers operations in another way. A node is the sum of its incoming edges; node 0 is the input, node 3 the output.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from autosearch.space import Categorical, Fixed, Parameter, SpaceError, Subspace, Value
from autosearch.space.operators import show
from search_spaces import cells

NAME = "nasbench201"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = cells.EDGES
_NASLIB_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_NASLIB_EDGES = ("edge01", "edge02", "edge03", "edge12", "edge13", "edge23")

Architecture = Mapping[str, Any]
Merge = Literal["nothing", "dead_edges", "isomorphic"]


def nasbench201(*, merge: Merge = "dead_edges") -> Subspace:
    """NAS-Bench-201's cell: an operation on each of six edges; for `model: nasbench201`, or the benchmark's table.

    Args:
        merge: what counts as the same architecture and is trained once: cells that differ in dead edges only (9,445
            are left), also those that differ in the numbering of their nodes, or nothing.
    """
    parameters: dict[str, Parameter] = {"space": Fixed(NAME)}
    parameters |= {edge: Categorical(OPERATIONS) for edge in EDGES}
    return Subspace(parameters, canonical=functools.partial(canonical, merge=merge))


# -- encodings -------------------------------------------------------------------------------------------------


def check(architecture: Architecture) -> dict[str, str]:
    """The six operations in edge order, other keys left out.

    Raises:
        SpaceError: an edge is missing, or its operation is unknown.
    """
    for edge in EDGES:
        if architecture.get(edge) not in OPERATIONS:
            found = show(architecture[edge]) if edge in architecture else "nothing"
            raise SpaceError(
                f"{NAME}: {edge} must be one of {', '.join(OPERATIONS)}, got {found}. "
                f"Write `space: {{architecture: {{use: {NAME}}}}}`.",
                (edge,),
            )
    return {edge: architecture[edge] for edge in EDGES}


def encode(architecture: Architecture) -> tuple[int, ...]:
    """Six digits in the benchmark's order of edges 01 02 12 03 13 23, as in `c("421211")`.

    0 none, 1 skip_connect, 2 nor_conv_1x1, 3 nor_conv_3x3, 4 avg_pool_3x3.
    """
    return tuple(OPERATIONS.index(architecture[edge]) for edge in EDGES)


def decode(digits: Sequence[int]) -> dict[str, Value]:
    """The architecture of six digits; the inverse of `encode`."""
    return _decoded(digits, EDGES, OPERATIONS)


def encode_naslib(architecture: Architecture) -> tuple[int, ...]:
    """Six digits as NASLib writes them: edges 01 02 03 12 13 23; 0 skip, 1 none, 2 conv 3×3, 3 conv 1×1, 4 pool."""
    return tuple(_NASLIB_OPERATIONS.index(architecture[edge]) for edge in _NASLIB_EDGES)


def decode_naslib(digits: Sequence[int]) -> dict[str, Value]:
    """The architecture of NASLib's six digits; the inverse of `encode_naslib`."""
    return _decoded(digits, _NASLIB_EDGES, _NASLIB_OPERATIONS)


def _decoded(digits: Sequence[int], edges: Sequence[str], operations: Sequence[str]) -> dict[str, Value]:
    if len(digits) != len(edges) or not all(0 <= int(digit) < len(operations) for digit in digits):
        raise SpaceError(f"{NAME}: six digits from 0 to 4 encode a cell, got {list(digits)!r}.")
    found: dict[str, Value] = {
        edge: operations[int(digit)] for edge, digit in zip(edges, digits, strict=True)
    }
    return {edge: found[edge] for edge in EDGES}


def to_text(architecture: Architecture) -> str:
    """The benchmark's own spelling: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, a group for each of nodes 1, 2, 3."""
    groups = []
    for node in (1, 2, 3):
        incoming = (f"{architecture[f'edge{source}{node}']}~{source}" for source in range(node))
        groups.append(f"|{'|'.join(incoming)}|")
    return "+".join(groups)


def from_text(text: str) -> dict[str, Value]:
    """The architecture that `to_text` spelt.

    Raises:
        SpaceError: if the text spells none.
    """
    found: dict[str, Value] = {}
    for node, group in enumerate(text.split("+"), start=1):
        for part in group.strip("|").split("|"):
            operation, _, source = part.partition("~")
            found[f"edge{source}{node}"] = operation
    checked = check(found)
    if to_text(checked) != text:
        raise SpaceError(f"{NAME}: {show(text)} does not spell a cell.")
    return dict(checked)


# -- equal functions -------------------------------------------------------------------------------------------


def canonical(architecture: Architecture, merge: Merge = "dead_edges") -> tuple[int, ...]:
    """A key that is equal for cells which `merge` counts as the same."""
    if merge == "isomorphic":
        return isomorphic(architecture)
    return encode(alive(architecture) if merge == "dead_edges" else architecture)


def alive(architecture: Architecture) -> dict[str, str]:
    """The cell with `none` on every edge that lies on no path from the input to the output."""
    return cells.alive(check(architecture))


def isomorphic(architecture: Architecture) -> tuple[int, ...]:
    """The smaller encoding of the two ways to number the inner nodes, dead edges aside."""
    found = alive(architecture)
    one, two, between, direct, from_one, from_two = encode(found)
    if between:
        return one, two, between, direct, from_one, from_two
    return min(
        (one, two, between, direct, from_one, from_two), (two, one, between, direct, from_two, from_one)
    )


# -- size ------------------------------------------------------------------------------------------------------


def parameter_count(
    architecture: Architecture, shape: Sequence[int], outputs: int, *, width: int = 16, depth: int = 5
) -> int:
    """Trainable weights of the network, those on dead edges included, exactly; arguments as those of the network."""
    kernels = _kernels(architecture)
    count = shape[0] * width * 9 + 2 * width
    for stage in range(3):
        channels = width * 2**stage
        count += depth * sum(channels * channels * area + 2 * channels for area in kernels)
        if stage:
            half = channels // 2
            count += half * channels * 9 + channels * channels * 9 + half * channels + 4 * channels
    return count + 2 * 4 * width + 4 * width * outputs + outputs


def multiply_adds(
    architecture: Architecture, shape: Sequence[int], outputs: int, *, width: int = 16, depth: int = 5
) -> int:
    """Multiply-adds of the convolutions and the linear layer for one example, exactly; dead edges are not computed."""
    kernels = _kernels(alive(architecture))
    height, length = shape[1], shape[2]
    count = shape[0] * width * 9 * height * length
    for stage in range(3):
        channels = width * 2**stage
        if stage:
            half = channels // 2
            pooled = (-(-height // 2)) * (-(-length // 2))
            height, length = -(-height // 2), -(-length // 2)
            count += (half * channels * 9 + channels * channels * 9 + half * channels) * pooled
        count += depth * sum(channels * channels * area for area in kernels) * height * length
    return count + 4 * width * outputs


def _kernels(architecture: Architecture) -> list[int]:
    """Entries of each convolution's kernel."""
    areas = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}
    return [areas[operation] for operation in check(architecture).values() if operation in areas]
