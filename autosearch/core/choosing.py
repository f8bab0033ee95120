"""What runs next: pure functions of the history, and of the searcher or scheduler that is asked."""

import json
from pathlib import Path

from autosearch.core.errors import SpaceError, StudyError
from autosearch.core.history import History
from autosearch.core.protocols import Job, Scheduler, Searcher
from autosearch.core.records import Suggestion, Trial
from autosearch.core.seeds import derive_seed
from autosearch.space import Config, Value


def room(history: History) -> int:
    """How many trials may still begin."""
    limit = history.problem.budget.trials
    return 10**9 if limit is None else max(0, limit - len(history))


def scheduled(scheduler: Scheduler, history: History, n: int) -> list[Suggestion]:
    """What the scheduler wants to run next, at most `n`; of new trials as many as the budget has room for."""
    chosen: list[Suggestion] = []
    left = room(history)
    for suggestion in scheduler.propose(history, n)[:n]:
        if suggestion.resume is None:
            if not left:
                continue
            left -= 1
        chosen.append(suggestion)
    return chosen


def searched(searcher: Searcher, history: History, n: int) -> list[Suggestion]:
    """The space's first configurations, then what the searcher suggests, at most `n`."""
    n = min(n, room(history))
    first = _untried_first(history)[:n]
    if first:
        return [Suggestion(config, info={"reason": "first"}) for config in first]
    return searcher.suggest(history, n)[:n] if n else []


def _untried_first(history: History) -> list[Config]:
    """The space's first configurations that no trial has, however many were queued by hand before."""
    space = history.problem.space
    left = {space.key(config): config for config in space.first}
    for trial in history:
        if not left:
            break
        left.pop(space.key(trial.config), None)
    return list(left.values())


def checked(suggestion: Suggestion, history: History, source: str) -> dict[str, Value]:
    """The whole configuration of a suggestion for a new trial.

    Args:
        suggestion: not one that thaws a trial.
        history: that it was made from.
        source: who made it, for errors.

    Raises:
        StudyError: if it breaks the space's rules or names a parent without a checkpoint.
    """
    try:
        config = history.problem.space.validate(suggestion.config)
    except SpaceError as error:
        raise StudyError(f"{source} suggested a configuration outside the space: {error}") from error
    parent = suggestion.parent
    if parent is not None and not (0 <= parent < len(history) and history[parent].checkpoint):
        raise StudyError(f"{source} named trial {parent} as parent, which has no checkpoint.")
    return config


def job_of(trial: Trial, history: History, folder: Path | None) -> Job:
    """What a worker needs to run the present attempt of `trial`.

    The seed depends on the study's seed and the configuration, so a trial is reproduced in any order and in any
    study; a configuration that is tried again gets another one.
    """
    source = trial.checkpoint
    if source is None and trial.parent is not None:
        source = history[trial.parent].checkpoint
    repeats = sum(other.config == trial.config for other in history[: trial.number])
    config = json.dumps(trial.config, sort_keys=True)
    return Job(
        number=trial.number,
        config=trial.nested,
        seed=derive_seed(history.problem.seed, "trial", config, repeats),
        folder=folder,
        checkpoint=None if source is None else Path(source),
        step=trial.transitions[-1].step,
        until=trial.until if trial.until is not None else history.problem.fidelity[1],
        attempt=len(trial.attempts),
        reported=trial.step,
    )
