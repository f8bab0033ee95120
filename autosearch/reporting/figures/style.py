"""How every figure looks: colours that carry the same meaning everywhere, axes, and texts that cannot be markup."""

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from autosearch.core import Goal, Problem, State, Trial

# Okabe and Ito 2008, "Color universal design": told apart by colour-blind readers, and readable on white and black.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#2f7fc1",
    "#e08e0b",
    "#12a17a",
    "#d5532c",
    "#b9669a",
    "#56b4e9",
    "#8a929c",
)
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, GREY)
OUTCOMES = ("complete", "infeasible", "stopped", "failed", "paused", "running", "queued")
COLOURS = dict(zip(OUTCOMES, (BLUE, ORANGE, GREY, RED, PURPLE, SKY, GREY), strict=True))
SYMBOLS = dict(
    zip(
        OUTCOMES,
        ("circle", "diamond-open", "circle-open", "x", "square-open", "triangle-right", "line-ew-open"),
        strict=True,
    )
)
# From few to many: dark enough at its light end for a white page, light enough at its dark end for a black one.
SCALE = ((0.0, "#86bfe6"), (0.5, "#3f87cb"), (1.0, "#8456cc"))
HEIGHT = 380
_TEXT = 60
_LOG_DECADES = 2.5


def text(value: object, most: int = _TEXT) -> str:
    """A value as plotly's text: shortened to `most` characters, and nothing in it is read as markup."""
    plain = number(value) if isinstance(value, float) else str(value)
    short = plain if len(plain) <= most else plain[: most - 1] + "…"
    return html.escape(short, quote=False)


def number(value: float) -> str:
    """A number with four digits."""
    return f"{value:.4g}"


def outcome(trial: Trial) -> str:
    """One of `OUTCOMES`: the state, or `infeasible` for a complete trial that breaks a constraint."""
    if trial.state is State.COMPLETE and not trial.feasible:
        return "infeasible"
    return trial.state.value


def blank(title: str, reason: str) -> go.Figure:
    """A figure that says why there is nothing to draw."""
    figure = go.Figure()
    figure.add_annotation(
        text=text(reason, 200), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 14}
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return dressed(figure, title, height=160)


def dressed(figure: go.Figure, title: str, *, height: int = HEIGHT, legend: bool = True) -> go.Figure:
    """`figure` with title, margins and a legend above it."""
    top, bottom = (84 if legend else 52), 54
    figure.update_layout(
        template="plotly_white",
        title={
            "text": text(title, 120),
            "font": {"size": 15},
            "x": 0,
            "xref": "paper",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 14},
        },
        height=height,
        margin={"l": 64, "r": 24, "t": top, "b": bottom},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1 + 8 / (height - top - bottom),
            "yanchor": "bottom",
        },
        showlegend=legend,
        hovermode="closest",
        font={"size": 12},
    )
    return figure


def measured(problem: Problem, trial: Trial, index: int = 0) -> float:
    """Objective `index` of a trial as the training code measured it, of its last report where it has no values.

    NaN where there is none.
    """
    goal = problem.objectives[index]
    if trial.values is not None:
        return goal.sign * trial.values[index]
    found = float(trial.metrics.get(goal.metric, math.nan))
    return found if math.isfinite(found) else math.nan


def goal_title(goal: Goal) -> str:
    """Axis title of an objective: its metric and which way is better."""
    return f"{text(goal.metric)} ({'higher' if goal.maximize else 'lower'} is better)"


def value_axis(values: Sequence[float], goal: Goal | None) -> tuple[dict[str, Any], str]:
    """Axis settings for measured values, with what is left out of sight in words.

    Far outliers on the bad side would flatten everything else; values over several decades get a log axis.
    """
    finite = np.array([v for v in values if math.isfinite(v)])
    axis: dict[str, Any] = {}
    if goal is not None:
        axis["title"] = {"text": goal_title(goal)}
    if len(finite) < 8:
        return axis, ""
    low, high = float(finite.min()), float(finite.max())
    if low > 0 and math.log10(high / low) > _LOG_DECADES:
        return {**axis, "type": "log"}, ""
    sign = 1.0 if goal is None else goal.sign
    signed = np.sort(sign * finite)
    best, middle, upper = signed[0], float(np.median(signed)), float(np.quantile(signed, 0.6))
    # Five times the width of the better three fifths: a plain spread of values stays in sight, disasters do not.
    limit = max(upper, middle) + 4 * max(upper - best, 1e-12 * max(1.0, abs(best)))
    beyond = int((signed > limit).sum())
    if not beyond:
        return axis, ""
    ends = sorted((sign * (best - 0.05 * (limit - best)), sign * limit))
    return {**axis, "range": ends}, f"{beyond} values beyond the axis"


def bounds(values: Sequence[float] | np.ndarray, margin: float = 0.06) -> list[float]:
    """Ends of a linear axis around the finite values; error bars and bands may then run out of it."""
    finite = np.asarray([v for v in values if math.isfinite(v)])
    low, high = float(finite.min()), float(finite.max())
    pad = margin * (high - low) or 0.05 * abs(high) or 1.0
    return [low - pad, high + pad]


def remark(figure: go.Figure, words: str) -> None:
    """A small remark in the upper right corner."""
    if words:
        figure.add_annotation(
            text=text(words, 160),
            x=1,
            y=1,
            xref="paper",
            yref="paper",
            xanchor="right",
            yanchor="bottom",
            yshift=figure.layout.margin.t - 36,
            showarrow=False,
            font={"size": 11, "color": GREY},
        )


def spread(count: int, most: int) -> list[int]:
    """At most `most` indices spread evenly over `count` items, both ends included."""
    if count <= most:
        return list(range(count))
    return sorted({int(i) for i in np.linspace(0, count - 1, most)})


def compact(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Numbers in single precision: what a screen shows, at half the size; those beyond it become infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float32)
