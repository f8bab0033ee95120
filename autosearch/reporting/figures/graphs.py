"""Directed graphs without cycles, drawn from left to right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from autosearch.reporting.figures import style

_POINTS = 24  # of an arc
_RISE = 0.3  # height of an arc for each node that it passes
_ROW = 90  # pixels a unit of height
_LEAST = 1.0  # half the height of a panel without arcs


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph.

    Attributes:
        title: above it.
        nodes: name -> what stands under it, from left to right; every edge leads to the right.
        edges: (source, target, what it does); edges that do the same have one colour.
    """

    title: str
    nodes: Mapping[str, str]
    edges: Sequence[tuple[str, str, str]]


def graphs(title: str, panels: Sequence[Graph]) -> go.Figure:
    """The graphs one under the other; nodes stand in a row, edges that pass over others are arcs.

    Args:
        title: of the figure.
        panels: from top to bottom.
    """
    figure = go.Figure()
    kinds = list(dict.fromkeys(kind for panel in panels for _, _, kind in panel.edges))
    colours = {kind: style.SERIES[i % len(style.SERIES)] for i, kind in enumerate(kinds)}
    shown: set[str] = set()
    top = 0.0
    for panel in panels:
        half = _height(panel)
        _draw(figure, panel, top - half, colours, shown)
        top -= 2 * half
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, range=[top, 0.2])
    return style.dressed(figure, title, height=max(260, round(_ROW * -top) + 120))


def _height(panel: Graph) -> float:
    place = {name: i for i, name in enumerate(panel.nodes)}
    spans = [place[target] - place[source] for source, target, _ in panel.edges]
    return max(_LEAST, _RISE * max(spans, default=0) + 0.5)


def _draw(figure: go.Figure, panel: Graph, level: float, colours: Mapping[str, str], shown: set[str]) -> None:
    place = {name: i for i, name in enumerate(panel.nodes)}
    for i, (source, target, kind) in enumerate(panel.edges):
        a, b = place[source], place[target]
        rise = 0.0 if b - a == 1 else (_RISE if i % 2 else -_RISE) * (b - a)
        steps = [k / _POINTS for k in range(_POINTS + 1)]
        figure.add_scatter(
            x=[a + t * (b - a) for t in steps],
            y=[level + 4 * t * (1 - t) * rise for t in steps],
            mode="lines",
            line={"color": colours[kind], "width": 3},
            name=style.text(kind or "next"),
            legendgroup=kind,
            showlegend=bool(kind) and kind not in shown,
            hovertemplate=f"{style.text(source)} → {style.text(target)}: {style.text(kind or 'next')}<extra></extra>",
        )
        shown.add(kind)
    figure.add_scatter(
        x=list(range(len(panel.nodes))),
        y=[level] * len(panel.nodes),
        mode="markers+text",
        marker={"size": 18, "color": style.GREY},
        text=[style.text(label) for label in panel.nodes.values()],
        textposition="bottom center",
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_annotation(
        x=0, y=level + _height(panel) - 0.25, text=style.text(panel.title), showarrow=False, xanchor="left"
    )
