"""Small pictures as SVG: what a browser shows beside a trial, drawn without any library."""

import html
import math

from autosearch.core import Problem, Trial

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 20, 44, 48


def learning_curve_svg(problem: Problem, trial: Trial, metric: str | None = None) -> str:
    """The learning curve of one trial as an SVG document; empty where it has fewer than two finite values.

    Args:
        problem: of its study.
        trial: the one to draw.
        metric: what is drawn; the first objective's without.
    """
    name = metric or (problem.metric_names[0] if problem.objectives else "")
    points = [(r.step, r.metrics[name]) for r in trial.curve if math.isfinite(r.metrics.get(name, math.nan))]
    if len(points) < 2:
        return ""
    xs, ys = zip(*points, strict=True)
    x_ends, y_ends = _ends(list(map(float, xs))), _ends(list(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ends[0]) / (x_ends[1] - x_ends[0])
        up = (y - y_ends[0]) / (y_ends[1] - y_ends[0])
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(x, y) for x, y in points))
    grid = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = y_ends[0] + share * (y_ends[1] - y_ends[0])
        y = place(x_ends[0], value)[1]
        grid.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d9dee4"/>')
        grid.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
        step = x_ends[0] + share * (x_ends[1] - x_ends[0])
        x = place(step, y_ends[0])[0]
        grid.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{step:.4g}</text>')
    dots = "".join(
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in (place(x, y) for x, y in points)
    )
    title = html.escape(f"trial {trial.number}: {name}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#39424d">'
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="{_LEFT}" y="26" font-size="15">{title}</text>'
        f"{''.join(grid)}"
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 10}" text-anchor="middle">step</text>'
        f'<polyline points="{line}" fill="none" stroke="#2f7fc1" stroke-width="2"/><g fill="#2f7fc1">{dots}</g></svg>'
    )


def _ends(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
