"""Ledger: the only hand that changes a study's trials. It writes each change, then shows it in the history.

It decides nothing. Every method takes a trial as it stands and returns it as it stands afterwards.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from autosearch.core.clock import StudyClock
from autosearch.core.errors import StudyError
from autosearch.core.history import History
from autosearch.core.protocols import Record
from autosearch.core.records import Failure, Report, State, Transition, Trial

Event = Literal["begin", "report", "pause", "retry", "interrupt", "finish", "note"]
Listener = Callable[[Event, Trial | None, str], None]


class Ledger:
    """Trials of one study as they begin, report, pause, go on and end.

    Args:
        record: where it is written.
        history: what `record` held when it was opened; grows from here on.
        clock: study time.
    """

    def __init__(self, record: Record, history: History, clock: StudyClock) -> None:
        self.record, self.history, self.clock = record, history, clock
        self.listeners: list[Listener] = []
        # Fidelity that each running trial has reached; its last report need not be among those kept.
        self.steps: dict[int, int] = {}

    def running(self, trial: Trial | int, verb: str) -> Trial:
        """The present state of a trial that runs in this session.

        Raises:
            StudyError: if it does not.
        """
        number = trial if isinstance(trial, int) else trial.number
        if not 0 <= number < len(self.history):
            raise StudyError(f"{verb}: there is no trial {number} among the study's {len(self.history)}.")
        current = self.history[number]
        if current.state is not State.RUNNING or not self.clock.runs(number):
            raise StudyError(f"{verb}: trial {number} is {current.state.value}, not running in this session.")
        return current

    def begin(self, trial: Trial) -> Trial:
        """Write a new trial, running or queued."""
        self.record.begin(trial)
        self.history._put(trial)
        if trial.state is State.RUNNING:
            self._start(trial)
        return trial

    def again(self, trial: Trial, until: int | None = None) -> Trial:
        """Run an unfinished trial from its newest checkpoint: a queued, paused or lost one."""
        fresh = trial.state is State.QUEUED
        # Without a checkpoint of its own it starts where it first did: at 0, or at its parent's checkpoint.
        step = trial.checkpoint_step if trial.checkpoint else trial.transitions[0].step
        running = Transition(self.history.events, State.RUNNING, step)
        now = self.clock.elapsed_s
        trial = dataclasses.replace(
            trial,
            state=State.RUNNING,
            transitions=(*trial.transitions, running),
            seen=self.history.events if fresh else trial.seen,
            started_s=now if fresh else trial.started_s,
            idle_s=0.0 if fresh else max(0.0, now - trial.started_s - trial.seconds),
            until=trial.until if until is None else until,
        )
        self._amend(trial)
        self._start(trial)
        return trial

    def _start(self, trial: Trial) -> None:
        self.clock.start(trial)
        self.steps[trial.number] = trial.transitions[-1].step
        self.notify("begin", trial)

    def report(
        self, trial: Trial, metrics: Mapping[str, float], *, keep: bool, checkpoint: str | Path | None
    ) -> Trial:
        """Write a report at the trial's present step, if it is one to `keep`, and a checkpoint, if there is one."""
        seconds = self.clock.seconds(trial.number)
        step = self.steps[trial.number]
        report = Report(step, metrics, seconds, self.history.events, attempt=len(trial.attempts))
        reports = (*trial.reports, report) if keep else trial.reports
        trial = dataclasses.replace(trial, metrics=metrics, seconds=seconds, reports=reports)
        trial = self.with_checkpoint(trial, checkpoint)
        if keep:
            self.record.report(trial)
        if checkpoint:
            self.record.amend(trial)
        self.history._put(trial)
        return trial

    def with_checkpoint(self, trial: Trial, checkpoint: str | Path | None) -> Trial:
        """`trial` with a checkpoint of its present step; written with the next change."""
        if checkpoint is None:
            return trial
        step = self.steps[trial.number]
        return dataclasses.replace(trial, checkpoint=str(checkpoint), checkpoint_step=step)

    def leave(self, trial: Trial, cause: str | None = None) -> Trial:
        """End an attempt and leave the trial unfinished; `cause` counts the attempt as lost."""
        attempts = trial.attempts if cause is None else (*trial.attempts, cause)
        trial = dataclasses.replace(trial, attempts=attempts, seconds=self.clock.seconds(trial.number))
        self._amend(trial)
        self.clock.stop(trial.number)
        return trial

    def pause(self, trial: Trial) -> Trial:
        """Pause a running trial."""
        paused = Transition(self.history.events, State.PAUSED, self.steps[trial.number])
        trial = dataclasses.replace(trial, state=State.PAUSED, transitions=(*trial.transitions, paused))
        trial = self.leave(trial)
        self.notify("pause", trial)
        return trial

    def finish(self, trial: Trial, state: State, failure: Failure | None = None) -> Trial:
        """End a trial for good."""
        seconds = self.clock.seconds(trial.number) if self.clock.runs(trial.number) else trial.seconds
        end = Transition(self.history.events, state, self.steps.pop(trial.number, trial.step))
        transitions = (*trial.transitions, end)
        trial = dataclasses.replace(
            trial, state=state, transitions=transitions, failure=failure, seconds=seconds
        )
        self.record.finish(trial)
        self.history._put(trial)
        self.clock.stop(trial.number)
        self.notify("finish", trial)
        return trial

    def lose(self, trial: Trial, cause: str) -> Trial:
        """Count an attempt that ended with its driver; written when the trial goes on."""
        return dataclasses.replace(trial, attempts=(*trial.attempts, cause))

    def notify(self, event: Event, trial: Trial | None, text: str = "") -> None:
        for listener in self.listeners:
            listener(event, trial, text)

    def _amend(self, trial: Trial) -> None:
        self.record.amend(trial)
        self.history._put(trial)
