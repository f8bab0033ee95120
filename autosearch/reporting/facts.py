"""Facts of a study that report, status and live view share: counts, causes, gain, utilisation, decisions in words."""

import bisect
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autosearch.core import Failure, History, Problem, State, Trial
from autosearch.core.failures import signature

# What searchers write as `reason` or `model` for a trial that no result has influenced.
_BLIND = ("random", "sobol", "initial", "grid", "first", "queued", "repeat", "last free", "no trial has")


def counts(history: Sequence[Trial]) -> dict[str, int]:
    """Trials by state, in the order of the states; absent ones left out."""
    found = Counter(trial.state for trial in history)
    return {state.value: found[state] for state in State if found[state]}


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures of one reason, with the message of the first."""

    cause: str
    message: str
    trials: tuple[int, ...]


def failure_groups(history: History) -> list[FailureGroup]:
    """Failed trials by what `core.failures.signature` says they share, the largest group first."""
    groups: dict[tuple[str, str, str], list[tuple[int, Failure]]] = {}
    for trial in history.failed:
        if trial.failure is not None:
            groups.setdefault(signature(trial.failure), []).append((trial.number, trial.failure))
    found = [
        FailureGroup(members[0][1].cause, members[0][1].message, tuple(number for number, _ in members))
        for members in groups.values()
    ]
    return sorted(found, key=lambda group: (-len(group.trials), group.cause, group.message))


def lost_attempts(history: History) -> dict[str, int]:
    """Attempts that were tried again, by cause."""
    return dict(Counter(cause for trial in history for cause in trial.attempts))


def blind(trial: Trial) -> bool:
    """Whether a trial was suggested without regard to results: by an initial design, at random, by hand."""
    model, reason = trial.info.get("model"), trial.info.get("reason")
    if isinstance(model, str):
        return model == "none"
    return isinstance(reason, str) and reason.startswith(_BLIND)


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better the best value is than a reference, in the metric's own unit and relative to the reference."""

    reference: float
    absolute: float
    relative: float | None


def gain(problem: Problem, best: float, reference: float) -> Gain:
    """Gain of `best` over `reference`, both as measured; positive is better."""
    absolute = problem.objectives[0].sign * (reference - best)
    return Gain(reference, absolute, absolute / abs(reference) if reference else None)


def first_value(history: History) -> tuple[Trial, float] | None:
    """The first complete trial by number, with its first objective as measured: what one would have had anyway."""
    complete = sorted((t for t in history.complete if t.values), key=lambda t: t.number)
    if not complete:
        return None
    start = history.problem.space.start
    default = next(
        (t for t in complete if all(start.get(n, v) == v for n, v in t.config.items())), complete[0]
    )
    return default, history.problem.objectives[0].sign * (default.values or (math.nan,))[0]


def blind_median(history: History) -> tuple[int, float] | None:
    """(number, median of the first objective as measured) of the feasible trials of the random phase."""
    values = [t.values[0] for t in history.complete if t.values and t.feasible and blind(t)]
    if not values:
        return None
    return len(values), history.problem.objectives[0].sign * float(np.median(values))


def utilisation(history: History) -> tuple[float, int]:
    """Share of the workers' time in which trials ran, in [0, 1], and the number of workers.

    The workers are those of the problem, or as many as trials ever overlapped.
    """
    spans = [(t.started_s, t.started_s + t.seconds) for t in history if t.seconds > 0]
    if not spans:
        return 0.0, history.problem.workers
    lanes = max(assign_lanes(spans)) + 1
    workers = max(history.problem.workers, lanes)
    length = max(end for _, end in spans) - min(start for start, _ in spans)
    return min(1.0, sum(t.seconds for t in history) / (workers * length)) if length > 0 else 1.0, workers


def assign_lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """A lane for each (start, end) so that spans in one lane do not overlap; the lowest free lane is taken.

    Clocks of successive trials may overlap by the time that a write takes: 20 ms do not count.
    """
    ends: list[float] = []
    lanes = [0] * len(spans)
    for index in sorted(range(len(spans)), key=lambda i: spans[i]):
        start, end = spans[index]
        free = next((lane for lane, until in enumerate(ends) if until <= start + 0.02), None)
        if free is None:
            ends.append(end)
            free = len(ends) - 1
        else:
            ends[free] = end
        lanes[index] = free
    return lanes


def results_seen(history: History, trial: Trial) -> int:
    """How many results a trial's suggestion had seen."""
    return bisect.bisect_left(history.finished, trial.seen, key=lambda ended: ended.finished or 0)


def decision(trial: Trial, results: int) -> str:
    """In one line where a trial came from: `gaussian process by log noisy EI (explore) after 36 results`."""
    info = trial.info
    model, acquisition, reason = info.get("model"), info.get("acquisition"), info.get("reason")
    if isinstance(model, str) and model != "none":
        words = f"{model} by {acquisition}" if acquisition else model
        words += f" ({reason})" if reason else ""
    else:
        words = str(reason or info.get("searcher") or "suggested")
    if trial.parent is not None:
        words += f", from trial {trial.parent}"
    words += f" after {plural(results, 'result')}"
    mean, deviation = info.get("mean"), info.get("std")
    if isinstance(mean, int | float) and isinstance(deviation, int | float):
        words += f", expected {mean:.4g} ± {deviation:.2g}"
    if info.get("stale"):
        words += f"; {plural(int(info['stale']), 'result')} came too late for it"
    if info.get("notes"):
        words += f"; {info['notes']}"
    return words


def ending(problem: Problem, trial: Trial) -> str:
    """In one line how a trial stands or ended."""
    values = ", ".join(
        f"{name} {trial.metrics[name]:.6g}" for name in problem.metric_names if name in trial.metrics
    )
    words = trial.state.value
    if trial.failure is not None:
        words = f"failed ({trial.failure.cause}): {trial.failure.message}"
    elif trial.state is State.STOPPED:
        words = f"stopped at step {trial.step} with {values}" if values else f"stopped at step {trial.step}"
    elif trial.state is State.COMPLETE:
        words = values if trial.feasible else f"{values}, infeasible by {trial.violation:.4g}"
    if trial.attempts:
        lost = ", ".join(f"{n} x {cause}" for cause, n in Counter(trial.attempts).items())
        words += f" (tried again after {lost})"
    return words


def incumbents(history: History) -> list[Trial]:
    """Trials that were the best when they ended, in that order; several objectives: none."""
    found: list[Trial] = []
    if len(history.problem.objectives) != 1:
        return found
    for trial in history.finished:
        if trial.feasible and trial.values and (not found or trial.values < (found[-1].values or ())):
            found.append(trial)
    return found


def duration(seconds: float) -> str:
    """Seconds as `0.05 s`, `42 s`, `3 min 20 s` or `2 h 05 min`."""
    if 0 < seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def plural(count: int, word: str) -> str:
    """A count with its noun: `1 trial`, `3 trials`."""
    return f"{count} {word}" + ("" if count == 1 else "s")


def share(part: int, whole: int) -> str:
    """A part as `3 of 8 (38 %)`."""
    return f"{part} of {whole}" + (f" ({100 * part / whole:.0f} %)" if whole else "")


def flat(values: Mapping[str, object]) -> str:
    """A mapping in one line: `lr 0.01, width 64`."""
    return ", ".join(
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
