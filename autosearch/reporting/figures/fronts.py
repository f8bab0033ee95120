"""Several objectives and constraints: the front, and how trials stand to the constraints."""

import itertools

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from autosearch.core import History
from autosearch.reporting.figures import style
from autosearch.reporting.figures.style import COLOURS, GREEN, GREY, ORANGE, SYMBOLS, text

MOST_PAIRS = 6


def pareto_front(history: History) -> go.Figure:
    """Every pair of objectives with the front; infeasible trials are marked and never on it."""
    problem = history.problem
    title = "Pareto front"
    if len(problem.objectives) < 2:
        return style.blank(title, "A study with one objective has a best trial instead.")
    complete = [t for t in history.complete if t.values]
    if not complete:
        return style.blank(title, "No trial is complete yet.")
    pairs = list(itertools.combinations(range(len(problem.objectives)), 2))[:MOST_PAIRS]
    columns = min(len(pairs), 2)
    rows = -(-len(pairs) // columns)
    figure = make_subplots(rows=rows, cols=columns, horizontal_spacing=0.1, vertical_spacing=0.3 / rows)
    front = {t.number for t in history.front}
    for index, (i, j) in enumerate(pairs):
        at = {"row": index // columns + 1, "col": index % columns + 1}
        for outcome in ("complete", "infeasible"):
            members = [t for t in complete if style.outcome(t) == outcome and t.number not in front]
            if not members:
                continue
            figure.add_scatter(
                x=style.compact([style.measured(problem, t, i) for t in members]),
                y=style.compact([style.measured(problem, t, j) for t in members]),
                customdata=[t.number for t in members],
                mode="markers",
                name="dominated" if outcome == "complete" else "infeasible",
                legendgroup=outcome,
                showlegend=index == 0,
                marker={"color": COLOURS[outcome], "symbol": SYMBOLS[outcome], "size": 7, "opacity": 0.8},
                hovertemplate=f"trial %{{customdata}}: %{{x:.5g}}, %{{y:.5g}}<extra>{outcome}</extra>",
                **at,
            )
        best = sorted((t for t in history.front), key=lambda t: style.measured(problem, t, i))
        figure.add_scatter(
            x=style.compact([style.measured(problem, t, i) for t in best]),
            y=style.compact([style.measured(problem, t, j) for t in best]),
            customdata=[t.number for t in best],
            # With three objectives the front is no line in the plane of two.
            mode="lines+markers" if len(problem.objectives) == 2 else "markers",
            name="front",
            legendgroup="front",
            showlegend=index == 0,
            line={"color": GREEN, "width": 1.5, "shape": "linear"},
            marker={"color": GREEN, "size": 9},
            hovertemplate="trial %{customdata}: %{x:.5g}, %{y:.5g}<extra>front</extra>",
            **at,
        )
        for axis, k in ((figure.update_xaxes, i), (figure.update_yaxes, j)):
            settings, _ = style.value_axis(
                [style.measured(problem, t, k) for t in complete], problem.objectives[k]
            )
            axis(**settings, **at)
    return style.dressed(figure, title, height=120 + 320 * rows)


def constraints(history: History) -> go.Figure:
    """Margin of every outcome constraint over the trials; at or below 0 it is met."""
    title = "constraints"
    names = [expression.text for expression in history.problem.constraints]
    if not names:
        return style.blank(title, "The study has no outcome constraints.")
    complete = [t for t in sorted(history.complete, key=lambda t: t.number) if len(t.violations)]
    if not complete:
        return style.blank(title, "No trial is complete yet.")
    width = len(complete[0].violations)
    labels = names if len(names) == width else [f"margin {i + 1}" for i in range(width)]
    figure = make_subplots(rows=width, cols=1, shared_xaxes=True, vertical_spacing=0.3 / (width + 1))
    for index, label in enumerate(labels):
        margins = [t.violations[index] for t in complete]
        figure.add_scatter(
            x=[t.number for t in complete],
            y=style.compact(margins),
            mode="markers",
            marker={"color": [ORANGE if m > 0 else GREEN for m in margins], "size": 6},
            name=text(label),
            hovertemplate="trial %{x}: margin %{y:.4g}<extra></extra>",
            row=index + 1,
            col=1,
        )
        figure.add_hline(y=0, line={"color": GREY, "width": 1}, row=index + 1, col=1)
        axis, _ = style.value_axis(margins, None)
        figure.update_yaxes(**{k: v for k, v in axis.items() if k == "range"}, row=index + 1, col=1)
        met = sum(m <= 0 for m in margins)
        figure.update_yaxes(
            title={"text": f"{text(label, 28)}<br>met by {met} of {len(margins)}"}, row=index + 1, col=1
        )
    figure.update_xaxes(title={"text": "trial"}, row=width, col=1)
    return style.dressed(figure, title, height=90 + 200 * width, legend=False)
