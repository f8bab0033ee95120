"""What to trust: the surrogate on trials it has not seen, and short runs as a guide to long ones."""

import math
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from autosearch.core import History, Predictor, State
from autosearch.reporting.figures import style
from autosearch.reporting.figures.style import BLUE, GREEN, GREY, text

LEAST_FOR_RANKS = 5
MOST_STEPS = 60


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's coefficient of two (n,) arrays, ties by mean rank; NaN below three points or without spread."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


@dataclass(frozen=True, slots=True)
class Trust:
    """How well a surrogate predicts one objective of left-out results.

    Attributes:
        correlation: Spearman's, between observed and predicted.
        within_one: share of observations within one predicted deviation; 0.68 if calibrated.
        within_two: within two; 0.95 if calibrated.
        count: left-out results.
    """

    correlation: float
    within_one: float
    within_two: float
    count: int

    @property
    def words(self) -> str:
        return (
            f"rank correlation {self.correlation:.2f}; {100 * self.within_one:.0f} % of the observations lie within "
            f"one predicted deviation (68 % expected), {100 * self.within_two:.0f} % within two (95 %)"
        )


def trust(predictor: Predictor) -> list[Trust]:
    """`Trust` of each objective, from cross-validation."""
    observed, mean, deviation = (np.asarray(a, dtype=float) for a in predictor.cross_validate())
    found = []
    for j in range(observed.shape[1] if observed.ndim == 2 else 0):
        distance = np.abs(observed[:, j] - mean[:, j]) / np.maximum(deviation[:, j], 1e-300)
        n = len(distance)
        found.append(
            Trust(
                rank_correlation(observed[:, j], mean[:, j]),
                float((distance <= 1).mean()) if n else math.nan,
                float((distance <= 2).mean()) if n else math.nan,
                n,
            )
        )
    return found


def cross_validation(history: History, predictor: Predictor, objective: int | None = None) -> go.Figure:
    """Predicted against observed values of trials that the surrogate was not shown, and its calibration.

    Args:
        history: the study.
        predictor: the surrogate.
        objective: index of the one to show; all, one below the other, without.
    """
    title = "surrogate on left-out results"
    observed, mean, deviation = (np.asarray(a, dtype=float) for a in predictor.cross_validate())
    if observed.size == 0:
        return style.blank(title, "Too few trials to leave some out.")
    goals = history.problem.objectives
    shown = list(range(observed.shape[1])) if objective is None else [objective]
    m = len(shown)
    figure = make_subplots(
        rows=m, cols=2, column_widths=[0.62, 0.38], horizontal_spacing=0.12, vertical_spacing=0.3 / (m + 1)
    )
    for row, j in enumerate(shown):
        metric = text(goals[j].metric, 30)
        _add_predictions(figure, observed[:, j], mean[:, j], deviation[:, j], row, metric)
        _add_calibration(figure, observed[:, j], mean[:, j], deviation[:, j], row)
    style.dressed(figure, title, height=110 + 310 * m)
    correlations = ", ".join(f"{rank_correlation(observed[:, j], mean[:, j]):.2f}" for j in shown)
    style.remark(figure, f"rank correlation {correlations} over {len(observed)} results")
    return figure


def _add_predictions(
    figure: go.Figure, observed: np.ndarray, mean: np.ndarray, deviation: np.ndarray, row: int, metric: str
) -> None:
    at = {"row": row + 1, "col": 1}
    ends = [float(min(observed.min(), mean.min())), float(max(observed.max(), mean.max()))]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"color": GREY, "dash": "dot"},
        name="perfect",
        showlegend=row == 0,
        hoverinfo="skip",
        **at,
    )
    figure.add_scatter(
        x=style.compact(observed),
        y=style.compact(mean),
        error_y={
            "type": "data",
            "array": style.compact(deviation),
            "thickness": 0.8,
            "width": 0,
            "color": GREY,
        },
        mode="markers",
        marker={"color": BLUE, "size": 6},
        name="left-out result ± 1 deviation",
        showlegend=row == 0,
        hovertemplate="observed %{x:.5g}, predicted %{y:.5g}<extra></extra>",
        **at,
    )
    figure.update_xaxes(title={"text": f"observed {metric}"}, **at)
    figure.update_yaxes(title={"text": "predicted"}, range=style.bounds(ends), **at)


def _add_calibration(
    figure: go.Figure, observed: np.ndarray, mean: np.ndarray, deviation: np.ndarray, row: int
) -> None:
    """Share of observations inside each central interval against the interval's promise."""
    from scipy.special import erf

    at = {"row": row + 1, "col": 2}
    distance = np.abs(observed - mean) / np.maximum(deviation, 1e-300)
    promised = np.asarray(erf(np.sort(distance) / math.sqrt(2)))
    met = (np.arange(len(distance)) + 1) / len(distance)
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GREY, "dash": "dot"},
        showlegend=False,
        hoverinfo="skip",
        **at,
    )
    figure.add_scatter(
        x=style.compact(promised),
        y=style.compact(met),
        mode="lines",
        line={"color": GREEN, "shape": "hv"},
        name="calibration (below the diagonal: too sure of itself)",
        showlegend=row == 0,
        hovertemplate="promised %{x:.0%}, met %{y:.0%}<extra></extra>",
        **at,
    )
    figure.update_xaxes(title={"text": "promised share"}, range=[-0.02, 1.02], tickformat=".0%", **at)
    figure.update_yaxes(title={"text": "met share"}, range=[-0.02, 1.03], tickformat=".0%", **at)


@dataclass(frozen=True, slots=True)
class StepTrust:
    """How well the value at one step foretells the value at the end.

    Attributes:
        step: fidelity.
        correlation: Spearman's with the final value over complete trials.
        count: trials that reported there.
    """

    step: int
    correlation: float
    count: int


def fidelity_trust(history: History) -> list[StepTrust]:
    """`StepTrust` of each step that at least five complete trials reported before their end, first objective."""
    if not history.problem.objectives:
        return []
    metric = history.problem.objectives[0].metric
    pairs: dict[int, list[tuple[float, float]]] = {}
    for trial in history.complete:
        curve = [r for r in trial.curve if math.isfinite(r.metrics.get(metric, math.nan))]
        final = trial.metrics.get(metric, math.nan)
        if len(curve) < 2 or not math.isfinite(final):
            continue
        for report in curve[:-1]:
            pairs.setdefault(report.step, []).append((report.metrics[metric], final))
    steps = sorted(step for step, found in pairs.items() if len(found) >= LEAST_FOR_RANKS)
    found = []
    for step in (steps[i] for i in style.spread(len(steps), MOST_STEPS)):
        early, late = np.array(pairs[step]).T
        correlation = rank_correlation(early, late)
        if math.isfinite(correlation):
            found.append(StepTrust(step, correlation, len(early)))
    return found


def fidelity_correlation(history: History) -> go.Figure:
    """How the order of trials at each step agrees with their final order, and where trials were stopped."""
    title = "do short runs foretell long ones?"
    found = fidelity_trust(history)
    if not found:
        return style.blank(title, "Fewer than five complete trials reported along the way.")
    figure = make_subplots(specs=[[{"secondary_y": True}]])
    stops: dict[int, int] = {}
    for trial in history.by_state(State.STOPPED):
        stops[trial.step] = stops.get(trial.step, 0) + 1
    if stops:
        figure.add_bar(
            x=list(stops),
            y=list(stops.values()),
            name="trials stopped here",
            width=max(0.6, 0.03 * max(*stops, *(f.step for f in found))),
            marker={"color": GREY, "opacity": 0.5},
            hovertemplate="step %{x}: %{y} stopped<extra></extra>",
            secondary_y=True,
        )
    figure.add_scatter(
        x=[f.step for f in found],
        y=[f.correlation for f in found],
        customdata=[f.count for f in found],
        mode="lines+markers",
        name="rank correlation with the final value",
        line={"color": BLUE, "width": 2},
        hovertemplate="step %{x}: %{y:.2f} over %{customdata} trials<extra></extra>",
        secondary_y=False,
    )
    figure.update_xaxes(title={"text": "step"})
    figure.update_yaxes(
        title={"text": "rank correlation"},
        range=[min(0, *(f.correlation for f in found)), 1.02],
        secondary_y=False,
    )
    figure.update_yaxes(
        title={"text": "stopped trials"},
        showgrid=False,
        rangemode="tozero",
        tickmode="auto",
        nticks=5,
        secondary_y=True,
    )
    return style.dressed(figure, title)
