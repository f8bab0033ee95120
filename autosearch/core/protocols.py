"""The seams: small protocols that rooms, methods and users' own classes fill.

Every plug-in class is found by name through an entry point (see `plugins`) and built from keyword options. What it
may also have, besides the methods named here, is read with `getattr` and stated in the docstrings.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from autosearch.core import arguments
from autosearch.core.errors import StudyError
from autosearch.core.history import History
from autosearch.core.records import Budget, Decision, Json, Problem, Suggestion, Trial
from autosearch.space import Config, Expression, SearchSpace

if TYPE_CHECKING:
    import numpy as np

    from autosearch.core.settings import RunSettings
    from autosearch.core.study import Study


@runtime_checkable
class Searcher(Protocol):
    """Says what runs next, as a function of the history alone.

    Optional attributes:
        predictor(history) -> Predictor: of a searcher with a surrogate.
        stages(problem) -> Sequence[Stage]: work to finish before the first own trial.
        stages_for(problem, objective) -> Sequence[Stage]: the same, of work that uses what the trials run.
        needs_checkpoints(history) -> set[int]: trials whose last checkpoint it may name as a `parent`.
        check(problem) -> None: raises OptionError or SpaceError where it cannot work on the problem.
    """

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """Up to `n` suggestions.

        Called whenever workers are free. An empty list means "nothing now"; if no trial is unfinished either, the
        study ends (the space is exhausted). Must not change anything that a later answer depends on: a fresh
        instance asked with the same history gives the same suggestions.
        """
        ...


@runtime_checkable
class Scheduler(Protocol):
    """Says which running trials go on, pause or stop, and which paused ones go on.

    Optional attributes:
        milestones(problem) -> Sequence[int]: steps whose reports are always kept (rungs).
        needs_checkpoints(history) -> set[int]: trials whose last checkpoint it may name as a `parent`.
        check(problem) -> None: raises OptionError where it cannot work on the problem.
    """

    def decide(self, history: History, trial: Trial) -> Decision:
        """Called after each kept report of `trial`, which stands in `history` with that report last."""
        ...

    def propose(self, history: History, n: int) -> list[Suggestion]:
        """Up to `n` suggestions that thaw a paused trial (`resume`) or start from another's checkpoint (`parent`).

        Asked before the searcher. Empty where it has nothing to say.
        """
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What an objective yields while it trains.

    Attributes:
        metrics: numbers by name.
        step: fidelity reached; None counts the reports.
        save: writes a checkpoint of this moment into an existing empty folder; called, if at all, before the
            objective is resumed. None where it has none.
        data: JSON to keep with the trial besides numbers; later mappings are merged over earlier ones.
        seconds: time that the step took, for simulated objectives; None: the runner's own clock.
        must_save: the training code wants this checkpoint kept, whatever it costs to write.

    Raises:
        StudyError: if `metrics` is no mapping, `step` no whole number of at least 0, or `data` no JSON. Raised where
            the training code made it, so that it fails its trial and not the study.
    """

    metrics: Mapping[str, float]
    step: int | None = None
    save: Callable[[Path], None] | None = None
    data: Mapping[str, Json] = field(default_factory=dict)
    seconds: float | None = None
    must_save: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.metrics, Mapping):
            raise StudyError(f"metrics are a mapping of names to numbers, got {type(self.metrics).__name__}.")
        if self.step is not None:
            object.__setattr__(self, "step", arguments.step(self.step))
        problem = arguments.json_problem(self.data, "data")
        if problem is not None:
            raise StudyError(f"{problem}; only JSON can be recorded (numbers, text, lists, mappings).")


@dataclass(frozen=True, slots=True)
class Job:
    """What one attempt of a trial is given.

    Attributes:
        number: of the trial.
        config: nested, as training code takes it.
        seed: of the trial, from the study's seed and the configuration (and how often it was tried before).
        folder: the trial's own folder, kept between attempts; made by the first to write into it. None where nothing
            may be written.
        checkpoint: folder of the checkpoint to go on from, None to start afresh.
        step: fidelity of that checkpoint, 0 without.
        until: fidelity at which the trial will be complete, None for the objective's natural end.
        attempt: from 0.
        reported: step of the last report that the record holds, 0 without; past `step` where an attempt was lost.
    """

    number: int
    config: Mapping[str, Any]
    seed: int
    folder: Path | None = None
    checkpoint: Path | None = None
    step: int = 0
    until: int | None = None
    attempt: int = 0
    reported: int = 0


@runtime_checkable
class Objective(Protocol):
    """One trial as a generator of reports.

    Optional attributes:
        max_step: fidelity at the natural end (a scheduler's default `max`).
        stages(problem) -> Sequence[Stage].
        staged(histories) -> Objective: the same objective with what finished stages found, by name of the stage;
            asked before the study's own trials, and of a stage's objective before that stage.
        check(problem) -> None: raises an AutosearchError where it cannot run the problem's space or metrics.
        reusable: True where one process may run many trials one after the other without leaking state.
        prepare() -> None: imports what a trial needs; called in the worker before its random states are seeded.
        drive(job, report) -> Progress | None: the same trial as a call that hands each progress to `report` and gets
            the decision back; for code that cannot be suspended. Runners with processes of their own prefer it.
        finish(job) -> Mapping[str, float]: metrics measured once for the chosen trial (test metrics).

    Optional attributes of the class, for a task that `finally` may name:
        from_winner: names of the arguments that the winner of a study gives.
        after(objective, job) -> Mapping[str, Any]: those arguments, static; `job` is the winner's, with its checkpoint
            (none while a study file is checked).
    """

    def run(self, job: Job) -> Generator[Progress, Decision, Progress | None]:
        """Train and yield progress; each yield returns the study's decision.

        After PAUSE or STOP the generator is closed by the runner (its `finally` blocks run). The last progress is
        the result, unless another one is returned: its metrics, if it has any, then are. Whatever it raises is the
        trial's failure.
        """
        ...


@runtime_checkable
class Learner(Protocol):
    """A training process that can be stepped, adjusted, and rewound exactly.

    `restore(snapshot())` is the identity, random state and data position included.
    """

    def advance(self, steps: int) -> Mapping[str, float]:
        """Train for `steps` optimizer steps and return mean training metrics."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Validation metrics; changes no state that training depends on."""
        ...

    def adjust(self, values: Mapping[str, float]) -> None:
        """Set tunable values such as `lr`, `weight_decay`."""
        ...

    def snapshot(self) -> Mapping[str, Any]:
        """All state, detached from later training."""
        ...

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to `snapshot`."""
        ...


class Runner(Protocol):
    """Owns the loop, the workers and the clock. Built as `Runner(settings: RunSettings, **options)`.

    Optional: close() -> None lets go of what it holds between runs (worker processes); called once at the end.
    """

    def __init__(self, settings: "RunSettings") -> None: ...

    def run(self, study: "Study", objective: Objective) -> None:
        """Run trials until the study says it is over; leaves every trial finished or resumable."""
        ...


@runtime_checkable
class Record(Protocol):
    """The one truth of a study. Written by its driver alone, through the Study.

    Attributes:
        location: what a person needs to find it again (an absolute path, an URL without password).
        name: of the study in the storage.
        existed: whether the storage held the study already when it was opened.
    """

    location: str
    name: str
    existed: bool

    def begin(self, trial: Trial) -> None:
        """Write a new trial, queued or running. Durable when it returns."""
        ...

    def report(self, trial: Trial) -> None:
        """Write the last report of `trial`."""
        ...

    def amend(self, trial: Trial) -> None:
        """Write a changed state, checkpoint, attempt, `until` of an unfinished trial."""
        ...

    def finish(self, trial: Trial) -> None:
        """Write the end of `trial`. Durable when it returns; never changes again."""
        ...

    def history(self) -> History:
        """Everything, read back."""
        ...

    def notes(self) -> dict[str, Json]:
        """What `note` has stored for the study."""
        ...

    def note(self, name: str, value: Json) -> None:
        """Store a JSON value with the study (resolved study file, versions, state)."""
        ...

    def open_stage(self, name: str, problem: Problem) -> "Record":
        """The record of a stage: a study `NAME/STAGE` in the same storage, under the same lock."""
        ...

    def stages(self) -> dict[str, History]:
        """Histories of all stages recorded so far, by name."""
        ...

    def close(self) -> None:
        """Let go of locks; safe to call twice."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """What a searcher with a surrogate returns from `predictor(history)`. Unsigned: values as users measure them."""

    def predict(self, configs: Sequence[Config]) -> tuple["np.ndarray", "np.ndarray"]:
        """Mean and standard deviation, each (n, m)."""
        ...

    def cross_validate(self) -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
        """Observed, predicted mean and standard deviation of left-out trials, each (n, m)."""
        ...

    def importances(self) -> dict[str, float]:
        """Share of the variation that each searched parameter explains, summing to 1."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """Work that does not measure the study's objectives: a study of its own, finished before the first own trial.

    Attributes:
        name: unique within the study; recorded as `STUDY/NAME`.
        space: of its trials.
        objective: what they run.
        searcher: name, mapping or Searcher.
        budget: of the stage.
        goals: its objectives; none for trials that only leave data.
        needs: names of stages finished first.
        constraints: on the outcomes of its trials.
        keep: how many of its best trials keep their checkpoint, where that is more than the study keeps.
    """

    name: str
    space: SearchSpace
    objective: Objective
    searcher: "str | Mapping[str, Any] | Searcher" = "grid"
    budget: Budget = field(default_factory=Budget)
    goals: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ()
    constraints: tuple[Expression, ...] = ()
    keep: int = 0
