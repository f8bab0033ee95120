"""The plan: what a study will do and cost, from one timed probe and a rehearsal of the scheduler.

Symbols:

| symbol | meaning |
|---|---|
| `n` | trials of the budget |
| `s` | steps that all trials train together, from the rehearsal |
| `a` | seconds before the first step of a trial (loading, building) |
| `b` | seconds a step |
| `c` | seconds before a worker's first trial (imports, reading data) |

Trial time is `n a + s b`; wall time is that over the workers, and `c`.
"""

import contextlib
import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autosearch.core import (
    Budget,
    Decision,
    Job,
    Objective,
    Problem,
    Progress,
    Resources,
    Study,
    StudyError,
    Trial,
)
from autosearch.core.seeds import derive_rng, derive_seed

REHEARSED, REHEARSALS, MOST_LEVELS = 120, 3, 20
# Configurations of one space differ in cost; without having run them, half and twice the probe's time are assumed.
FASTER, SLOWER = 0.5, 2.0
# A fresh worker process, at most, for each trial (measured without work in it).
PROCESS_START_S = 1.0
# A suggestion of the slowest searcher that ships, at a few hundred trials.
SUGGESTION_S = 0.5
_MUCH_SETUP = 0.2


@dataclass(frozen=True, slots=True)
class Probe:
    """One timed trial at the smallest fidelity.

    Attributes:
        config: what ran.
        steps: fidelity reached.
        seconds: until there.
        setup_s: before the first step, as far as two reports tell it apart; else 0.
        step_s: a step.
        once_s: more of it the first time in a process, where one process runs many trials; else 0.
        whole: whether the trial came to its natural end.
        checkpoint_bytes: size of a checkpoint, None where the training code hands none over.
        metrics: of its last report.
    """

    config: Mapping[str, Any]
    steps: int
    seconds: float
    setup_s: float
    step_s: float
    once_s: float
    whole: bool
    checkpoint_bytes: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)


def probe(
    objective: Objective,
    problem: Problem,
    trial: Trial,
    *,
    reused: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Probe:
    """Run one trial to the smallest fidelity (two reports at least, to tell loading from training) and time it.

    Args:
        objective: of the study.
        problem: of the study.
        trial: whose configuration is run; nothing of it is recorded.
        reused: one process runs many trials. Most of the first one's setup is then paid once: the probe is run again.
        clock: seconds.

    Raises:
        StudyError: if the training code fails or reports nothing.
    """
    first = _probe_once(objective, problem, trial, clock)
    if not reused or first.setup_s < _MUCH_SETUP * first.seconds:
        return first
    again = _probe_once(objective, problem, trial, clock)
    return dataclasses.replace(again, once_s=max(0.0, first.setup_s - again.setup_s))


def _probe_once(objective: Objective, problem: Problem, trial: Trial, clock: Callable[[], float]) -> Probe:
    least, most = max(1, problem.fidelity[0] or 1), problem.fidelity[1]
    with tempfile.TemporaryDirectory(prefix="autosearch-probe-") as folder:
        job = Job(
            number=trial.number,
            config=trial.nested,
            seed=derive_seed(problem.seed, "probe"),
            folder=Path(folder),
            until=None if most is None else max(least, min(2, most)),
        )
        begun = clock()
        reports: list[tuple[int, float]] = []
        size: int | None = None
        last: Progress | None = None
        try:
            with contextlib.closing(objective.run(job)) as run:
                progress, result = _next(run, None)
                while progress is not None:
                    last = progress
                    step = len(reports) + 1 if progress.step is None else progress.step
                    reports.append((step, clock() - begun))
                    if (step >= least and len(reports) >= 2) or step >= (most or math.inf):
                        size = _saved_bytes(progress, Path(folder) / "checkpoint")
                        break
                    progress, result = _next(run, Decision.CONTINUE)
        except Exception as error:
            raise StudyError(f"plan: the probe trial failed: {type(error).__name__}: {error}") from error
        ended = clock() - begun if progress is None else reports[-1][1]
    last = result if result is not None and result.metrics else last
    if last is None:
        raise StudyError("plan: the probe trial ended without a report or a result.")
    # What only returns its result is one step.
    (first, first_s), (top, top_s) = (reports[0], reports[-1]) if reports else ((1, ended), (1, ended))
    step_s = (top_s - first_s) / (top - first) if top > first else ended / max(1, top)
    return Probe(
        config=dict(trial.config),
        steps=top,
        seconds=ended,
        setup_s=max(0.0, first_s - step_s * first) if top > first else 0.0,
        step_s=step_s,
        once_s=0.0,
        whole=progress is None,
        checkpoint_bytes=size,
        metrics=last.metrics,
    )


def _next(run: Any, decision: Decision | None) -> tuple[Progress | None, Progress | None]:
    """(the next progress, None), or at the end (None, the result that was returned, if any)."""
    try:
        return run.send(decision), None
    except StopIteration as end:
        return None, end.value


def _saved_bytes(progress: Progress, folder: Path) -> int | None:
    if progress.save is None:
        return None
    folder.mkdir()
    progress.save(folder)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a scheduler does to trials of random quality.

    Attributes:
        rungs: step -> (least, most) share of the trials that reach it, over the rehearsals.
        steps: (least, most) steps that a trial trains on average; None without an upper fidelity.
        paused: most trials that were paused at once, as a share.
    """

    rungs: Mapping[int, tuple[float, float]]
    steps: tuple[float, float] | None
    paused: float = 0.0


def rehearse(problem: Problem, scheduler: Any, *, trials: int = REHEARSED) -> Rehearsal:
    """Let the scheduler decide on imagined trials whose order at a step resembles their final order.

    Args:
        problem: of the study.
        scheduler: its definition, None for none.
        trials: imagined ones.
    """
    top = problem.fidelity[1]
    if top is None or not problem.objectives:
        return Rehearsal({}, None)
    runs = [_rehearse_once(problem, scheduler, trials, top, seed) for seed in range(REHEARSALS)]
    steps = sorted({step for reached, _ in runs for step in reached})
    shares = {
        step: (
            min(reached.get(step, 0) for reached, _ in runs) / trials,
            max(reached.get(step, 0) for reached, _ in runs) / trials,
        )
        for step in steps
    }
    means = [_mean_steps(reached, trials) for reached, _ in runs]
    return Rehearsal(shares, (min(means), max(means)), max(paused for _, paused in runs) / trials)


def _mean_steps(reached: Mapping[int, int], trials: int) -> float:
    """Average steps a trial: every level is trained by the trials that reach its end."""
    total, before = 0.0, 0
    for step in sorted(reached):
        total += reached[step] * (step - before)
        before = step
    return total / trials


def _rehearse_once(
    problem: Problem, scheduler: Any, trials: int, top: int, seed: int
) -> tuple[dict[int, int], int]:
    """(trials that reached each level, most trials paused at once)."""
    study = Study(
        problem.space,
        problem.objectives,
        searcher="random",
        scheduler=scheduler,
        budget={"trials": trials},
        fidelity=problem.fidelity,
        seed=seed,
    )
    levels = _levels(study, top)
    rng = derive_rng(seed, "rehearsal")
    quality = rng.standard_normal((trials, len(problem.objectives)))
    reached = dict.fromkeys(levels, 0)
    paused = 0
    with study:
        while started := study.next(1):
            for trial in started:
                _imagine(study, trial, levels, quality[trial.number], rng, reached)
            paused = max(paused, sum(t.state.value == "paused" for t in study.history.pending))
        study.finish_paused()
    return reached, paused


def _levels(study: Study, top: int) -> list[int]:
    milestones = getattr(study.scheduler, "milestones", None)
    found = {step for step in milestones(study.problem) if step < top} if milestones else set()
    if not found:
        found = {round(step) for step in np.linspace(1, top, min(top, MOST_LEVELS))}
    return sorted({*found, top})


def _imagine(
    study: Study, trial: Trial, levels: Sequence[int], quality: np.ndarray, rng: Any, reached: dict[int, int]
) -> None:
    """Report one imagined trial until the scheduler ends or pauses it."""
    names = study.problem.metric_names
    constants = {name: 0.0 for expression in study.problem.constraints for name in expression.names}
    for level in levels:
        if level <= trial.step:
            continue
        reached[level] += 1
        luck = rng.standard_normal(len(names)) * math.sqrt(1 - level / levels[-1])
        values = dict(zip(names, map(float, quality + luck), strict=True))
        if study.report(trial, {**constants, **values}, step=level) is not Decision.CONTINUE:
            break
    study.tell(trial)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Ranges (low, high) of what the study takes, None where nothing tells; and what they assume.

    Attributes:
        trials: that will run.
        hours: of wall time.
        cost: of all trials.
        disk_bytes: of checkpoints at once.
        assumptions: in plain words.
    """

    trials: tuple[int, int] | None
    hours: tuple[float, float] | None
    cost: tuple[float, float] | None
    disk_bytes: tuple[int, int] | None
    assumptions: tuple[str, ...]


def estimate(
    problem: Problem,
    found: Probe | None,
    rehearsal: Rehearsal,
    *,
    workers: int,
    keep: int = 1,
    reused: bool = False,
) -> Estimate:
    """What the study takes, as ranges.

    Args:
        problem: of the study.
        found: the probe; None: only the budget speaks.
        rehearsal: of the scheduler.
        workers: trials at once.
        keep: checkpoints that stay.
        reused: one process runs many trials.
    """
    words: list[str] = [f"{workers} trials run at once." if workers > 1 else "One trial runs at a time."]
    one = None if found is None else _trial_seconds(problem, found, rehearsal, words, reused=reused)
    budget = problem.budget
    if one is None:
        hours = None if budget.minutes is None else (0.0, budget.minutes / 60)
        trials = None if budget.trials is None else (budget.trials, budget.trials)
        return Estimate(trials, hours, _cost_limit(problem), None, tuple(words))
    ends = [budget.trials or math.inf, budget.trials or math.inf]
    if budget.minutes is not None:
        words.append(f"The study ends after {budget.minutes:g} minutes at the latest.")
        ends = [min(n, 60 * budget.minutes * workers / s) for n, s in zip(ends, one[::-1], strict=True)]
    price = problem.price_per_hour
    if budget.cost is not None and price:
        words.append(f"The study ends when {budget.cost:g} is spent.")
        ends = [min(n, 3600 * budget.cost / price / s) for n, s in zip(ends, one[::-1], strict=True)]
    low, high = (max(1, round(n)) if math.isfinite(n) else None for n in ends)
    if low is None or high is None:
        return Estimate(None, None, None, None, tuple(words))
    seconds = (high * one[0], low * one[1])
    seconds = (min(seconds), max(seconds))
    once = 0.0 if found is None else found.once_s
    hours = (seconds[0] / workers / 3600, (once + seconds[1] / workers) / 3600)
    if budget.minutes is not None:
        hours = (min(hours[0], budget.minutes / 60), min(hours[1], budget.minutes / 60))
    cost = None if not price else (price * seconds[0] / 3600, price * seconds[1] / 3600)
    if cost is not None and budget.cost is not None:
        cost = (min(cost[0], budget.cost), min(cost[1], budget.cost))
    disk = None
    if found is not None and found.checkpoint_bytes is not None:
        size, held = found.checkpoint_bytes, math.ceil(rehearsal.paused * high)
        disk = (size * keep, size * (keep + 2 * workers + held))
        words.append(
            "A checkpoint is as large as the probe's; running and paused trials hold theirs beside the kept ones."
        )
    return Estimate((low, high), hours, cost, disk, tuple(words))


def _trial_seconds(
    problem: Problem, found: Probe, rehearsal: Rehearsal, words: list[str], *, reused: bool
) -> tuple[float, float] | None:
    """(low, high) seconds of an average trial."""
    if rehearsal.steps is not None:
        low, high = (found.setup_s + steps * found.step_s for steps in rehearsal.steps)
        words.append(
            f"Average trials train {rehearsal.steps[0]:.3g} to {rehearsal.steps[1]:.3g} of {problem.fidelity[1]} "
            "steps, as in a rehearsal of the scheduler with trials of random quality."
        )
    elif found.whole:
        low = high = found.seconds
        words.append("Every trial is as long as the probe, which ran to its end.")
    else:
        words.append("The length of a whole trial is not known: give `scheduler.max`.")
        return None
    words.append(
        f"Other configurations take between {FASTER:g} and {SLOWER:g} times the probe's time; suggesting one takes up "
        f"to {SUGGESTION_S:g} s."
    )
    low, high = FASTER * low, SLOWER * high + SUGGESTION_S
    if reused:
        return low, high
    words.append(f"Every trial starts a process, which takes up to {PROCESS_START_S:g} s more.")
    return low, high + PROCESS_START_S


def _cost_limit(problem: Problem) -> tuple[float, float] | None:
    return None if problem.budget.cost is None else (0.0, problem.budget.cost)


def workers_of(resources: Resources, budget: Budget, *, inline: bool) -> int:
    """Trials at once on this machine: `parallel`, else as many as its CPUs hold."""
    if inline:
        return 1
    fit = resources.parallel or max(1, int((os.cpu_count() or 1) / max(resources.cpus, 1e-9)))
    return min(fit, budget.trials) if budget.trials else fit
