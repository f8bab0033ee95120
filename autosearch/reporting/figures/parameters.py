"""What the parameters did: importance, slices through the space, parallel coordinates."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from autosearch.core import History, Predictor, SpaceError, Trial
from autosearch.core.ranking import best_trials
from autosearch.reporting.figures import style
from autosearch.reporting.figures.style import BLUE, GREEN, GREY, ORANGE, SYMBOLS, text
from autosearch.space import Config, Float, Int, Searched, Value

# metric -> parameter -> (share, lower end, upper end of a 90 % interval), as `record.importance` computes it.
ImportanceTable = Mapping[str, Mapping[str, tuple[float, float, float]]]

MOST_SLICES, MOST_AXES, MOST_ROWS, MOST_POINTS = 12, 12, 20, 1200
_POINTS, _COLUMNS = 33, 3


def ordered_parameters(
    history: History, table: ImportanceTable | None = None, predictor: Predictor | None = None
) -> list[str]:
    """Searched parameters, the most important first where importances are known, else as in the study file."""
    names = list(history.problem.space.searched)
    scores = dict.fromkeys(names, 0.0)
    if predictor is not None:
        scores |= {name: share for name, share in predictor.importances().items() if name in scores}
    for shares in (table or {}).values():
        for name, (share, _, _) in shares.items():
            scores[name] = scores.get(name, 0.0) + share
    return sorted(names, key=lambda name: -scores[name])


def importance(
    history: History, table: ImportanceTable | None = None, predictor: Predictor | None = None
) -> go.Figure:
    """Share of the variation that each parameter explains: PED-ANOVA with 90 % intervals, and the surrogate's own.

    Args:
        history: the study.
        table: from PED-ANOVA; one series an objective.
        predictor: of a searcher with a surrogate.
    """
    title = "importance of parameters"
    if not table and predictor is None:
        return style.blank(title, "Too few complete trials to tell parameters apart.")
    names = ordered_parameters(history, table, predictor)[:MOST_ROWS]
    figure = go.Figure()
    several = len(table or {}) > 1
    for colour, (metric, shares) in zip(style.SERIES, (table or {}).items(), strict=False):
        found = [shares.get(name, (0.0, 0.0, 0.0)) for name in names]
        figure.add_bar(
            y=[text(name) for name in names],
            x=[share for share, _, _ in found],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [max(0.0, high - share) for share, _, high in found],
                "arrayminus": [max(0.0, share - low) for share, low, _ in found],
                "thickness": 1.2,
                "width": 4,
                "color": GREY,
            },
            orientation="h",
            name=f"PED-ANOVA: {text(metric)}" if several else "PED-ANOVA (reaching the best tenth)",
            marker={"color": colour},
            hovertemplate="%{y}: %{x:.1%}<extra>PED-ANOVA</extra>",
        )
    if predictor is not None:
        shares_of = predictor.importances()
        figure.add_bar(
            y=[text(name) for name in names],
            x=[shares_of.get(name, 0.0) for name in names],
            orientation="h",
            name="surrogate's sensitivity",
            marker={"color": ORANGE},
            hovertemplate="%{y}: %{x:.1%}<extra>surrogate</extra>",
        )
    series = len(figure.data)
    figure.update_layout(barmode="group", bargap=0.25)
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    figure.update_xaxes(
        title={"text": "share of the explained variation"}, tickformat=".0%", rangemode="tozero"
    )
    style.dressed(figure, title, height=140 + max(26, 16 * series) * len(names))
    every = len(history.problem.space.searched)
    style.remark(figure, f"the first {len(names)} of {every} parameters" if len(names) < every else "")
    return figure


def slices(
    history: History,
    predictor: Predictor | None = None,
    *,
    table: ImportanceTable | None = None,
    objective: int = 0,
) -> go.Figure:
    """One objective over each parameter, and the surrogate's mean with two deviations through the best trial.

    Args:
        history: the study.
        predictor: draws the curve; without it only the trials are shown.
        table: orders the parameters.
        objective: index of the objective.
    """
    problem = history.problem
    goal = problem.objectives[objective]
    title = f"slices: {goal.metric} over each parameter"
    measured = ((t, style.measured(problem, t, objective)) for t in history if t.state.finished)
    shown = [(trial, value) for trial, value in measured if math.isfinite(value)]
    names = ordered_parameters(history, table, predictor)
    names = [name for name in names if any(name in trial.config for trial, _ in shown)]
    if not names:
        return style.blank(title, "No trial has a result yet." if not shown else "Nothing is searched.")
    every = len(names)
    names = names[:MOST_SLICES]
    ends = (shown[0][0].number, shown[-1][0].number)
    found = len(shown)
    shown = _thinned(history, shown)
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes="all",
        vertical_spacing=70 / (230 * rows),
        horizontal_spacing=0.03,
    )
    centre = next(iter(history.front), None)
    for index, name in enumerate(names):
        at = {"row": index // columns + 1, "col": index % columns + 1}
        members = [(trial, value) for trial, value in shown if name in trial.config]
        _add_slice_points(figure, history, name, members, at, bar=index == 0, ends=ends)
        if predictor is not None and centre is not None and name in centre.config:
            _add_slice_curve(figure, history, predictor, centre, name, objective, at, first=index == 0)
        figure.update_xaxes(title={"text": text(name, 40), "standoff": 4}, **_axis(history, name), **at)
    axis, beyond = style.value_axis([value for _, value in shown], goal)
    if axis.get("type") != "log":
        # The surrogate's band is wide where nothing was tried: the trials set the scale.
        axis.setdefault("range", style.bounds([value for _, value in shown]))
    figure.update_yaxes(**{**axis, "title": None})
    figure.update_yaxes(title={"text": text(goal.metric, 30)}, col=1)
    style.dressed(figure, title, height=110 + 230 * rows)
    left_out = f"the first {len(names)} of {every} parameters" if len(names) < every else ""
    thinned = f"{len(shown)} of {found} trials" if len(shown) < found else ""
    style.remark(figure, "; ".join(filter(None, (left_out, thinned, beyond))))
    return figure


def _thinned(history: History, shown: list[tuple[Trial, float]]) -> list[tuple[Trial, float]]:
    """At most `MOST_POINTS` trials: the best, and others spread over the study."""
    if len(shown) <= MOST_POINTS:
        return shown
    best = (
        {trial.number for trial in best_trials(history, MOST_POINTS // 5)}
        if len(history.problem.objectives) == 1
        else set()
    )
    best |= {trial.number for trial in history.front}
    rest = [i for i, (trial, _) in enumerate(shown) if trial.number not in best]
    kept = {rest[i] for i in style.spread(len(rest), MOST_POINTS - min(len(best), MOST_POINTS // 2))}
    return [item for i, item in enumerate(shown) if i in kept or item[0].number in best]


def _axis(history: History, name: str) -> dict[str, object]:
    parameter = history.problem.space.parameters[name]
    if isinstance(parameter, Float | Int):
        if not parameter.log:
            return {"type": "linear"}
        if parameter.high >= 100 * parameter.low:
            return {"type": "log", "dtick": 1, "exponentformat": "e"}
        # Within two decades hardly a power of ten is in sight.
        ticks = np.geomspace(parameter.low, parameter.high, 4)
        return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:.3g}" for tick in ticks]}
    return {"type": "category"}


def _coordinate(history: History, name: str, value: Value) -> float | str | int:
    parameter = history.problem.space.parameters[name]
    return value if isinstance(parameter, Float | Int) and isinstance(value, int | float) else text(value, 24)


def _add_slice_points(
    figure: go.Figure,
    history: History,
    name: str,
    members: Sequence[tuple[Trial, float]],
    at: dict[str, int],
    *,
    bar: bool,
    ends: tuple[int, int],
) -> None:
    figure.add_scatter(
        x=[_coordinate(history, name, trial.config[name]) for trial, _ in members],
        y=style.compact([value for _, value in members]),
        customdata=[trial.number for trial, _ in members],
        mode="markers",
        marker={
            "color": [trial.number for trial, _ in members],
            "colorscale": style.SCALE,
            "cmin": ends[0],
            "cmax": ends[1],
            "symbol": [SYMBOLS[style.outcome(trial)] for trial, _ in members],
            "size": 6,
            "showscale": bar and ends[1] > ends[0],
            "colorbar": {"title": {"text": "trial"}, "thickness": 10, "outlinewidth": 0, "len": 1.0},
        },
        showlegend=False,
        hovertemplate="trial %{customdata}: %{x}, %{y:.5g}<extra></extra>",
        **at,
    )


def _add_slice_curve(
    figure: go.Figure,
    history: History,
    predictor: Predictor,
    centre: Trial,
    name: str,
    objective: int,
    at: dict[str, int],
    *,
    first: bool,
) -> None:
    """Mean and two deviations along `name`, every other parameter as in `centre`."""
    varied = varied_configs(history, centre.config, name)
    if len(varied) < 2:
        return
    mean, deviation = predictor.predict([config for _, config in varied])
    x = [_coordinate(history, name, value) for value, _ in varied]
    centres, width = np.asarray(mean)[:, objective], 2 * np.asarray(deviation)[:, objective]
    continuous = isinstance(history.problem.space.parameters[name], Float | Int)
    if not continuous:
        figure.add_scatter(
            x=x,
            y=style.compact(centres),
            error_y={"type": "data", "array": style.compact(width), "color": GREEN, "thickness": 1.5},
            mode="markers",
            marker={"color": GREEN, "symbol": "line-ew-open", "size": 14},
            showlegend=False,
            hovertemplate="surrogate: %{y:.5g}<extra></extra>",
            **at,
        )
        return
    figure.add_scatter(
        x=[*x, *x[::-1]],
        y=style.compact(np.concatenate([centres + width, (centres - width)[::-1]])),
        fill="toself",
        fillcolor="rgba(18,161,122,0.18)",
        line={"width": 0},
        hoverinfo="skip",
        name="± 2 deviations",
        showlegend=first,
        **at,
    )
    figure.add_scatter(
        x=x,
        y=style.compact(centres),
        mode="lines",
        line={"color": GREEN, "width": 2},
        name=f"surrogate through trial {centre.number}",
        showlegend=first,
        hovertemplate="surrogate: %{y:.5g}<extra></extra>",
        **at,
    )


def varied_configs(history: History, config: Config, name: str) -> list[tuple[Value, Config]]:
    """(value, configuration) along the range of parameter `name`, the rest as in `config`; only allowed ones."""
    space = history.problem.space
    parameter = space.parameters[name]
    if not isinstance(parameter, Searched):
        return []
    n = parameter.n_values
    values = parameter.from_unit_array(np.linspace(0, 1, _POINTS if n is None else min(n, _POINTS)))
    base = {**space.start, **{key: value for key, value in config.items() if key in space.searched}}
    found: list[tuple[Value, Config]] = []
    for value in dict.fromkeys(values):
        try:
            found.append((value, space.validate({**base, name: value})))
        except SpaceError:
            continue
    return found


def parallel_coordinates(
    history: History, *, table: ImportanceTable | None = None, predictor: Predictor | None = None
) -> go.Figure:
    """Every complete trial as a line through its parameters to its first objective; drag along an axis to select."""
    problem = history.problem
    title = "parallel coordinates"
    complete = [t for t in history.complete if t.values]
    every = ordered_parameters(history, table, predictor)
    if not complete or not every:
        return style.blank(title, "No trial is complete yet." if not complete else "Nothing is searched.")
    names = every[:MOST_AXES]
    goal = problem.objectives[0]
    values = style.compact([goal.sign * t.values[0] for t in complete if t.values])
    dimensions = [_dimension(history, name, complete) for name in names]
    dimensions += [
        {
            "label": text(g.metric, 18),
            "values": style.compact([style.measured(problem, t, i) for t in complete]),
        }
        for i, g in enumerate(problem.objectives)
    ]
    ends = [float(np.quantile(values, q)) for q in ((0.1, 1.0) if goal.maximize else (0.0, 0.9))]
    scale = style.SCALE if goal.maximize else [[1 - at, colour] for at, colour in reversed(style.SCALE)]
    figure = go.Figure()
    figure.add_parcoords(
        line={
            "color": values,
            "colorscale": scale,
            "cmin": ends[0],
            "cmax": ends[1] if ends[1] > ends[0] else ends[0] + 1e-9,
            "showscale": True,
            "colorbar": {"title": {"text": text(goal.metric, 18)}, "thickness": 10, "outlinewidth": 0},
        },
        dimensions=dimensions,
        labelangle=-20,
        tickfont={"size": 10},
        rangefont={"size": 10},
        labelside="top",
    )
    style.dressed(figure, title, height=440, legend=False)
    figure.update_layout(margin={"l": 70, "r": 70, "t": 124, "b": 48})
    if len(names) < len(every):
        style.remark(figure, f"the first {len(names)} of {len(every)} parameters")
    return figure


def _dimension(history: History, name: str, trials: Sequence[Trial]) -> dict[str, object]:
    """An axis of the parallel coordinates; a parameter that is inactive in a trial passes below the range."""
    parameter = history.problem.space.parameters[name]
    label = text(name, 18)
    values: list[float]
    ticks: list[float]
    if not isinstance(parameter, Float | Int):
        labels = [text(choice, 14) for choice in getattr(parameter, "choices", ())]
        choices = list(getattr(parameter, "choices", ()))
        values = [choices.index(t.config[name]) if name in t.config else -1 for t in trials]
        ticks = [float(i) for i in range(len(choices))]
    else:
        low, high = (_scaled(float(end), log=parameter.log) for end in (parameter.low, parameter.high))
        below = low - 0.12 * ((high - low) or 1.0)
        values = [
            _scaled(float(t.config[name]), log=parameter.log) if name in t.config else below  # type: ignore[arg-type]
            for t in trials
        ]
        ticks = [low + share * (high - low) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] if high > low else [low]
        labels = [f"{10**tick if parameter.log else tick:.3g}" for tick in ticks]
        if isinstance(parameter, Int) and not parameter.log:
            ticks = sorted({float(round(tick)) for tick in ticks})
            labels = [f"{tick:.4g}" for tick in ticks]
    inactive = any(name not in t.config for t in trials)
    if inactive:
        missing = min(values)
        ticks, labels = [missing, *ticks], ["inactive", *labels]
    span = [min(ticks), max(ticks)] if max(ticks) > min(ticks) else [ticks[0] - 0.5, ticks[0] + 0.5]
    return {
        "label": label,
        "values": style.compact(values),
        "tickvals": ticks,
        "ticktext": labels,
        "range": span,
    }


def _scaled(value: float, *, log: bool) -> float:
    return math.log10(value) if log else value


def sampled_share(history: History) -> go.Figure:
    """Where in each numeric parameter's range the search looked, first half against second half of the trials."""
    title = "where the search looked"
    space = history.problem.space
    numeric = {n: p for n, p in space.parameters.items() if isinstance(p, Float | Int)}
    names = list(numeric)[:MOST_ROWS]
    if len(history) < 8 or not names:
        return style.blank(title, "Too few trials, or no numeric parameter.")
    half = len(history) // 2
    figure = go.Figure()
    for part, label, colour, side in (
        (history[:half], "first half", GREY, "negative"),
        (history[half:], "second half", BLUE, "positive"),
    ):
        for index, name in enumerate(names):
            units = [numeric[name].to_unit(t.config[name]) for t in part if name in t.config]
            figure.add_violin(
                x=style.compact(units),
                y=[text(name)] * len(units),
                name=label,
                legendgroup=label,
                showlegend=index == 0,
                side=side,
                orientation="h",
                line={"color": colour, "width": 1},
                points=False,
                spanmode="hard",
                width=0.9,
                hoverinfo="skip",
            )
    figure.update_xaxes(title={"text": "place in the range, low to high"}, range=[0, 1])
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    figure.update_layout(violinmode="overlay", violingap=0)
    return style.dressed(figure, title, height=140 + 44 * len(names))
