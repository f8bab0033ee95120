"""What a user's training function calls: `autosearch.report` and `autosearch.get_checkpoint`.

The same two names work under every runner. `ray.tune.report` and `ray.tune.get_checkpoint` reach the same place (see
`ray/bridge.py`).
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from autosearch.core import Decision, Job, Progress, StudyError

Report = Callable[[Progress], Decision]


class TrialEndedError(BaseException):
    """Ends a training function from within `report`: the study has stopped, paused or interrupted the trial.

    Like SystemExit it is no Exception: `except Exception` around a training loop must not keep the trial going, while
    `finally` blocks run.
    """


class Session:
    """One running training function.

    Args:
        job: of the trial.
        report: takes its progress to the study.
    """

    def __init__(self, job: Job, report: Report) -> None:
        self.job, self.reports = job, 0
        self.checkpoint = job.checkpoint
        self._report = report

    def report(
        self, metrics: Mapping[str, Any], *, step: int | None = None, checkpoint: str | Path | None = None
    ) -> None:
        """See the module's `report`."""
        save = None if checkpoint is None else _copying(Path(checkpoint))
        self.reports += 1
        decision = self._report(Progress(metrics, step, save, must_save=save is not None))
        if decision is not Decision.CONTINUE:
            raise TrialEndedError(decision.value)


_session: ContextVar[Session | None] = ContextVar("autosearch_session", default=None)


def report(
    metrics: Mapping[str, Any], *, step: int | None = None, checkpoint: str | Path | None = None
) -> None:
    """Tell the study what the running trial measures; does not return where the study ends or pauses the trial.

    Args:
        metrics: numbers by name; `METRIC_sem` is a metric's standard error.
        step: fidelity reached, such as the epoch; without it the reports are counted.
        checkpoint: folder to copy; `get_checkpoint` gives the copy to whoever goes on with the trial.

    Raises:
        StudyError: outside of a trial.
        TrialEndedError: where the trial is over; let it pass.
    """
    _active("report").report(metrics, step=step, checkpoint=checkpoint)


def get_checkpoint() -> Path | None:
    """Folder of the checkpoint that the running trial goes on from, None where it starts afresh.

    Raises:
        StudyError: outside of a trial.
    """
    return _active("get_checkpoint").checkpoint


def _active(name: str) -> Session:
    session = _session.get()
    if session is None:
        raise StudyError(f"autosearch.{name}: called outside of a trial. A study's `run` calls the function.")
    return session


@contextlib.contextmanager
def active(session: Session) -> Iterator[Session]:
    """A span in which `report` and `get_checkpoint` belong to `session`."""
    token = _session.set(session)
    try:
        yield session
    finally:
        _session.reset(token)


def _copying(source: Path) -> Callable[[Path], None]:
    if not source.is_dir():
        raise StudyError(f"report: checkpoint must be an existing folder, got {source}.")

    def save(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)

    return save
