"""Health checks: what a person should doubt or do next, in plain words, each with the numbers it rests on."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autosearch.core import Goal, History, State, Trial
from autosearch.core.ranking import best_trials
from autosearch.reporting import facts
from autosearch.reporting.figures import ImportanceTable, StepTrust, Trust, fidelity_trust
from autosearch.space import Float, Int

Level = Literal["good", "note", "warn"]

_FEW_TRIALS = 10
_EDGE = 0.03  # of the range: nearer than a refit of the range would care for
_LEAST_VALUES = 5  # a parameter with fewer values is at an end of its range by chance


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        level: `good`, `note` or `warn`.
        title: the finding in a few words.
        words: its numbers, and what to do.
    """

    level: Level
    title: str
    words: str


def checks(
    history: History, *, table: ImportanceTable | None = None, trusts: Sequence[Trust] = ()
) -> list[Check]:
    """Findings about a study, warnings first.

    Args:
        history: the study.
        table: of PED-ANOVA, for parameters without influence.
        trusts: of the surrogate, one an objective.
    """
    if not history.finished:
        return [Check("note", "nothing to judge yet", "No trial has finished.")]
    found = [
        *_results(history),
        *_failures(history),
        *_feasibility(history),
        *_edges(history),
        *_influence(history, table or {}),
        *_noise(history),
        *_spending(history),
        *_fidelity(history),
        *_surrogate(history.problem.objectives, trusts),
        *_workers(history),
    ]
    order = {"warn": 0, "note": 1, "good": 2}
    return sorted(found, key=lambda check: order[check.level])


def _results(history: History) -> Iterator[Check]:
    n, d = len(history.complete), history.problem.space.dimensions
    if not n:
        yield Check(
            "warn",
            "no complete trial",
            f"{facts.plural(len(history.finished), 'trial')} ended without a result.",
        )
    elif n < 2 * d + 2:
        yield Check(
            "note",
            "few trials for the size of the space",
            f"{facts.plural(n, 'complete trial')} over {facts.plural(d, 'searched parameter')}: what follows may "
            f"be chance. A budget of {10 * d} trials or more would tell.",
        )


def _failures(history: History) -> Iterator[Check]:
    failed, ended = len(history.failed), len(history.finished)
    if not failed:
        yield Check("good", "no trial failed", f"{facts.plural(ended, 'trial')} ended, none by a failure.")
    elif failed >= max(3, 0.2 * ended):
        worst = facts.failure_groups(history)[0]
        yield Check(
            "warn",
            "many trials fail",
            f"{facts.share(failed, ended)} failed, {len(worst.trials)} of them by {worst.cause}: {worst.message}. "
            "Narrow the space, or constrain it by `require`, so that the budget is not spent on them.",
        )


def _feasibility(history: History) -> Iterator[Check]:
    complete = history.complete
    if not history.problem.constraints or not complete:
        return
    feasible = sum(t.feasible for t in complete)
    words = facts.share(feasible, len(complete)) + " complete trials meet every constraint"
    if not feasible:
        yield Check("warn", "no trial is feasible", f"{words}. Loosen a constraint, or widen the space.")
    elif feasible < 0.2 * len(complete):
        yield Check(
            "warn",
            "the constraints are rarely met",
            f"{words}. Most of the budget goes to infeasible trials.",
        )
    else:
        yield Check("good", "the constraints can be met", f"{words}.")


def _edges(history: History) -> Iterator[Check]:
    """Parameters whose best values crowd at an end of their range."""
    feasible = sum(t.feasible for t in history.complete)
    if feasible < _FEW_TRIALS:
        return
    best = best_trials(history, max(3, min(10, feasible // 10)))
    crowded = False
    for name in history.problem.space.searched:
        parameter = history.problem.space.parameters[name]
        if not isinstance(parameter, Float | Int) or (parameter.n_values or math.inf) < _LEAST_VALUES:
            continue
        units = np.array([parameter.to_unit(t.config[name]) for t in best if name in t.config])
        if len(units) < 3:
            continue
        for side, near, end in (
            ("low", units <= _EDGE, parameter.low),
            ("high", units >= 1 - _EDGE, parameter.high),
        ):
            if near.mean() >= 0.5:
                crowded = True
                yield Check(
                    "warn",
                    f"{name} is at the {side} end of its range",
                    f"{facts.share(int(near.sum()), len(units))} of the best trials lie at {side}: {end:.4g}. "
                    f"A {'smaller' if side == 'low' else 'larger'} `{side}` may hold better values.",
                )
    if not crowded:
        yield Check(
            "good", "the ranges are wide enough", "No parameter's best values crowd at an end of its range."
        )


def _influence(history: History, table: ImportanceTable) -> Iterator[Check]:
    names = list(history.problem.space.searched)
    if not table or len(history.complete) < max(30, 3 * len(names)) or len(names) < 2:
        return
    # Below a tenth of an equal share even at the upper end of the interval, for every objective.
    limit = 0.1 / len(names)
    inert = [n for n in names if all(shares.get(n, (0, 0, 0))[2] < limit for shares in table.values())]
    if inert:
        yield Check(
            "note",
            "parameters without visible influence",
            f"{', '.join(inert[:8])}{' and others' if len(inert) > 8 else ''}: fixing them leaves more of the budget "
            "to the others. Influence that shows only together with another parameter is not seen here.",
        )


def _noise(history: History) -> Iterator[Check]:
    """Whether the differences among the best are larger than what repeating a trial would give."""
    if len(history.problem.objectives) != 1:
        return
    deviation, source = noise_deviation(history)
    best = [t.values[0] for t in best_trials(history, 5) if t.values]
    if math.isfinite(deviation) and len(best) == 5:
        gap = best[-1] - best[0]
        if gap < 2 * deviation:
            yield Check(
                "warn",
                "the best trials differ by less than the noise",
                f"The five best lie within {gap:.3g}, one measurement varies by {deviation:.3g} ({source}). Which of "
                "them is best is not known: repeat them with other seeds.",
            )
        else:
            yield Check(
                "good",
                "the difference found is larger than the noise",
                f"The five best span {gap:.3g}, one measurement varies by {deviation:.3g} ({source}).",
            )
    complete = [t.values[0] for t in history.complete if t.values]
    if len(complete) >= 5 and np.ptp(complete) == 0:
        yield Check(
            "warn",
            "every trial has the same value",
            f"All {len(complete)} complete trials measured {history.problem.objectives[0].sign * complete[0]:.6g}. "
            "Does the training code use its configuration?",
        )


def noise_deviation(history: History) -> tuple[float, str]:
    """(standard deviation of one measurement of the first objective, how it is known); NaN where it is not."""
    metric = history.problem.objectives[0].metric
    reported = [t.metrics.get(f"{metric}_sem", math.nan) for t in history.complete]
    known = [value for value in reported if math.isfinite(value)]
    if len(known) >= 3:
        return float(np.median(known)), "reported"
    groups: dict[object, list[float]] = {}
    for trial in history.complete:
        if trial.values:
            groups.setdefault(history.problem.space.key(trial.config), []).append(trial.values[0])
    repeats = [np.array(values) for values in groups.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeats)
    if freedom < 2:
        return math.nan, ""
    total = sum(float(((values - values.mean()) ** 2).sum()) for values in repeats)
    return math.sqrt(total / freedom), f"from {len(repeats)} repeated configurations"


def _spending(history: History) -> Iterator[Check]:
    """Whether the study ended while it was still getting better, or long after it had stopped to."""
    line = facts.incumbents(history)
    n = len(history.finished)
    if len(line) < 2 or n < 20:
        return
    order = {trial.number: i for i, trial in enumerate(history.finished)}
    values = [t.values[0] for t in line if t.values]
    total, last = values[0] - values[-1], order[line[-1].number]
    before = [v for t, v in zip(line, values, strict=True) if order[t.number] < 0.8 * n]
    late = (before[-1] - values[-1]) / total if before and total > 0 else 0.0
    if late > 0.1:
        yield Check(
            "note",
            "still improving when the budget ended" if not history.pending else "still improving",
            f"{100 * late:.0f} % of the whole gain came with the last fifth of the trials: raise `budget` and run "
            "the same command to go on.",
        )
    elif last < 0.5 * n:
        yield Check(
            "note",
            "no improvement for a long time",
            f"The best trial is number {line[-1].number}; the {n - 1 - last} trials that ended after it found nothing "
            "better. A smaller budget would have found the same.",
        )


def _fidelity(history: History) -> Iterator[Check]:
    stopped = history.by_state(State.STOPPED)
    found = fidelity_trust(history)
    if not stopped or not found:
        return
    first = min(t.step for t in stopped)
    at: StepTrust = min(found, key=lambda f: abs(f.step - first))
    words = (
        f"At step {at.step}, where the earliest trials were stopped, the order of {at.count} trials that went on "
        f"agrees with their final order by a rank correlation of {at.correlation:.2f}"
    )
    if at.correlation < 0.4:
        yield Check("warn", "early stopping is nearly a guess", f"{words}. Raise the scheduler's `min`.")
    else:
        yield Check(
            "good",
            "early stopping looks right",
            f"{words}. Only trials that went on are counted, which understates it.",
        )
    doubtful = _stopped_ahead(history, stopped)
    if len(doubtful) > max(2, 0.05 * len(stopped)):
        shown = ", ".join(str(t.number) for t in doubtful[:5])
        yield Check(
            "note",
            "some stopped trials were ahead of the incumbent",
            f"{facts.share(len(doubtful), len(stopped))} stopped trials had a better value than the incumbent had at "
            f"the same step (trials {shown}). They were compared with others that were better still.",
        )


def _stopped_ahead(history: History, stopped: Sequence[Trial]) -> list[Trial]:
    if len(history.problem.objectives) != 1 or history.incumbent is None:
        return []
    goal: Goal = history.problem.objectives[0]
    reached = {r.step: goal.sign * r.metrics.get(goal.metric, math.nan) for r in history.incumbent.curve}
    return [
        t
        for t in stopped
        if t.step in reached and goal.sign * t.metrics.get(goal.metric, math.nan) < reached[t.step]
    ]


def _surrogate(goals: Sequence[Goal], trusts: Sequence[Trust]) -> Iterator[Check]:
    for goal, found in zip(goals, trusts, strict=False):
        if found.count < _FEW_TRIALS or not math.isfinite(found.correlation):
            continue
        words = f"{goal.metric}: {found.words}, over {found.count} left-out results"
        if found.correlation < 0.3:
            yield Check(
                "warn",
                "the surrogate does not predict",
                f"{words}. Do not read its slices; the search was little better than random where it relied on it.",
            )
        elif found.within_two < 0.8:
            yield Check(
                "warn", "the surrogate is too sure of itself", f"{words}. Read its bands as too narrow."
            )
        else:
            yield Check("good", "the surrogate can be trusted", f"{words}.")


def _workers(history: History) -> Iterator[Check]:
    used, workers = facts.utilisation(history)
    if workers > 1 and len(history.finished) >= 2 * workers and used < 0.5:
        yield Check(
            "note",
            "workers were idle",
            f"Trials ran for {100 * used:.0f} % of the time of {workers} workers. Fewer workers, or trials of a more "
            "even length, would use them better.",
        )
    late = sum(bool(t.info.get("stale")) for t in history)
    if late > 0.5 * len(history):
        yield Check(
            "note",
            "many suggestions were made ahead",
            f"{facts.share(late, len(history))} suggestions did not know the newest results, because trials end "
            "faster than suggestions are made.",
        )
