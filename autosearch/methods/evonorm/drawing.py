"""Found layers for people to look at: a drawn graph beside the trial, formula and source in the report."""

import html
from collections import defaultdict
from collections.abc import Sequence

from autosearch.core import History, SpaceError, Trial
from autosearch.core.ranking import best_trials
from autosearch.methods.evonorm.graphs import INITIAL, Graph
from autosearch.methods.evonorm.layout import layout
from autosearch.methods.evonorm.source import formula, to_source
from autosearch.methods.evonorm.space import layer_group
from autosearch.reporting.material import Code, Section, Table

_SHOWN = 10
_STEP_X, _STEP_Y, _BOX_X, _BOX_Y, _MARGIN, _TOP = 120, 78, 104, 38, 20, 68
_FILLS = {"initial": "#eef2f6", "elementwise": "#dcebf8", "aggregation": "#fde7cf", "output": "#d9f0dc"}


def layer_drawings(history: History, trial: Trial) -> dict[str, bytes]:
    """`layer.svg`, the graph of a trial's layer, and `layer.py`, its source; nothing in studies of other things."""
    graph = layer_of(history, trial)
    if graph is None:
        return {}
    svg = graph_svg(graph, f"trial {trial.number}")
    return {"layer.svg": svg.encode(), "layer.py": to_source(graph, f"Layer{trial.number}").encode()}


def layer_section(history: History) -> Section | None:
    """The best layers as formulas, the best one as source; None in studies of other things."""
    if not history or layer_of(history, history[0]) is None:
        return None
    rows, sources = [], []
    for trial in best_trials(history, _SHOWN):
        graph = layer_of(history, trial)
        if graph is not None:
            text = "; ".join(line.strip() for line in formula(graph).splitlines())
            values = [f"{trial.metrics[name]:.4g}" for name in history.problem.metric_names]
            rows.append([trial.number, *values, text])
            sources.append((trial.number, to_source(graph, f"Layer{trial.number}")))
    reasons: dict[str, int] = defaultdict(int)
    for trial in history.finished:
        if "rejected" in trial.data:
            reasons[str(trial.data["rejected"]).partition(": ")[2].partition(":")[0]] += 1
    turned = Table(["check", "layers turned away"], sorted(reasons.items()))
    lead = f"{sum(reasons.values())} of {len(history.finished)} layers were turned away before they were trained."
    if not rows:
        return Section("Layers", [turned], lead)
    best = Table(["trial", *history.problem.metric_names, "layer"], rows)
    number, text = sources[0]
    return Section("Layers", [best, Code(text, f"Trial {number} as a module.", folded=True), turned], lead)


def layer_of(history: History, trial: Trial) -> Graph | None:
    """The layer of a trial, None where none is searched.

    A record that is read back has no moves: there the layer is known by its parameters.
    """
    names = [name for name in trial.config if name.rpartition(".")[2] == "op1"]
    try:
        place = layer_group(history.problem.space).place
    except SpaceError:
        if len(names) != 1:
            return None
        place = names[0].rpartition(".")[0]
    prefix = f"{place}." if place else ""
    inner = {n.removeprefix(prefix): v for n, v in trial.config.items() if n.startswith(prefix)}
    return Graph.from_config(inner) if "a1" in inner else None


def graph_svg(graph: Graph, title: str = "") -> str:
    """The living part of a graph as an SVG document, from its inputs at the top to its output at the bottom."""
    places = layout(graph, _STEP_X)
    width = 2 * _MARGIN + places.width
    height = _TOP + (places.rows - 1) * _STEP_Y + _BOX_Y / 2 + _MARGIN
    spot = {name: (_MARGIN + x, _TOP + row * _STEP_Y) for name, (x, row) in places.boxes.items()}
    lines = []
    for source, target, lanes in places.lines:
        first = places.boxes[source][1] + 1
        between = [(_MARGIN + x, _TOP + row * _STEP_Y) for row, x in enumerate(lanes, start=first)]
        path = _line([spot[source], *between, spot[target]])
        lines.append(f'<path d="{path}" fill="none" stroke="#8a95a1" marker-end="url(#tip)"/>')
    boxes = [_box(graph, name, at, last=name == graph.steps[-1][0]) for name, at in spot.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" '
        'font-family="sans-serif" font-size="13" fill="#26303a">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#8a95a1"/></marker></defs>'
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="{_MARGIN}" y="26">{html.escape(title)}</text>'
        f"{''.join(lines)}{''.join(boxes)}</svg>"
    )


def _line(spots: Sequence[tuple[float, float]]) -> str:
    """From the lower edge of the first box to the upper edge of the last, straight past the boxes of rows between."""
    (x, y), parts = spots[0], [f"M{spots[0][0]:.0f},{spots[0][1] + _BOX_Y / 2:.0f}"]
    for i, (to_x, to_y) in enumerate(spots[1:], start=2):
        begin, end = y + _BOX_Y / 2, to_y - _BOX_Y / 2
        middle = (begin + end) / 2
        parts.append(f"C{x:.0f},{middle:.0f} {to_x:.0f},{middle:.0f} {to_x:.0f},{end:.0f}")
        if i < len(spots):
            parts.append(f"V{to_y + _BOX_Y / 2:.0f}")
        x, y = to_x, to_y
    return " ".join(parts)


def _box(graph: Graph, name: str, at: tuple[float, float], *, last: bool) -> str:
    operation = name if name in INITIAL else graph.node(name).operation
    kind = "initial" if name in INITIAL else "aggregation" if "_" in operation else "elementwise"
    fill = _FILLS["output" if last else kind]
    x, y = at[0] - _BOX_X / 2, at[1] - _BOX_Y / 2
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{_BOX_X}" height="{_BOX_Y}" rx="7" fill="{fill}" stroke="#aab4bf"/>'
        f'<text x="{at[0]:.0f}" y="{at[1] + 5:.0f}" text-anchor="middle">{html.escape(operation)}</text>'
    )
