"""One attempt of a trial in this process: the objective's generator, its checkpoints, and what the study says."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from autosearch.core import Decision, Objective, Progress, RunSettings, Study, Trial, failures
from autosearch.runners import isolation
from autosearch.runners.checkpoints import Cadence, CheckpointStore
from autosearch.runners.common import Interrupts, last_step, overdue

if TYPE_CHECKING:
    from collections.abc import Generator

    from autosearch.core.records import Json


class Attempt:
    """Drives one attempt; once `advance` gave None or `absorb` gave False, the study has been told its end.

    Args:
        study: that the trial belongs to.
        objective: what it runs.
        trial: running.
        store: of its checkpoints.
        settings: limits and `debug`.
        interrupts: once requested, the trial is let go of at its next report, for a later session.
        periodic: save while it runs, not only where it pauses, is interrupted or ends among the best.
    """

    def __init__(
        self,
        study: Study,
        objective: Objective,
        trial: Trial,
        store: CheckpointStore,
        settings: RunSettings,
        interrupts: Interrupts,
        *,
        periodic: bool = True,
    ) -> None:
        self.number = trial.number
        self._study, self._objective, self._store, self._settings = study, objective, store, settings
        self._interrupts = interrupts
        self._cadence, self._periodic = Cadence(), periodic
        self._generator: Generator[Progress, Decision, Progress | None] | None = None
        self._decision = Decision.CONTINUE
        self._data: dict[str, Json] = {}
        self._step, self._end_step, self._begun = 0, math.inf, study.elapsed_s
        self._told = False

    def advance(self) -> Progress | None:
        """The next progress; None where the attempt ended or failed instead."""
        try:
            with isolation.pinned(self._settings.resources.cpus):
                return self._resume()
        except StopIteration as end:
            result: Progress | None = end.value
            if result is not None:
                self._data.update(result.data)
            self._study.tell(self.number, (result.metrics or None) if result else None, data=self._data)
            self._over()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a trial raises, SystemExit too, is its result
            self._fail(error)
        return None

    def _resume(self) -> Progress:
        if self._generator is None:
            job = self._store.job(self._study.history[self.number])
            self._step, self._end_step = job.step, last_step(self._objective, job)
            self._generator = self._objective.run(job)
            progress = next(self._generator)
        else:
            progress = self._generator.send(self._decision)
        if not isinstance(progress, Progress):
            raise TypeError(f"an objective yields Progress, got {type(progress).__name__}.")
        return progress

    def absorb(self, progress: Progress) -> bool:
        """Report `progress` and do what the study decides; whether the attempt goes on."""
        self._step = self._step + 1 if progress.step is None else progress.step
        self._data.update(progress.data)
        saved = self._save(progress) if self._saves_first(progress) else None
        if self._told:
            return False
        self._decision = self._study.report(self.number, progress.metrics, step=self._step, checkpoint=saved)
        if saved is not None:
            self._store.recorded(self._study.history[self.number])
        leave = self._decision is Decision.CONTINUE and (
            self._interrupts.requested or self._study.out_of_time
        )
        if saved is None and (leave or self._decision is Decision.PAUSE):
            saved = self._save(progress)
        if self._told:
            return False
        return self._goes_on(saved, leave=leave)

    def _goes_on(self, saved: Path | None, *, leave: bool) -> bool:
        late = overdue(self._settings.limits, self._study.elapsed_s - self._begun)
        if self._decision is Decision.CONTINUE and not leave and late is None:
            return True
        if not self._close():
            return False
        if self._decision is not Decision.CONTINUE:
            self._study.tell(self.number, checkpoint=saved, data=self._data)
        elif leave:
            self._study.interrupt(self.number, checkpoint=saved)
        elif late is not None:
            self._study.fail(self.number, late)
        self._over()
        return False

    def abandon(self) -> None:
        """Let go of the trial as it stands, with the newest checkpoint it has. Safe to call at any time."""
        if not self._told:
            self._study.interrupt(self.number)
            self._over()

    def _saves_first(self, progress: Progress) -> bool:
        """Whether the report itself is to carry a checkpoint: a cheap one, or the last one of a good trial."""
        if progress.save is None or not self._store.enabled:
            return False
        if progress.must_save or (self._periodic and self._cadence.due):
            return True
        trial = self._study.history[self.number]
        return self._step >= self._end_step and self._store.worth_keeping(trial, progress.metrics)

    def _save(self, progress: Progress) -> Path | None:
        """The checkpoint of this moment; None where there is none. What the training code raises fails the trial."""
        if progress.save is None or not self._store.enabled:
            return None
        try:
            return self._cadence.save(progress.save, self._store.path(self.number, self._step))
        except OSError as error:
            # A full disk costs the checkpoint, not what was learnt so far.
            self._study.note(f"trial {self.number}: no checkpoint at step {self._step}: {error}")
        except Exception as error:  # noqa: BLE001 - `save` is training code
            self._fail(error)
        return None

    def _close(self) -> bool:
        """End the generator, so that its `finally` blocks run; whether it ended in peace."""
        if self._generator is None:
            return True
        try:
            self._generator.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - what it raises while it ends is its failure as well
            self._fail(error)
            return False
        return True

    def _fail(self, error: BaseException) -> None:
        failure = failures.from_exception(error)
        if self._settings.debug:
            self._study.tell(self.number, error=failure)
            self._over()
            raise error
        self._study.fail(self.number, failure)
        self._over()

    def _over(self) -> None:
        self._told = True
        self._store.release(self.number)
