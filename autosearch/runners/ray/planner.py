"""Suggestions from a thread of their own, so that a surrogate's fit never keeps a result waiting.

The thread gets a snapshot of the history and gives suggestions back; only the driver's thread touches the study.
A suggestion made before the latest event is *stale*. It is thrown away and asked for again, but where a worker would
wait for that longer than 2 % of the median trial (one second at most), it is used and says so in its `info`. Where the
latest suggestion took longer than that to make, the next one is made while all workers are busy, and used at once. With
one worker nothing is made ahead: each suggestion then is a function of the whole history.
"""

import dataclasses
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

from autosearch.core import State, Study, Suggestion, Trial

PATIENCE_SHARE = 0.02
PATIENCE_S = 1.0
# A quick searcher answers within this; results can wait as long.
_QUICK_S = 0.02
_LOOK_S = 0.1  # after which Tune asks again


@dataclass(frozen=True, slots=True)
class Plan:
    """Suggestions, how many events and trials their history held, and how long they took."""

    suggestions: Sequence[Suggestion]
    events: int
    trials: int
    seconds: float


class Planner:
    """Asks the study's searcher for one runner.

    Args:
        study: written from the thread that calls, never from the planner's own.
        workers: trials at once; with one nothing is made ahead.
    """

    def __init__(self, study: Study, workers: int) -> None:
        self._study, self._workers = study, workers
        self._future: Future[Plan] | None = None
        self._spare: Plan | None = None
        self._waiting_since: float | None = None
        self._exhausted_at = -1
        self._seconds = 0.0

    @property
    def exhausted(self) -> bool:
        """Whether the searcher has said that it has nothing more, and nothing has happened since."""
        return self._exhausted_at == self._study.history.events

    def next(self, n: int, *, idle: bool) -> list[Trial]:
        """Up to `n` trials begun from suggestions; none while they are being made.

        Args:
            n: free workers.
            idle: nothing runs: there is no result that could be kept waiting.
        """
        if self.exhausted:
            return []
        self._waiting_since = self._waiting_since or time.monotonic()
        plan = self._ahead() or self._fresh(n, wait_s=0.1 if idle else _QUICK_S) or self._acceptable()
        if plan is None:
            return []
        self._spare = None
        if not plan.suggestions:
            self._exhausted_at = self._study.history.events
            return []
        self._waiting_since = None
        return self._study.start(self._marked(plan), seen=plan.events)

    def prepare(self) -> None:
        """Make a suggestion ahead, where making one takes longer than a worker may wait.

        Call when a trial ends, and while all workers are busy.
        """
        if self._workers == 1 or not self._slow:
            return
        self._collect()
        if self._future is None and not self._up_to_date:
            self._submit(1)

    @property
    def _slow(self) -> bool:
        """Whether a worker would wait too long for a fresh suggestion, if it takes as long as the latest."""
        wait_s = self._seconds + (_LOOK_S if self._seconds > _QUICK_S else 0.0)
        return wait_s > self._patience()

    @property
    def _up_to_date(self) -> bool:
        """Whether the latest stale plan knows of every trial: one begun since would be repeated."""
        return self._spare is not None and self._spare.trials == len(self._study.history)

    def _collect(self) -> None:
        self._spare = self._finished(0.0) or self._spare

    def _ahead(self) -> Plan | None:
        """What was made while all workers were busy, if a fresh one would keep this one waiting too long."""
        if not self._slow:
            return None
        self._collect()
        return self._usable()

    def _fresh(self, n: int, wait_s: float) -> Plan | None:
        """A plan that has seen everything, if there is one within `wait_s`; else one is being made."""
        deadline = time.monotonic() + wait_s
        while True:
            if self._future is None:
                self._submit(n)
            plan = self._finished(max(0.0, deadline - time.monotonic()))
            if plan is None:
                return None
            if plan.events == self._study.history.events:
                return plan
            self._spare = plan

    def _acceptable(self) -> Plan | None:
        """The latest stale plan, where waiting for a fresh one costs more than it is worth."""
        since = self._waiting_since
        if since is None or time.monotonic() - since < self._patience():
            return None
        return self._usable()

    def _usable(self) -> Plan | None:
        """The latest stale plan, if what it suggests may still be run."""
        plan = self._spare
        if plan is None or not self._up_to_date or self._workers == 1 or not plan.suggestions:
            return None
        history = self._study.history
        thawable = all(
            s.resume is None or history[s.resume].state is State.PAUSED for s in plan.suggestions
        ) and all(s.parent is None or history[s.parent].checkpoint for s in plan.suggestions)
        return plan if thawable else None

    def _marked(self, plan: Plan) -> list[Suggestion]:
        missed = self._study.history.events - plan.events
        if not missed:
            return list(plan.suggestions)
        return [dataclasses.replace(s, info={**s.info, "stale": missed}) for s in plan.suggestions]

    def _patience(self) -> float:
        seconds = [trial.seconds for trial in self._study.history.finished[-101:]]
        return min(PATIENCE_S, PATIENCE_SHARE * statistics.median(seconds)) if seconds else PATIENCE_S

    def _submit(self, n: int) -> None:
        snapshot = self._study.history.snapshot()

        future: Future[Plan] = Future()

        def make() -> None:
            begun = time.monotonic()
            try:
                suggestions = self._study.propose_searched(snapshot, n)
            except BaseException as error:  # noqa: BLE001 - raised again by `result`, in the driver's thread
                future.set_exception(error)
            else:
                future.set_result(Plan(suggestions, snapshot.events, len(snapshot), time.monotonic() - begun))

        self._future = future
        # A daemon: a long fit must not keep a driver that was told to end.
        threading.Thread(target=make, name="suggestions", daemon=True).start()

    def _finished(self, wait_s: float) -> Plan | None:
        if self._future is None:
            return None
        done, _ = wait([self._future], timeout=wait_s)
        if not done:
            return None
        future, self._future = self._future, None
        plan = future.result()
        self._seconds = plan.seconds
        return plan
