"""Trials in this process, one after the other."""

from autosearch.core import Objective, RunSettings, Study, Trial
from autosearch.runners.attempt import Attempt
from autosearch.runners.checkpoints import CheckpointStore
from autosearch.runners.common import Interrupts, next_trials


class InlineRunner:
    """Runs trials in this process, one after the other: for debugging, tables and quick objectives.

    Ctrl-C lets the running trial come to its next report (10 s at most), keeps its checkpoint and raises
    KeyboardInterrupt; the next session goes on with it. `limits.minutes` is looked at when a trial reports, so a
    trial that hangs is not ended; `limits.memory_gb` is not enforced, and a note says so.

    Args:
        settings: `output` None writes nothing; with `debug` one trial runs and what it raises is raised.
    """

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings

    def run(self, study: Study, objective: Objective) -> None:
        """Run trials until the study says it is over.

        Raises:
            KeyboardInterrupt: after Ctrl-C, with the running trial left resumable.
            RepeatedFailureError: if the first trials all fail alike.
        """
        if self._settings.limits.memory_gb is not None:
            study.note("the inline runner does not enforce limits.memory_gb.")
        study.set_workers(1)
        store = CheckpointStore(study, self._settings.output, self._settings.keep.checkpoints)
        with Interrupts() as interrupts:
            while True:
                trials = next_trials(study, 1, idle=True)
                for trial in trials:
                    self._run(study, objective, trial, store, interrupts)
                if interrupts.requested:
                    raise KeyboardInterrupt
                if self._settings.debug or not trials:
                    store.sweep()
                    return

    def _run(
        self, study: Study, objective: Objective, trial: Trial, store: CheckpointStore, interrupts: Interrupts
    ) -> None:
        attempt = Attempt(study, objective, trial, store, self._settings, interrupts)
        try:
            while (progress := attempt.advance()) is not None:
                if not attempt.absorb(progress):
                    return
        except KeyboardInterrupt:
            attempt.abandon()
            raise
