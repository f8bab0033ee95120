"""Trials on a virtual clock: hours of parallel training in milliseconds, the same every time."""

import heapq
import tempfile
from pathlib import Path

from autosearch.core import Objective, Progress, RunSettings, Study, Trial
from autosearch.runners.attempt import Attempt
from autosearch.runners.checkpoints import CheckpointStore
from autosearch.runners.common import Interrupts, next_trials


class SimulatedRunner:
    """Runs trials on a virtual clock over `Progress.seconds`: for tables, synthetic curves and tests of schedulers.

    `resources.parallel` workers (1 by default) run at once; reports come in the order of virtual time, ties in the
    order in which their steps began. A step without `seconds` takes none. Limits and budgets in minutes are virtual.
    A checkpoint is written where a trial pauses, is interrupted or ends among the best; without an `output` it
    lies in a temporary folder for the time of the run, so a later run begins such trials afresh.

    Args:
        settings: see above; `debug` raises what a trial raises.
    """

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings

    def run(self, study: Study, objective: Objective) -> None:
        """Run trials until the study says it is over.

        Raises:
            KeyboardInterrupt: after Ctrl-C, with the running trials left resumable.
            RepeatedFailureError: if the first trials all fail alike.
        """
        with tempfile.TemporaryDirectory(prefix="autosearch-") as temporary, Interrupts() as interrupts:
            output = self._settings.output or Path(temporary)
            folders = self._settings.output is not None
            store = CheckpointStore(study, output, self._settings.keep.checkpoints, folders=folders)
            _Simulation(study, objective, self._settings, store, interrupts).run()
            if interrupts.requested:
                raise KeyboardInterrupt


class _Simulation:
    """One run: a queue of the steps under way, by the virtual time at which they end."""

    def __init__(
        self,
        study: Study,
        objective: Objective,
        settings: RunSettings,
        store: CheckpointStore,
        interrupts: Interrupts,
    ) -> None:
        self._study, self._objective, self._settings, self._store = study, objective, settings, store
        self._interrupts = interrupts
        self._workers = settings.resources.parallel or 1
        self._now = 0.0
        self._order = 0
        self._open: dict[int, Attempt] = {}
        self._steps: list[tuple[float, int, Attempt, Progress]] = []

    def run(self) -> None:
        self._study.set_workers(self._workers)
        # Not from where it stands: the real time that went into building the study is none of the simulation's.
        self._now = self._study.history.elapsed_s
        self._study.use_clock(lambda: self._now, self._now)
        try:
            while self._fill() or self._steps:
                self._step()
        except BaseException:
            for attempt in self._open.values():
                attempt.abandon()
            raise

    def _fill(self) -> bool:
        """Begin trials on every free worker; whether any was begun."""
        began = False
        while trials := self._next():
            began = True
            for trial in trials:
                self._open[trial.number] = attempt = Attempt(
                    self._study,
                    self._objective,
                    trial,
                    self._store,
                    self._settings,
                    self._interrupts,
                    # What a real save costs says nothing in virtual time.
                    periodic=False,
                )
                self._advance(attempt)
        return began

    def _next(self) -> list[Trial]:
        free = self._workers - len(self._steps)
        if not free or self._interrupts.requested:
            return []
        return next_trials(self._study, free, idle=not self._steps)

    def _advance(self, attempt: Attempt) -> None:
        """Begin the next step of an attempt."""
        progress = attempt.advance()
        if progress is None:
            del self._open[attempt.number]
            return
        self._order += 1
        ends = self._now + (progress.seconds or 0.0)
        heapq.heappush(self._steps, (ends, self._order, attempt, progress))

    def _step(self) -> None:
        """Let the next step end."""
        if not self._steps:
            return
        self._now, _, attempt, progress = heapq.heappop(self._steps)
        if attempt.absorb(progress):
            self._advance(attempt)
        else:
            del self._open[attempt.number]
