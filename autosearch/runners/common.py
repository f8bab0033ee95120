"""What all runners share: when a study is over, when an attempt is, and how Ctrl-C and SIGTERM are taken."""

import dataclasses
import math
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from autosearch.core import Failure, Job, Limits, Objective, Study, Trial

GRACE_S = 10.0
Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


def next_trials(study: Study, n: int, *, idle: bool) -> list[Trial]:
    """Up to `n` trials to run now. None while `idle`: the study is over, for now or for good.

    Args:
        study: under way.
        n: free workers.
        idle: whether no trial runs.
    """
    while True:
        trials = study.next(n)
        if trials or not idle:
            return trials
        thawed = thaw_or_finish(study, n)
        if thawed is not None:
            return thawed


def thaw_or_finish(study: Study, n: int) -> list[Trial] | None:
    """What becomes of paused trials where nothing runs and the study has nothing more to give.

    Nothing can change by itself any more. So the scheduler is asked which paused trial it would thaw if no new trial
    could begin; those that it leaves end as stopped. Where time or cost is spent, paused trials stay paused: a larger
    budget goes on with them.

    Returns:
        Up to `n` thawed trials; none where the study is over; None where paused ones ended, which is news to
        scheduler and searcher: the study is to be asked once more.
    """
    if study.out_of_time:
        return []
    budget = dataclasses.replace(study.problem.budget, trials=len(study.history))
    closed = study.history.with_problem(dataclasses.replace(study.problem, budget=budget))
    thawing = [s for s in study.scheduler.propose(closed, n) if s.resume is not None]
    if thawing:
        return study.start(thawing)
    return None if study.finish_paused() else []


def last_step(objective: Objective, job: Job) -> float:
    """Fidelity at which the attempt is known to be complete, inf where its end is not known."""
    ends = (job.until, getattr(objective, "max_step", None))
    return min((end for end in ends if end is not None), default=math.inf)


def overdue(limits: Limits, seconds: float) -> Failure | None:
    """The failure of an attempt that has run for `seconds`, if it is past its limit."""
    if limits.minutes is None or seconds <= 60 * limits.minutes:
        return None
    return Failure("timeout", f"ran for {seconds / 60:.2g} minutes; limits.minutes is {limits.minutes:g}.")


class Interrupts:
    """Takes the first Ctrl-C, or SIGTERM, as a wish (`requested`), the next, or one 10 s later, as KeyboardInterrupt.

    So an objective comes as far as its next report, where its state can be saved: by Ctrl-C people end a study, by
    SIGTERM schedulers of clusters and container engines do, some seconds before they kill it. Works in the main thread
    and only in place of Python's own handlers; otherwise the signals do what the surrounding program has them do.
    """

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self.requested = False
        self._grace_s = grace_s
        self._timer: threading.Timer | None = None
        self._replaced: list[tuple[signal.Signals, Handler]] = []

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number, usual in _USUAL.items():
                if signal.getsignal(number) is usual:
                    signal.signal(number, self._take)
                    self._replaced.append((number, usual))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, usual in self._replaced:
            signal.signal(number, usual)
        self._replaced.clear()

    def _take(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # A real signal, not a flag: it also ends a sleep or a read that the objective hangs in.
        self._timer = threading.Timer(self._grace_s, os.kill, (os.getpid(), signum))
        self._timer.daemon = True
        self._timer.start()


# Both are asked for by identity: a handler that the surrounding program has set stays.
_USUAL: dict[signal.Signals, Handler] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
