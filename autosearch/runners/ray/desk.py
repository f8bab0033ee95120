"""The driver's side: what Tune asks and tells, turned into calls to the Study.

Everything here runs in the driver's thread, inside Tune's loop. What goes wrong in it must not look like a trial's
failure to Tune: it is kept, the Tuner is ended, and the runner raises it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import ray
from ray import tune
from ray.tune.search import Searcher

from autosearch.core import Decision, Failure, Study, StudyError, Trial, failures
from autosearch.runners.checkpoints import CheckpointStore
from autosearch.runners.common import Interrupts, last_step, thaw_or_finish
from autosearch.runners.processes import TRIAL_MARK, end_marked
from autosearch.runners.ray import deaths
from autosearch.runners.ray.messages import KEY, Answer, Assignment, Message, Setup
from autosearch.runners.ray.planner import Planner
from autosearch.runners.ray.worker import deliver

TRIALS_PER_TUNER = 300
# Ctrl-C must end the driver within 15 s; ending the session takes two or three of them.
LEAVE_S = 7.0
# The worker ends itself at its limit, with a trace; this is for one that cannot.
KILL_AFTER_S = 2.0
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class Seat:
    """A worker's place: the attempt that is under way on one of Tune's trials.

    Attributes:
        number: of the trial.
        identity: of the attempt.
        end_step: fidelity at which it is known to be complete.
        started: monotonic time at which its process was ready.
        leaving: whether it was told to save and make room.
        killed: whether it was ended for its time limit.
        tune_trial: Tune's.
    """

    number: int
    identity: str
    end_step: float
    started: float | None = None
    leaving: bool = False
    killed: bool = False
    tune_trial: Any = None


def guarded(
    fallback: R,
) -> Callable[[Callable[Concatenate["Desk", P], R]], Callable[Concatenate["Desk", P], R]]:
    """Keeps what the method raises for the runner and answers Tune with `fallback`."""

    def decorate(method: Callable[Concatenate["Desk", P], R]) -> Callable[Concatenate["Desk", P], R]:
        def call(desk: "Desk", /, *args: P.args, **kwargs: P.kwargs) -> R:
            if desk.error is not None:
                return fallback
            try:
                return method(desk, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - raised again by the runner, outside Tune
                desk.error = error
                return fallback

        return call

    return decorate


class Desk:
    """Hands out trials and takes results for one Tuner.

    Args:
        study: driven.
        setup: what all attempts share.
        store: of its checkpoints.
        planner: of its suggestions.
        interrupts: Ctrl-C.
        slots: trials at once.
        generation: of the Tuner within the run.
    """

    def __init__(
        self,
        study: Study,
        setup: Setup,
        store: CheckpointStore,
        planner: Planner,
        interrupts: Interrupts,
        *,
        slots: int,
        generation: int,
    ) -> None:
        self._study, self._setup, self._store, self._planner = study, setup, store, planner
        self._interrupts, self._slots, self._generation = interrupts, slots, generation
        self._seats: dict[str, Seat] = {}
        self._ready: list[Trial] = []
        self._handed = 0
        self._leave_by: float | None = None
        self.error: Exception | None = None
        self.over = False

    # -- handing out ---------------------------------------------------------------------------------------

    @guarded(Searcher.FINISHED)
    def suggest(self, tune_id: str) -> Any:
        """The next attempt for Tune, None for "not now", or FINISHED."""
        if self._leave_by is not None or (self._handed >= TRIALS_PER_TUNER and not self._ready):
            return Searcher.FINISHED
        while (trial := self._next()) is not None:
            try:
                job = self._store.job(trial)
            except StudyError as error:  # its parent's checkpoint is gone
                self._study.fail(trial.number, failures.from_exception(error))
                continue
            self._handed += 1
            identity = f"{trial.number:05d}-{job.attempt}-{self._generation}-{self._handed}"
            folder = self._store.path(trial.number, 0).parent if self._store.enabled else None
            self._seats[tune_id] = Seat(trial.number, identity, last_step(self._setup.objective, job))
            return {KEY: Assignment(job, identity, folder)}
        return None if self._seats else Searcher.FINISHED

    def _next(self) -> Trial | None:
        while not self._ready:
            self._ready = self._ask()
            if self._ready or self._seats:
                break
            if self._notice_end():
                return None
            # Nothing runs, so nothing but the thread that makes suggestions can change the answer.
            if self._planner.exhausted:
                thawed = thaw_or_finish(self._study, self._slots)
                if thawed == []:
                    self.over = True
                    return None
                self._ready = thawed or []
        return self._ready.pop(0) if self._ready else None

    def _ask(self) -> list[Trial]:
        study, free = self._study, self._slots - len(self._seats)
        waiting = study.begin_waiting(free)
        if waiting or study.out_of_time:
            return waiting
        scheduled = study.start(study.propose_scheduled(study.history, free))
        return scheduled or self._planner.next(free, idle=not self._seats)

    # -- messages ------------------------------------------------------------------------------------------

    @guarded(None)
    def on_start(self, tune_trial: Any) -> None:
        """The process of an attempt is ready."""
        seat = self._seats.get(tune_trial.trial_id)
        if seat is not None:
            seat.started, seat.tune_trial = time.monotonic(), tune_trial

    @guarded(None)
    def on_message(self, tune_trial: Any, message: Message) -> None:
        """A worker's report, or the end of its attempt."""
        seat = self._seats.get(tune_trial.trial_id)
        if seat is None:
            return  # of an attempt that was given up
        for note in message.notes:
            self._study.note(note)
        if message.ended:
            self._end(tune_trial.trial_id, seat, message)
            return
        answer = self._report(seat, message)
        if answer != Answer():
            actor = tune_trial.temporary_state.ray_actor
            actor.__ray_call__.remote(deliver, answer)

    def _report(self, seat: Seat, message: Message) -> Answer:
        study, metrics = self._study, dict(message.metrics or {})
        trial = study.history[seat.number]
        decision = study.report(seat.number, metrics, step=message.step, checkpoint=message.checkpoint)
        if message.checkpoint is not None:
            self._store.recorded(study.history[seat.number])
        if decision is Decision.CONTINUE and self._leave_by is not None:
            seat.leaving = True
            return Answer(Decision.STOP, save=True)
        at_end = (message.step or 0) >= seat.end_step
        save = decision is Decision.PAUSE
        if at_end or decision is Decision.STOP:
            save = message.checkpoint is None and self._store.worth_keeping(trial, metrics)
        return Answer(decision, save)

    def _end(self, tune_id: str, seat: Seat, message: Message) -> None:
        del self._seats[tune_id]
        study = self._study
        if message.failure is not None:
            study.fail(seat.number, message.failure)
        elif seat.leaving:
            study.interrupt(seat.number, checkpoint=message.checkpoint)
        else:
            study.tell(seat.number, message.metrics, checkpoint=message.checkpoint, data=message.data)
        self._store.release(seat.number)
        self._planner.prepare()

    @guarded(None)
    def on_death(self, tune_trial: Any) -> None:
        """The process of an attempt died."""
        seat = self._seats.pop(tune_trial.trial_id, None)
        if seat is None:
            return
        end_marked(TRIAL_MARK, seat.identity)
        failure = deaths.explain(tune_trial, self._setup.notes, seat.identity)
        if self.cut:
            self._study.interrupt(seat.number)
            self._store.release(seat.number)
            return
        if seat.killed or failure.cause == "timeout":
            limit = self._setup.limits.minutes or 0.0
            failure = Failure("timeout", f"ran longer than limits.minutes ({limit:g}).", failure.traceback)
        self._study.fail(seat.number, failure)
        self._store.release(seat.number)
        self._planner.prepare()

    # -- time ----------------------------------------------------------------------------------------------

    @guarded(None)
    def on_tick(self) -> None:
        """Called some ten times a second."""
        if not self._notice_end() and len(self._seats) == self._slots:
            self._planner.prepare()
        if self.cut:
            # Otherwise Tune waits some seconds for processes that do not listen.
            for seat in self._seats.values():
                _kill(seat)
        if self._setup.limits.minutes is None:
            return
        late = time.monotonic() - 60 * self._setup.limits.minutes - KILL_AFTER_S
        for seat in self._seats.values():
            if seat.started is not None and seat.started < late and not seat.killed:
                seat.killed = True
                _kill(seat)

    def _notice_end(self) -> bool:
        """Whether running trials are to save and make room: Ctrl-C, or time or money is spent."""
        if self._leave_by is None and (self._interrupts.requested or self._study.out_of_time):
            if self._interrupts.requested:
                self._study.note(f"ending: what runs is saved at its next report, within {LEAVE_S:g} s.")
            self._leave_by = time.monotonic() + LEAVE_S
            self.over = True
        return self._leave_by is not None

    @property
    def cut(self) -> bool:
        """Whether Tune is to end whatever runs."""
        if self.error is not None:
            return True
        return self._leave_by is not None and time.monotonic() >= self._leave_by

    def settle(self) -> None:
        """After the Tuner: let go of every trial that it left unfinished."""
        for seat in self._seats.values():
            _kill(seat)
            end_marked(TRIAL_MARK, seat.identity)
        for number in [*(seat.number for seat in self._seats.values()), *(t.number for t in self._ready)]:
            self._study.interrupt(number)
            self._store.release(number)
        self._seats.clear()
        self._ready.clear()


def _kill(seat: Seat) -> None:
    actor = None if seat.tune_trial is None else seat.tune_trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor)


class _Unpickled:
    """Tune pickles and copies what it is given; ours hold locks, and nothing is ever restored from Tune's files."""

    def __reduce__(self) -> Any:
        return (object, ())

    def __deepcopy__(self, memo: Any) -> Any:
        return self


class DeskSearcher(_Unpickled, Searcher):
    """Tune's view of the desk as a search algorithm."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk

    def suggest(self, trial_id: str) -> Any:
        return self._desk.suggest(trial_id)

    def on_trial_complete(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the desk knows from the worker's last message."""

    def save(self, *args: Any) -> None:
        """Nothing: what there is to restore is in the record."""

    def restore(self, *args: Any) -> None:
        """Nothing, see `save`."""


class DeskCallback(_Unpickled, tune.Callback):
    """Tune's view of the desk as a listener."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:  # noqa: ARG002
        self._desk.on_tick()

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        self._desk.on_start(trial)

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:  # noqa: ARG002
        self._desk.on_message(trial, result[KEY])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        self._desk.on_death(trial)


class DeskStopper(_Unpickled, tune.Stopper):
    """Tune's view of the desk as a stopper: ends everything, never one trial."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __call__(self, trial_id: str, result: Any) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        return self._desk.cut
