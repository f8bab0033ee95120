"""Where a study stands, in lines: what the live view shows while it runs and `status` reads from the record.

Kept up to date event by event, so that looking costs the same at the first trial and at the ten-thousandth.
"""

from collections import Counter
from dataclasses import dataclass, field

from autosearch.core import Failure, History, State, Trial
from autosearch.core.failures import signature
from autosearch.reporting import facts

MOST_CAUSES, MOST_STAGES = 3, 8
_ORDER = (State.COMPLETE, State.RUNNING, State.PAUSED, State.QUEUED, State.STOPPED, State.FAILED)


@dataclass(slots=True)
class Tally:
    """Counts, incumbent or front, failures by cause and the last decision of a study, from its trials one by one.

    Attributes:
        counts: trials by state.
        front: feasible trials that none dominates; with one objective the incumbent alone.
        failures: (a failure, how often it came) by what such failures have in common.
        last: the trial that began last.
    """

    counts: Counter[State] = field(default_factory=Counter)
    front: list[Trial] = field(default_factory=list)
    failures: dict[tuple[str, str, str], tuple[Failure, int]] = field(default_factory=dict)
    last: Trial | None = None
    _states: dict[int, State] = field(default_factory=dict)

    def put(self, trial: Trial) -> None:
        """Take in a trial as it stands now."""
        before = self._states.get(trial.number)
        if before is trial.state:
            return
        if before is not None:
            self.counts[before] -= 1
        self.counts[trial.state] += 1
        self._states[trial.number] = trial.state
        if trial.state is not State.QUEUED and (self.last is None or trial.number >= self.last.number):
            self.last = trial
        if trial.failure is not None:
            key = signature(trial.failure)
            first, count = self.failures.get(key, (trial.failure, 0))
            self.failures[key] = first, count + 1
        if trial.feasible and trial.values:
            self._enter(trial, trial.values)

    def _enter(self, trial: Trial, values: tuple[float, ...]) -> None:
        if any(_covers(other.values or (), values) for other in self.front):
            return
        self.front = [other for other in self.front if not _covers(values, other.values or ())]
        self.front.append(trial)

    @classmethod
    def of(cls, history: History) -> "Tally":
        """The tally of a history, each front in the order in which trials ended."""
        tally = cls()
        for trial in [*history.finished, *history.pending]:
            tally.put(trial)
        return tally


def _covers(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether `one` dominates `other`, or is equal in a study with one objective (the earlier trial stays)."""
    if len(one) == 1:
        return one[0] <= other[0]
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def lines(history: History, tally: Tally, *, elapsed_s: float | None = None) -> list[tuple[str, str]]:
    """(label, words) of each line, the most important first.

    Args:
        history: the study, for its problem, its stages and what the last suggestion had seen.
        tally: of the same trials.
        elapsed_s: study time, where the caller knows it better than the record.
    """
    elapsed = history.elapsed_s if elapsed_s is None else elapsed_s
    finished = sum(n for state, n in tally.counts.items() if state.finished)
    found = [("trials", _trials(history, tally)), ("time", _time(history, finished, elapsed))]
    if history.problem.price_per_hour:
        limit = history.problem.budget.cost
        found.append(("cost", f"{history.spent.cost or 0.0:.2f}" + (f" of {limit:g}" if limit else "")))
    found += _best(history, tally)
    if tally.last is not None:
        words = facts.decision(tally.last, facts.results_seen(history, tally.last))
        found.append(("last", f"trial {tally.last.number} from {words}"))
    causes = sorted(tally.failures.values(), key=lambda item: -item[1])
    found += [("failed", f"{n} x {failure.cause}: {failure.message}") for failure, n in causes[:MOST_CAUSES]]
    if len(causes) > MOST_CAUSES:
        found.append(("failed", f"{len(causes) - MOST_CAUSES} causes more"))
    for name, stage in list(history.stages.items())[-MOST_STAGES:]:
        found.append(("stage", f"{name}: {facts.flat(facts.counts(stage)) or 'no trials yet'}"))
    return found


def _trials(history: History, tally: Tally) -> str:
    limit = history.problem.budget.trials
    parts = [f"{tally.counts[s]} {s.value}" for s in _ORDER if tally.counts[s]]
    return (", ".join(parts) or "none yet") + (f"; budget {limit}" if limit else "")


def _time(history: History, finished: int, elapsed: float) -> str:
    words = facts.duration(elapsed)
    left = remaining_s(history, finished, elapsed)
    if left:
        words += f", about {facts.duration(left)} left"
    if finished and elapsed > 0:
        workers = max(1, history.problem.workers)
        rate = 60 * finished / elapsed / workers
        words += f", {rate:.3g} trials a minute" + (f" on each of {workers} workers" if workers > 1 else "")
    return words


def remaining_s(history: History, finished: int, elapsed: float) -> float | None:
    """Seconds until the first budget is spent, at the pace so far; None where that is not known."""
    budget, ends = history.problem.budget, []
    if budget.trials is not None and finished:
        ends.append(elapsed / finished * max(0, budget.trials - finished))
    if budget.minutes is not None:
        ends.append(max(0.0, 60 * budget.minutes - elapsed))
    cost = history.spent.cost if budget.cost is not None else None
    if budget.cost is not None and cost and elapsed > 0:
        ends.append(max(0.0, (budget.cost - cost) / cost * elapsed))
    return min(ends) if ends else None


def _best(history: History, tally: Tally) -> list[tuple[str, str]]:
    if not tally.front:
        return []
    goals = history.problem.objectives
    if len(goals) == 1:
        best = tally.front[-1]
        return [("best", f"trial {best.number}, {facts.ending(history.problem, best)}")]
    parts = []
    for j, goal in enumerate(goals):
        best_value = goal.sign * min((t.values or ())[j] for t in tally.front)
        parts.append(f"{goal.metric} to {best_value:.6g}")
    return [("front", f"{facts.plural(len(tally.front), 'trial')}: {', '.join(parts)}")]
