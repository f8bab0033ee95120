"""The headline: what was found, how much better it is than what one had, and what it took."""

from dataclasses import dataclass

from autosearch.core import History
from autosearch.reporting import facts
from autosearch.reporting.material import Material


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the headline: `label` above, `value` large, `detail` below."""

    label: str
    value: str
    detail: str = ""


def headline(material: Material) -> list[Figure]:
    """The numbers at the top of the report, the most important first."""
    history = material.history
    found = _single(material) if len(history.problem.objectives) == 1 else _several(history)
    counts = facts.counts(history)
    spent, budget = history.spent, history.problem.budget
    found.append(
        Figure(
            "trials",
            f"{len(history)}" + (f" of {budget.trials}" if budget.trials else ""),
            ", ".join(f"{n} {state}" for state, n in counts.items()) or "none yet",
        )
    )
    used, workers = facts.utilisation(history)
    trial_hours = sum(t.seconds for t in history) / 3600
    found.append(
        Figure(
            "time",
            facts.duration(60 * (spent.minutes or 0.0)),
            f"{facts.duration(3600 * trial_hours)} of trials on {facts.plural(workers, 'worker')}, "
            f"{100 * used:.0f} % used",
        )
    )
    if history.problem.price_per_hour:
        price = history.problem.price_per_hour
        found.append(Figure("cost", f"{spent.cost or 0.0:.2f}", f"at {price:g} an hour of a trial"))
    return found


def _single(material: Material) -> list[Figure]:
    history = material.history
    goal, best = history.problem.objectives[0], history.incumbent
    if best is None or not best.values:
        reason = "no trial is feasible" if history.complete else "no trial is complete"
        return [Figure(goal.metric, "–", reason)]
    value = goal.sign * best.values[0]
    test = material.notes.get("test") or {}
    detail = f"trial {best.number}, {goal.direction}d"
    if test.get("trial") == best.number:
        detail += "; measured once on test data: " + facts.flat(test.get("metrics", {}))
    found = [Figure(goal.metric, f"{value:.6g}", detail)]
    first = facts.first_value(history)
    if first is not None and first[0].number != best.number:
        found.append(_gain(history, value, first[1], "first configuration", f"trial {first[0].number}"))
    median = facts.blind_median(history)
    if median is not None and median[0] >= 3:
        found.append(_gain(history, value, median[1], "random choice", f"median of {median[0]} trials"))
    return found


def _gain(history: History, best: float, reference: float, label: str, source: str) -> Figure:
    gain = facts.gain(history.problem, best, reference)
    relative = "" if gain.relative is None else f", {100 * gain.relative:+.1f} %"
    return Figure(f"gain over {label}", f"{gain.absolute:+.4g}", f"{source}: {reference:.5g}{relative}")


def _several(history: History) -> list[Figure]:
    front = history.front
    if not history.problem.objectives:
        return []
    if not front:
        return [Figure("front", "–", "no trial is feasible" if history.complete else "no trial is complete")]
    found = [Figure("front", f"{len(front)} trials", "none of them can be improved without loss")]
    for index, goal in enumerate(history.problem.objectives):
        values = [goal.sign * t.values[index] for t in front if t.values]
        best, worst = (max(values), min(values)) if goal.maximize else (min(values), max(values))
        found.append(
            Figure(goal.metric, f"{best:.5g}", f"best on the front ({goal.direction}d); worst {worst:.5g}")
        )
    return found
