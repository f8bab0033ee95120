"""Stages: studies of their own, finished in order of need before the first trial of the study, or after its last."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from autosearch.core.errors import StudyError
from autosearch.core.history import LAST, History
from autosearch.core.protocols import Job, Objective, Runner, Stage
from autosearch.core.ranking import best_trials
from autosearch.core.records import Problem, Trial

if TYPE_CHECKING:
    from autosearch.core.study import Study


def ordered(stages: Sequence[Stage]) -> list[Stage]:
    """Stages so that each stands behind those it needs, else in the order given.

    Raises:
        StudyError: for a name given twice, an unknown need, or needs that form a circle.
    """
    by_name = {stage.name: stage for stage in stages}
    if len(by_name) != len(stages):
        raise StudyError(f"stages: every name once, got {[stage.name for stage in stages]}.")
    done: dict[str, Stage] = {}
    left = list(stages)
    while left:
        ready = next((stage for stage in left if all(name in done for name in stage.needs)), None)
        if ready is None:
            raise StudyError(f"stages {[stage.name for stage in left]} need each other or an unknown stage.")
        done[ready.name] = ready
        left.remove(ready)
    return list(done.values())


def stages_of(study: "Study", objective: Objective) -> list[Stage]:
    """The stages that the study's searcher and objective ask for, in order."""
    found: list[Stage] = []
    for part in (study.searcher, objective):
        if hasattr(part, "stages"):
            found += part.stages(study.problem)
    if hasattr(study.searcher, "stages_for"):
        found += study.searcher.stages_for(study.problem, objective)
    return ordered(found)


def staged(objective: Objective, histories: Mapping[str, History]) -> Objective:
    """The objective with what finished stages found, where it asks for that."""
    return objective.staged(histories) if hasattr(objective, "staged") else objective


def run_stages(study: "Study", objective: Objective, runner: Runner) -> None:
    """Finish every stage with `runner`, and hang its history into the study's.

    A stage goes on where an earlier session left it; one whose budget is spent costs a look at its record.
    """
    for stage in stages_of(study, objective):
        if study.out_of_time:
            return
        sub = open_stage(study, stage)
        study.history.stages = {**study.history.stages, stage.name: sub.history}
        if not sub.budget_spent:
            runner.run(sub, staged(stage.objective, study.history.stages))


def winner(history: History) -> Trial | None:
    """The trial that a last stage goes on from: the incumbent; of a front the one that adds the most hypervolume."""
    return next(iter(best_trials(history, 1)), None)


def last_stages(history: History) -> dict[int, History]:
    """Histories of the last stages so far, by the number of the trial that each went on from."""
    return {
        int(name.removeprefix(LAST)): stage for name, stage in history.stages.items() if name.startswith(LAST)
    }


def last_of_winner(history: History) -> tuple[Trial, History, Trial] | None:
    """The winner, the last stage that went on from it, and what that stage chose; None where there is none."""
    best = winner(history)
    stage = None if best is None else last_stages(history).get(best.number)
    found = None if stage is None else winner(stage)
    return None if best is None or stage is None or found is None else (best, stage, found)


def run_last(study: "Study", last: Callable[[Job], Stage], runner: Runner) -> None:
    """Finish the stage that goes on from the winner, once the study itself is over; its budget is its own.

    A winner that a larger budget finds later gets a last stage of its own.

    Raises:
        StudyError: if the winner has no checkpoint.
    """
    best = winner(study.history)
    if best is None:
        study.note("there is no last stage: no feasible trial is complete.")
        return
    job = study.job(best)
    if job.checkpoint is None or not job.checkpoint.is_dir():
        raise StudyError(
            f"finally: the winner, trial {best.number}, has no checkpoint to go on from. It needs an output folder and "
            "keep.checkpoints of at least 1."
        )
    stage = last(job)
    sub = open_stage(study, stage)
    sub.parent = None  # its time is not the study's, which may be spent
    study.history.stages = {**study.history.stages, stage.name: sub.history}
    if not sub.budget_spent:
        runner.run(sub, staged(stage.objective, study.history.stages))


def stage_problem(study: "Study", stage: Stage) -> Problem:
    """What a stage of the study solves."""
    return Problem(
        space=stage.space,
        objectives=tuple(stage.goals),
        constraints=stage.constraints,
        budget=stage.budget,
        workers=study.problem.workers,
        seed=study.problem.seed,
        price_per_hour=study.problem.price_per_hour,
    )


def open_stage(study: "Study", stage: Stage) -> "Study":
    """The stage as a Study over the same record."""
    from autosearch.core.study import Study

    problem = stage_problem(study, stage)
    sub = Study(
        stage.space,
        problem.objectives,
        constraints=problem.constraints,
        searcher=stage.searcher,
        budget=stage.budget,
        seed=problem.seed,
        workers=problem.workers,
        price_per_hour=problem.price_per_hour,
        retries=study.retries,
        record=study.record.open_stage(stage.name, problem),
    )
    sub.parent, sub.least_kept = study, stage.keep
    sub.listeners.extend(study.listeners)
    return sub
