"""The cells of DARTS: a normal and a reduction cell, four inner nodes of two inputs each, about 10^18 architectures.

Source: Liu et al. 2019, "DARTS", section 3.2. An architecture is a mapping with `normal` and `reduce`; in each, node k
of 2 to 5 (0 and 1 are the outputs of the two cells before) has `inputs3: 0+2`, the nodes that it reads, and `op3a` and
`op3b`, what is done to the first and the second of them. Node 2 always reads 0 and 1.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from autosearch.space import Categorical, Config, Fixed, Parameter, SpaceError, Subspace, Value
from autosearch.space.operators import show

NAME = "darts"
OPERATIONS = (
    "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip
CELLS = ("normal", "reduce")
NODES = (2, 3, 4, 5)

Genotype = Mapping[str, Sequence[tuple[str, int]]]


def darts() -> Subspace:
    """DARTS's normal and reduction cell; for `model: darts`."""
    parameters: dict[str, Parameter] = {"space": Fixed(NAME)}
    for cell in CELLS:
        for node in NODES:
            if node > 2:
                parameters[f"{cell}.inputs{node}"] = Categorical(_pairs(node))
            parameters[f"{cell}.op{node}a"] = Categorical(OPERATIONS)
            parameters[f"{cell}.op{node}b"] = Categorical(OPERATIONS)
    return Subspace(parameters, canonical=canonical)


def _pairs(node: int) -> list[str]:
    return [f"{a}+{b}" for a, b in itertools.combinations(range(node), 2)]


def to_genotype(architecture: Mapping[str, Any]) -> dict[str, tuple[tuple[str, int], ...]]:
    """The cells as DARTS's code writes them: for each node two pairs of operation and input.

    Raises:
        SpaceError: a parameter is missing or has an unknown value.
    """
    return {cell: tuple(_inputs(architecture.get(cell, {}), cell)) for cell in CELLS}


def _inputs(cell: Mapping[str, Any], name: str) -> list[tuple[str, int]]:
    found = []
    for node in NODES:
        pair = "0+1" if node == 2 else _known(cell, f"{name}.inputs{node}", _pairs(node))
        for source, side in zip(pair.split("+"), "ab", strict=True):
            found.append((_known(cell, f"{name}.op{node}{side}", OPERATIONS), int(source)))
    return found


def _known(cell: Mapping[str, Any], place: str, choices: Sequence[str]) -> str:
    value = cell.get(place.partition(".")[2])
    if value not in choices:
        raise SpaceError(
            f"{NAME}: {place} must be one of {', '.join(choices)}, got {show(value)}. "
            f"Write `space: {{architecture: {{use: {NAME}}}}}`.",
            (place,),
        )
    return str(value)


def from_genotype(genotype: Genotype) -> dict[str, dict[str, Value]]:
    """The architecture of two cells as DARTS's code writes them; the inverse of `to_genotype`.

    Raises:
        SpaceError: a node has not two different inputs.
    """
    found: dict[str, dict[str, Value]] = {}
    for cell in CELLS:
        inputs = genotype[cell]
        found[cell] = {}
        for node in NODES:
            pair = sorted(inputs[2 * (node - 2) : 2 * (node - 1)], key=lambda entry: entry[1])
            text = "+".join(str(source) for _, source in pair)
            if text not in _pairs(node):
                raise SpaceError(
                    f"{NAME}: node {node} of the {cell} cell reads {text}; it must read two nodes before."
                )
            if node > 2:
                found[cell][f"inputs{node}"] = text
            found[cell] |= {f"op{node}{side}": name for (name, _), side in zip(pair, "ab", strict=True)}
    return found


def to_text(architecture: Mapping[str, Any]) -> str:
    """Both cells in a line, `normal: sep_conv_3x3~0 skip_connect~1 | …; reduce: …`, a group for each node."""
    genotype = to_genotype(architecture)
    cells = []
    for cell in CELLS:
        words = [f"{name}~{source}" for name, source in genotype[cell]]
        groups = (" ".join(words[i : i + 2]) for i in range(0, len(words), 2))
        cells.append(f"{cell}: {' | '.join(groups)}")
    return "; ".join(cells)


def canonical(config: Config) -> tuple[tuple[tuple[tuple[int, str], ...], ...], ...]:
    """A key that is equal for cells which differ only in the numbering of their inner nodes."""
    nested: dict[str, dict[str, Any]] = {cell: {} for cell in CELLS}
    for name, value in config.items():
        cell, dot, inner = name.partition(".")
        if dot:
            nested[cell][inner] = value
    genotype = to_genotype(nested)
    return tuple(_least(genotype[cell]) for cell in CELLS)


def _least(inputs: Sequence[tuple[str, int]]) -> tuple[tuple[tuple[int, str], ...], ...]:
    """The smallest spelling over all numberings in which every node comes behind those that it reads."""
    nodes = [inputs[i : i + 2] for i in range(0, len(inputs), 2)]
    spellings = []
    for order in itertools.permutations(range(4)):
        place = {0: 0, 1: 1} | {old + 2: new + 2 for new, old in enumerate(order)}
        if all(place[source] < place[old + 2] for old in range(4) for _, source in nodes[old]):
            renamed = (sorted((place[source], name) for name, source in nodes[old]) for old in order)
            spellings.append(tuple(tuple(node) for node in renamed))
    return min(spellings)
