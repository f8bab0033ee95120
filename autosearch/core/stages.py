"""Stages: studies of their own that are finished, in order of need, before the first trial of the study."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autosearch.core.errors import StudyError
from autosearch.core.history import History
from autosearch.core.protocols import Objective, Runner, Stage
from autosearch.core.records import Problem

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


def open_stage(study: "Study", stage: Stage) -> "Study":
    """The stage as a Study over the same record."""
    from autosearch.core.study import Study

    problem = Problem(
        space=stage.space,
        objectives=tuple(stage.goals),
        budget=stage.budget,
        workers=study.problem.workers,
        seed=study.problem.seed,
        price_per_hour=study.problem.price_per_hour,
    )
    sub = Study(
        stage.space,
        problem.objectives,
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
