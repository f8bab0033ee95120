"""Cells of four nodes with an operation on each of six edges: what NAS-Bench-201 and TransNAS-Bench-101 share.

Node 0 is the input, node 3 the output; `edge02` leads from node 0 to node 2. A node is the sum of its incoming edges.
"""

from collections.abc import Mapping

EDGES = ("edge01", "edge02", "edge12", "edge03", "edge13", "edge23")


def ends(edge: str) -> tuple[int, int]:
    """Source and target of an edge."""
    return int(edge[4]), int(edge[5])


def alive(operations: Mapping[str, str]) -> dict[str, str]:
    """The cell with `none` on every edge that lies on no path from the input to the output."""
    present = {ends(edge) for edge, operation in operations.items() if operation != "none"}
    reached, reaching = {0}, {3}
    for node in (1, 2, 3):
        if any((source, node) in present for source in reached):
            reached.add(node)
    for node in (2, 1, 0):
        if any((node, target) in present for target in reaching):
            reaching.add(node)
    return {
        edge: operation if ends(edge)[0] in reached and ends(edge)[1] in reaching else "none"
        for edge, operation in operations.items()
    }
