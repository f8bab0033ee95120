"""Named curves over a common axis."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from autosearch.reporting.figures import style


def curves(
    title: str,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_title: str,
    y_title: str,
    log: bool = False,
) -> go.Figure:
    """One line for each name.

    Args:
        title: of the figure.
        lines: name -> (x, y); values of 0 and below are left out on a logarithmic axis.
        x_title: of the axis below.
        y_title: of the axis on the left.
        log: whether that one is logarithmic.
    """
    figure = go.Figure()
    for name, (xs, ys) in lines.items():
        points = [(x, y) for x, y in zip(xs, ys, strict=True) if not log or y > 0]
        figure.add_scatter(
            x=style.compact([x for x, _ in points]),
            y=style.compact([y for _, y in points]),
            mode="lines",
            name=style.text(name),
            hovertemplate=f"%{{x:.3g}}: %{{y:.4g}}<extra>{style.text(name)}</extra>",
        )
    figure.update_xaxes(title=x_title)
    figure.update_yaxes(title=y_title, type="log" if log else "linear")
    return style.dressed(figure, title)
