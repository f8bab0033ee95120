"""What happened when: the objective over the study, learning curves, and the workers' time."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from autosearch.core import History, Trial
from autosearch.reporting import facts
from autosearch.reporting.figures import style
from autosearch.reporting.figures.style import COLOURS, GREEN, GREY, OUTCOMES, SYMBOLS, text

MOST_CURVES, MOST_POINTS, MOST_BARS = 300, 40, 3000


def optimisation_history(history: History, objective: int = 0) -> go.Figure:
    """One objective of every finished trial in the order in which they ended, with the incumbent's value.

    Args:
        history: the study.
        objective: index of the objective.
    """
    goal = history.problem.objectives[objective]
    title = f"{goal.metric} over the study"
    order = {trial.number: i + 1 for i, trial in enumerate(history.finished)}
    shown = [(t, style.measured(history.problem, t, objective)) for t in history.finished]
    shown = [(trial, value) for trial, value in shown if math.isfinite(value)]
    if not shown:
        return style.blank(title, "No trial has a result yet.")
    figure = go.Figure()
    for outcome in OUTCOMES:
        members = [(trial, value) for trial, value in shown if style.outcome(trial) == outcome]
        if members:
            figure.add_scatter(
                x=[order[trial.number] for trial, _ in members],
                y=style.compact([value for _, value in members]),
                customdata=[trial.number for trial, _ in members],
                mode="markers",
                name="stopped (last report)" if outcome == "stopped" else outcome,
                marker={"color": COLOURS[outcome], "symbol": SYMBOLS[outcome], "size": 7},
                hovertemplate=f"trial %{{customdata}}: %{{y:.5g}}<extra>{outcome}</extra>",
            )
    _add_best_so_far(figure, history, objective, order)
    _add_random_phase(figure, history, objective)
    axis, beyond = style.value_axis([value for _, value in shown], goal)
    figure.update_yaxes(**axis)
    figure.update_xaxes(title={"text": "finished trials"})
    style.dressed(figure, title)
    style.remark(figure, beyond)
    return figure


def _add_best_so_far(figure: go.Figure, history: History, objective: int, order: dict[int, int]) -> None:
    """A step line of the best feasible value of this objective so far."""
    goal = history.problem.objectives[objective]
    best, steps = math.inf, []
    for trial in history.finished:
        if trial.feasible and trial.values and trial.values[objective] < best:
            best = trial.values[objective]
            steps.append((order[trial.number], goal.sign * best, trial.number))
    if not steps:
        return
    steps.append((len(history.finished), *steps[-1][1:]))
    figure.add_scatter(
        x=[at for at, _, _ in steps],
        y=style.compact([value for _, value, _ in steps]),
        customdata=[number for _, _, number in steps],
        mode="lines",
        name="incumbent" if len(history.problem.objectives) == 1 else "best so far",
        line={"color": GREEN, "shape": "hv", "width": 2.5},
        hovertemplate="trial %{customdata}: %{y:.6g}<extra>best so far</extra>",
    )


def _add_random_phase(figure: go.Figure, history: History, objective: int) -> None:
    median = facts.blind_median(history) if objective == 0 else None
    if median is not None and median[0] >= 3:
        figure.add_scatter(
            x=[1, len(history.finished)],
            y=[median[1]] * 2,
            mode="lines",
            name="median of the random phase",
            line={"color": GREY, "dash": "dot", "width": 1.5},
            hoverinfo="skip",
        )


def learning_curves(history: History, metric: str | None = None) -> go.Figure:
    """A metric over the steps of each trial, coloured by how the trial ended; the best trials are thick.

    Args:
        history: the study.
        metric: its name; the first objective's without.
    """
    problem = history.problem
    goal = next((g for g in problem.objectives if g.metric == metric), None)
    if metric is None and problem.objectives:
        goal = problem.objectives[0]
        metric = goal.metric
    if metric is None:
        return style.blank("learning curves", "The study has no objectives.")
    title = f"learning curves: {metric}"
    curves = {}
    for trial in history:
        if len(trial.reports) > 1:
            points = [(r.step, r.metrics[metric]) for r in trial.curve if metric in r.metrics]
            if len(points) > 1:
                curves[trial.number] = points
    if not curves:
        return style.blank(title, "No trial reported more than once.")
    best = [t.number for t in history.front if t.number in curves][:10]
    chosen = _chosen_curves(list(curves), best)
    figure = go.Figure()
    for outcome in OUTCOMES:
        members = [n for n in chosen if style.outcome(history[n]) == outcome and n not in best]
        _add_curves(figure, curves, members, outcome, COLOURS[outcome], 1.0)
    _add_curves(figure, curves, best, "best", GREEN, 3.0)
    axis, beyond = style.value_axis([y for n in chosen for _, y in curves[n]], goal)
    figure.update_yaxes(**({"title": {"text": text(metric)}} | axis))
    figure.update_xaxes(title={"text": "step"})
    style.dressed(figure, title)
    left_out = f"{len(chosen)} of {len(curves)} curves shown" if len(chosen) < len(curves) else ""
    style.remark(figure, "; ".join(filter(None, (left_out, beyond))))
    return figure


def _chosen_curves(numbers: Sequence[int], best: Sequence[int]) -> list[int]:
    rest = [n for n in numbers if n not in best]
    return sorted([*best, *(rest[i] for i in style.spread(len(rest), MOST_CURVES))])


def _add_curves(
    figure: go.Figure,
    curves: dict[int, list[tuple[int, float]]],
    numbers: Sequence[int],
    name: str,
    colour: str,
    width: float,
) -> None:
    """Curves of several trials as one trace: a gap lies between them."""
    if not numbers:
        return
    x: list[int | None] = []
    y: list[float | None] = []
    trials: list[int] = []
    for number in numbers:
        points = [curves[number][i] for i in style.spread(len(curves[number]), MOST_POINTS)]
        x += [step for step, _ in points] + [None]
        y += [float(style.number(v)) if math.isfinite(v) else None for _, v in points] + [None]
        trials += [number] * (len(points) + 1)
    single = all(len(curves[number]) == 1 for number in numbers)
    figure.add_scatter(
        x=x,
        y=y,
        customdata=trials,
        mode="markers" if single else "lines",
        name=name,
        line={"color": colour, "width": width},
        opacity=1.0 if width > 1 else 0.7,
        connectgaps=False,
        hovertemplate=f"trial %{{customdata}} step %{{x}}: %{{y:.5g}}<extra>{name}</extra>",
    )


def timeline(history: History) -> go.Figure:
    """When each trial ran, one lane a worker, with the share of the workers' time that was used."""
    title = "timeline"
    ran = [trial for trial in history if trial.seconds > 0]
    if not ran:
        return style.blank(title, "No trial has run yet.")
    lanes = facts.assign_lanes([(t.started_s, t.started_s + t.seconds) for t in ran])
    last = style.spread(len(ran), len(ran))[-MOST_BARS:]
    unit, divisor = _unit(max(t.started_s + t.seconds for t in ran))
    figure = go.Figure()
    for outcome in OUTCOMES:
        members = [i for i in last if style.outcome(ran[i]) == outcome]
        if members:
            figure.add_bar(
                base=style.compact([ran[i].started_s / divisor for i in members]),
                x=style.compact([ran[i].seconds / divisor for i in members]),
                y=[lanes[i] for i in members],
                customdata=[[ran[i].number, style.number(ran[i].seconds)] for i in members],
                orientation="h",
                width=0.85,
                name=outcome,
                marker={"color": COLOURS[outcome], "line": {"width": 0.5, "color": "rgba(128,128,128,0.6)"}},
                hovertemplate=f"trial %{{customdata[0]}}: %{{customdata[1]}} s<extra>{outcome}</extra>",
            )
    used, workers = facts.utilisation(history)
    height = min(640, 190 + 26 * (max(lanes) + 1))
    figure.update_layout(barmode="overlay", bargap=0.15)
    figure.update_xaxes(title={"text": f"study time, {unit}"})
    figure.update_yaxes(title={"text": "worker"}, dtick=1 if max(lanes) < 16 else None, autorange="reversed")
    style.dressed(figure, title, height=height)
    left_out = f"; last {len(last)} of {len(ran)} trials" if len(last) < len(ran) else ""
    style.remark(figure, f"{100 * used:.0f} % of {workers} workers' time used{left_out}")
    return figure


def _unit(seconds: float) -> tuple[str, float]:
    return ("s", 1.0) if seconds < 300 else ("minutes", 60.0) if seconds < 3 * 3600 else ("hours", 3600.0)


def states(history: History) -> go.Figure:
    """How many trials stand in which state; failures by cause."""
    title = "how the trials ended"
    labels: dict[str, tuple[int, str]] = {}
    for outcome in OUTCOMES:
        members: list[Trial] = [t for t in history if style.outcome(t) == outcome]
        if outcome == "failed":
            for group in facts.failure_groups(history):
                label = f"failed: {group.cause}"
                labels[label] = (labels.get(label, (0, ""))[0] + len(group.trials), COLOURS[outcome])
        elif members:
            labels[outcome] = (len(members), COLOURS[outcome])
    if not labels:
        return style.blank(title, "The study has no trial yet.")
    figure = go.Figure()
    figure.add_bar(
        y=list(labels),
        x=[count for count, _ in labels.values()],
        text=[count for count, _ in labels.values()],
        textposition="auto",
        marker={"color": [colour for _, colour in labels.values()]},
        orientation="h",
        hovertemplate="%{y}: %{x}<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    figure.update_xaxes(title={"text": "trials"})
    return style.dressed(figure, title, height=120 + 34 * len(labels), legend=False)
