"""The worker's side: runs one attempt of a trial inside a Tune function.

Whatever the trial raises is told as data: nothing is lost to pickling and the process stays usable. Only deaths of
the process reach the driver as errors. One exit is not the trial's: Tune ends a function by `sys.exit` inside its
`report`; it must pass, or the study hangs.
"""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.train._internal.session import get_session

from autosearch.core import Decision, Failure, Job, Objective, Progress, failures
from autosearch.runners import devices, gpu, isolation
from autosearch.runners.checkpoints import Cadence
from autosearch.runners.processes import RUN_MARK, TRIAL_MARK
from autosearch.runners.ray.messages import KEY, Answer, Assignment, Message, Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from autosearch.core.records import Json

# The driver's answer to the report that is being made; set by `deliver`, a call to this process's actor that comes
# before Tune lets the report return, because calls from one process to one actor keep their order.
_mailbox: list[Answer] = []
# Objectives that say they are reusable are unpacked once per process, with the data that they have loaded.
_setups: dict[str, Setup] = {}


def deliver(_trainable: object, answer: Answer) -> None:
    """Run in the worker by the driver: leave the answer to the report under way."""
    _mailbox[:] = [answer]


class Channel:
    """A worker's connection to the driver for one attempt."""

    def __init__(self, assignment: Assignment) -> None:
        self.cut = False
        self._number, self._step = assignment.job.number, assignment.job.step
        self._checkpoints = assignment.checkpoints
        self._data: dict[str, Json] = {}
        self._notes: list[str] = []
        self._cadence = Cadence()
        self._last: Path | None = None
        # Tune's own report: while a user's function runs, another one stands in its place.
        session: Any = get_session()
        self._send: Callable[[dict[str, Any]], None] = session.report
        _mailbox.clear()

    def report(self, progress: Progress) -> Decision:
        """Tell the driver and return what the study decides."""
        self._step = self._step + 1 if progress.step is None else progress.step
        self._data.update(progress.data)
        saved = self._save(progress) if progress.must_save or self._cadence.due else None
        notes, self._notes = tuple(self._notes), []
        message = Message(dict(progress.metrics), self._step, saved, notes=notes)
        _mailbox.clear()
        self._exchange(message)
        answer = _mailbox.pop() if _mailbox else Answer()
        self._last = self._save(progress) if answer.save and saved is None else None
        return answer.decision

    def end(self, result: Progress | None, failure: Failure | None) -> None:
        """Tell the end of the attempt. Tune then ends the function inside this call."""
        if result is not None:
            self._data.update(result.data)
        message = Message(
            dict(result.metrics) if result is not None and result.metrics else None,
            checkpoint=self._last,
            data=self._data,
            ended=True,
            failure=failure,
            notes=tuple(self._notes),
        )
        # `done` spares Tune one round trip to learn that the function has returned.
        self._exchange(message, done=True)

    def _exchange(self, message: Message, **extra: bool) -> None:
        try:
            self._send({KEY: message, **extra})
        except SystemExit:
            self.cut = True
            raise

    def _save(self, progress: Progress) -> Path | None:
        if progress.save is None or self._checkpoints is None:
            return None
        target = self._checkpoints / f"step_{self._step:08d}"
        try:
            return self._cadence.save(progress.save, target)
        except OSError as error:
            # A full disk must not cost the training that is done: without it, the trial can only start earlier again.
            self._notes.append(
                f"trial {self._number}: no checkpoint at step {self._step}, {type(error).__name__}: {error}"
            )
            return None


def work(reference: Any, assignment: Assignment) -> None:
    """Run one attempt and tell the driver everything about it.

    Args:
        reference: of the Setup in Ray's object store.
        assignment: the attempt.
    """
    channel = Channel(assignment)
    try:
        setup = _unpacked(reference)
    except Exception as error:  # noqa: BLE001 - the training code cannot be imported here: a result like any other
        channel.end(None, failures.from_exception(error))
        return
    result, failure = _attempt(setup, assignment, channel)
    channel.end(result, failure)


def _attempt(
    setup: Setup, assignment: Assignment, channel: Channel
) -> tuple[Progress | None, Failure | None]:
    """Run the objective, limited and set apart from other trials; its result, or its failure."""
    job = assignment.job
    log = None if setup.logs is None else setup.logs / f"trial_{job.number:05d}.log"
    extra = {TRIAL_MARK: assignment.identity, RUN_MARK: setup.run}
    seconds = None if setup.limits.minutes is None else 60 * setup.limits.minutes
    result: Progress | None = None
    failure: Failure | None = None
    with (
        isolation.time_limit(seconds, setup.notes / f"{assignment.identity}.trace"),
        isolation.MemoryLimit(setup.limits.memory_gb, setup.notes / f"{assignment.identity}.memory"),
        isolation.redirected(log),
        isolation.separated(setup.cpus, extra),
        devices.offered(setup.cpus, setup.gpus, job.seed),
    ):
        if Path(setup.cwd).is_dir():
            os.chdir(setup.cwd)
        try:
            result = _drive(setup, assignment, channel)
        except BaseException as error:
            if channel.cut:
                raise
            failure = failures.from_exception(error)
    if log is not None:
        _settle_log(log, keep=setup.keep_logs or failure is not None)
    return result, failure


def _unpacked(reference: Any) -> Setup:
    """The Setup; one that is to be reused keeps what its objective has loaded."""
    key = reference.hex()
    if key not in _setups:
        setup: Setup = ray.get(reference)
        if not setup.reuse:
            return setup
        _setups.clear()
        _setups[key] = setup
    return _setups[key]


def _drive(setup: Setup, assignment: Assignment, channel: Channel) -> Progress | None:
    """Run the objective to its end; the result, where it has one besides its last report."""
    if 0 < setup.gpus < 1:
        gpu.cap_memory(setup.gpus)
    objective, job = setup.objective, assignment.job
    prepare = getattr(objective, "prepare", None)
    if prepare is not None:
        prepare()
    isolation.seed_everything(job.seed)
    drive: Callable[..., Progress | None] | None = getattr(objective, "drive", None)
    return _pull(objective, job, channel) if drive is None else drive(job, channel.report)


def _pull(objective: Objective, job: Job, channel: Channel) -> Progress | None:
    generator = objective.run(job)
    with contextlib.closing(generator):
        try:
            progress = next(generator)
            while True:
                if not isinstance(progress, Progress):
                    raise TypeError(f"an objective yields Progress, got {type(progress).__name__}.")
                decision = channel.report(progress)
                if decision is not Decision.CONTINUE:
                    return None
                progress = generator.send(decision)
        except StopIteration as end:
            result: Progress | None = end.value
            return result


def _settle_log(log: Path, *, keep: bool) -> None:
    if keep and log.exists() and log.stat().st_size:
        isolation.trim_log(log)
    else:
        log.unlink(missing_ok=True)
