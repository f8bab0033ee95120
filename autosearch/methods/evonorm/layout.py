"""Where the boxes and lines of a drawn graph lie: rows by depth, and a lane of its own for each line that passes a row.

Sugiyama, Tagawa, Toda 1981, "Methods for visual understanding of hierarchical system structures": a line over several
rows gets a place in each row that it passes, rows are ordered by the mean place of what they are connected to, then
each row moves as close to it as its widths allow.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from autosearch.methods.evonorm.graphs import INITIAL, Graph

_SWEEPS = 8  # a graph of ten nodes is settled after a few
_LANE = 24.0


@dataclass(frozen=True, slots=True)
class Layout:
    """A drawing's geometry.

    Attributes:
        boxes: node -> (x of its centre, row).
        lines: for each input of each step, (source, target, x in each row that lies between).
        width: of everything.
        rows: number of rows.
    """

    boxes: dict[str, tuple[float, int]]
    lines: list[tuple[str, str, tuple[float, ...]]]
    width: float
    rows: int


def layout(graph: Graph, box: float) -> Layout:
    """The places of a graph's living nodes, in rows from inputs to output, `box` wide with their margins."""
    level = _levels(graph)
    edges = [(source, name) for name, node in graph.steps for source in node.inputs]
    rows: dict[int, list[str]] = defaultdict(list)
    for name, row in level.items():
        rows[row].append(name)
    near: dict[str, list[str]] = defaultdict(list)
    lanes: list[list[str]] = []
    for k, (source, target) in enumerate(edges):
        lane = [f"{k}@{row}" for row in range(level[source] + 1, level[target])]
        for name in lane:
            rows[int(name.partition("@")[2])].append(name)
        for above, below in zip([source, *lane], [*lane, target], strict=True):
            near[above].append(below)
            near[below].append(above)
        lanes.append(lane)
    widths = {name: box if name in level else _LANE for row in rows.values() for name in row}
    x = _placed([rows[row] for row in sorted(rows)], near, widths)
    left = min(x[name] - widths[name] / 2 for name in x)
    right = max(x[name] + widths[name] / 2 for name in x)
    boxes = {name: (x[name] - left, row) for name, row in level.items()}
    lines = [(*edges[k], tuple(x[name] - left for name in lane)) for k, lane in enumerate(lanes)]
    return Layout(boxes, lines, right - left, len(rows))


def _levels(graph: Graph) -> dict[str, int]:
    """The row of each node: below all that it takes; initial ones but x stand right above their first use."""
    level = dict.fromkeys((name for name in INITIAL if name in graph.active), 0)
    for name, node in graph.steps:
        level[name] = 1 + max(level[i] for i in node.inputs)
    for name in INITIAL[1:]:
        if name in level:
            level[name] = min(level[step] for step, node in graph.steps if name in node.inputs) - 1
    return level


def _placed(rows: list[list[str]], near: dict[str, list[str]], widths: dict[str, float]) -> dict[str, float]:
    """An x for each name, with no overlap in a row."""
    x = {name: float(i) for row in rows for i, name in enumerate(row)}
    row_of = {name: i for i, row in enumerate(rows) for name in row}
    for sweep in range(_SWEEPS):
        step = 1 if sweep % 2 == 0 else -1
        for i in range(len(rows))[::step]:
            back = {n: [x[m] for m in near[n] if row_of[m] == i - step] for n in rows[i]}
            rows[i].sort(key=lambda n: sum(back[n]) / len(back[n]) if back[n] else x[n])
            x |= {name: float(k) - (len(rows[i]) - 1) / 2 for k, name in enumerate(rows[i])}
    x = dict.fromkeys(x, 0.0)
    for sweep in range(2 * _SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wanted = [sum(x[m] for m in near[n]) / len(near[n]) if near[n] else x[n] for n in row]
            x |= dict(zip(row, _apart(wanted, [widths[n] for n in row]), strict=True))
    return x


def _apart(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Increasing places that keep their distances, least squares away from those wanted (pool adjacent violators)."""
    offsets = [0.0]
    for one, other in itertools.pairwise(widths):
        offsets.append(offsets[-1] + (one + other) / 2)
    pools: list[tuple[float, int]] = []
    for place, offset in zip(wanted, offsets, strict=True):
        pools.append((place - offset, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (b, m), (a, n) = pools.pop(), pools.pop()
            pools.append(((a * n + b * m) / (n + m), n + m))
    moved = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(moved, offsets, strict=True)]
