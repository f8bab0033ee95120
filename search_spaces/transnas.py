"""The two spaces of TransNAS-Bench-101: a cell of four nodes (4,096), and stacks of four to six modules (3,256).

Source: Duan et al. 2021, "TransNAS-Bench-101", section 3. A cell is a mapping of edges to operations as in
NAS-Bench-201, without pooling. A stack has `modules` and, for each module, `widen1` (its channels, times 1 or 2) and
`stride1` (its pixels a side, divided by 1 or 2).
"""

from collections.abc import Mapping
from typing import Any

from autosearch.space import Categorical, Fixed, Int, Ordinal, Parameter, SpaceError, Subspace, Value
from autosearch.space.expressions import Expression
from autosearch.space.operators import show
from search_spaces.cells import EDGES, alive

MICRO, MACRO = "transnas_micro", "transnas_macro"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
_MODULES = range(1, 7)
_FEWEST = 4
# Digits of a module in the benchmark's spelling: (times channels, divided side).
_DIGITS = {(1, 1): "1", (2, 1): "2", (1, 2): "3", (2, 2): "4"}


def transnas_micro() -> Subspace:
    """TransNAS-Bench-101's cell: an operation on each of six edges; for `model: transnas_micro`."""
    parameters: dict[str, Parameter] = {"space": Fixed(MICRO)}
    parameters |= {edge: Categorical(OPERATIONS) for edge in EDGES}
    return Subspace(parameters, canonical=canonical_cell)


def transnas_macro() -> Subspace:
    """TransNAS-Bench-101's stacks: which of four to six modules double channels and halve the image.

    One to three modules double the channels, one to four halve the image; for `model: transnas_macro`.
    """
    parameters: dict[str, Parameter] = {"space": Fixed(MACRO), "modules": Int(_FEWEST, max(_MODULES))}
    for i in _MODULES:
        there = None if i <= _FEWEST else Expression.parse(f"modules >= {i}")
        parameters[f"widen{i}"] = Ordinal([1, 2], when=there)
        parameters[f"stride{i}"] = Ordinal([1, 2], when=there)
    require = []
    for n in range(_FEWEST, max(_MODULES) + 1):
        for name, most in (("widen", 8), ("stride", 16)):
            product = "*".join(f"{name}{i}" for i in range(1, n + 1))
            require.append(f"modules != {n} or 2 <= {product} <= {most}")
    return Subspace(parameters, require=tuple(require))


def check_cell(architecture: Mapping[str, Any]) -> dict[str, str]:
    """The six operations in the order of the edges, other keys left out.

    Raises:
        SpaceError: an edge is missing, or its operation is unknown.
    """
    for edge in EDGES:
        if architecture.get(edge) not in OPERATIONS:
            raise SpaceError(
                f"{MICRO}: {edge} must be one of {', '.join(OPERATIONS)}, got {show(architecture.get(edge))}. "
                f"Write `space: {{architecture: {{use: {MICRO}}}}}`.",
                (edge,),
            )
    return {edge: architecture[edge] for edge in EDGES}


def canonical_cell(architecture: Mapping[str, Any]) -> tuple[str, ...]:
    """A key that is equal for cells which differ only in edges that lie on no path from input to output."""
    return tuple(alive(check_cell(architecture)).values())


def cell_to_text(architecture: Mapping[str, Any]) -> str:
    """The benchmark's spelling, `1_02_333`: for nodes 1, 2, 3 the operation on the edge from each earlier node."""
    found = check_cell(architecture)
    return "_".join(
        "".join(str(OPERATIONS.index(found[f"edge{source}{node}"])) for source in range(node))
        for node in (1, 2, 3)
    )


def cell_from_text(text: str) -> dict[str, Value]:
    """The cell that `cell_to_text` spelt.

    Raises:
        SpaceError: if the text spells none.
    """
    groups = text.split("_")
    if [len(group) for group in groups] != [1, 2, 3] or not set("".join(groups)) <= set("0123"):
        raise SpaceError(f"{MICRO}: {show(text)} does not spell a cell, as 1_02_333 does.")
    found = {
        f"edge{source}{node}": OPERATIONS[int(digit)]
        for node, group in enumerate(groups, start=1)
        for source, digit in enumerate(group)
    }
    return {edge: found[edge] for edge in EDGES}


def modules_of(architecture: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(times channels, divided side) of each module.

    Raises:
        SpaceError: a module is missing, or it does something else.
    """
    n = architecture.get("modules")
    if not isinstance(n, int) or n not in range(_FEWEST, max(_MODULES) + 1):
        raise SpaceError(
            f"{MACRO}: modules must be 4, 5 or 6, got {show(n)}. Write `space: {{architecture: {{use: {MACRO}}}}}`.",
            ("modules",),
        )
    found = []
    for i in range(1, n + 1):
        step = (architecture.get(f"widen{i}"), architecture.get(f"stride{i}"))
        if step not in _DIGITS:
            raise SpaceError(
                f"{MACRO}: widen{i} and stride{i} must be 1 or 2, got {show(step)}.", (f"widen{i}",)
            )
        found.append((int(step[0]), int(step[1])))
    return found


def stack_to_text(architecture: Mapping[str, Any]) -> str:
    """The benchmark's digits, a module each: 1 keeps shapes, 2 doubles channels, 3 halves the image, 4 does both."""
    return "".join(_DIGITS[step] for step in modules_of(architecture))


def stack_from_text(text: str) -> dict[str, Value]:
    """The stack that `stack_to_text` spelt.

    Raises:
        SpaceError: if the text spells none.
    """
    steps = {digit: step for step, digit in _DIGITS.items()}
    if not _FEWEST <= len(text) <= max(_MODULES) or not set(text) <= set(steps):
        raise SpaceError(f"{MACRO}: {show(text)} does not spell a stack: four to six digits from 1 to 4.")
    found: dict[str, Value] = {"modules": len(text)}
    for i, digit in enumerate(text, start=1):
        found[f"widen{i}"], found[f"stride{i}"] = steps[digit]
    return found
