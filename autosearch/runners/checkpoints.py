"""Checkpoints on disk: written whole or not at all, kept as long as anything may go on from them.

Layout: `OUTPUT/checkpoints/STUDY[/STAGE]/trial_00012/step_00000003`, and beside it `OUTPUT/trials/STUDY/trial_00012`,
the folder that a trial may write into as it likes. A store deletes nothing but trial folders of these names that
belong to trials which it ran itself or whose checkpoint the record names.
"""

import dataclasses
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from autosearch.core import Failure, Job, State, Study, StudyError, Transition, Trial, arguments
from autosearch.core.history import History
from autosearch.core.ranking import best_trials
from autosearch.core.results import valued

SAVING_SHARE = 0.05
_PARTIAL = ".partial-"


def write_checkpoint(save: Callable[[Path], None], target: Path, *, sync: bool = True) -> Path:
    """Let `save` fill a folder that appears whole at `target`; returns where it is.

    Where `target` exists already (an attempt that was lost came as far), the next free name beside it is taken, so
    that a checkpoint that the record names is never touched.

    Args:
        save: writes into an existing empty folder.
        target: where the checkpoint belongs; parents are made.
        sync: flush the files to the disk first, so that a power cut leaves no torn checkpoint.

    Raises:
        OSError: if the disk refuses; whatever `save` raises. Nothing is left behind then.
    """
    draft = target.parent / f"{_PARTIAL}{target.name}-{secrets.token_hex(4)}"
    draft.mkdir(parents=True)
    try:
        save(draft)
        if sync:
            for path in (p for p in draft.rglob("*") if p.is_file()):
                _flush(path)
        final, copies = target, 0
        while final.exists():
            copies += 1
            final = target.with_name(f"{target.name}-{copies}")
        draft.rename(final)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return final


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Cadence:
    """When a running trial is worth a checkpoint: at its first report, then as often as stays cheap.

    The time spent on saving stays under `share` of the time spent on training, the last checkpoint's cost taken as
    the next one's.
    """

    def __init__(self, share: float = SAVING_SHARE, clock: Callable[[], float] = time.perf_counter) -> None:
        self._share, self._clock = share, clock
        self._begun = clock()
        self._spent = self._last = 0.0

    @property
    def due(self) -> bool:
        trained = self._clock() - self._begun - self._spent
        return self._last == 0.0 or self._spent + self._last <= self._share * trained

    def save(self, save: Callable[[Path], None], target: Path) -> Path:
        """`write_checkpoint`, timed."""
        begun = self._clock()
        path = write_checkpoint(save, target)
        self._last = max(self._clock() - begun, 1e-9)
        self._spent += self._last
        return path


class CheckpointStore:
    """The checkpoints of one study, as its driver sees them.

    Args:
        study: whose trials they are.
        output: the study's folder; None: there are no checkpoints and nothing is written.
        keep: how many of the best trials keep theirs.
        folders: whether trials get folders of their own.
    """

    def __init__(self, study: Study, output: Path | None, keep: int, *, folders: bool = True) -> None:
        self._study, self._output, self._keep = study, output, max(keep, study.least_kept)
        name = re.sub(r"[^\w./ +-]", "_", study.name).replace("..", "_")
        self._root = None if output is None else output / "checkpoints" / name
        self._folders = output / "trials" / name if output is not None and folders else None
        # Source checkpoint of each attempt under way: it may belong to another trial, which moves on.
        self._sources: dict[int, Path | None] = {}
        self._owned = {t.number for t in study.history if self._names_own(t)}

    @property
    def enabled(self) -> bool:
        """Whether checkpoints are written at all."""
        return self._root is not None

    def path(self, number: int, step: int) -> Path:
        """Where the checkpoint of trial `number` at `step` belongs.

        Raises:
            StudyError: if nothing may be written.
        """
        if self._root is None:
            raise StudyError("this study has no output folder: no checkpoint may be written.")
        return self._root / _trial_name(number) / f"step_{step:08d}"

    def job(self, trial: Trial) -> Job:
        """What the present attempt of `trial` is given; its source checkpoint stays until `release`.

        A checkpoint of its own that is gone is said in a note, and the trial starts afresh.

        Raises:
            StudyError: if it has a parent and no checkpoint is left: started afresh, it would be another trial.
        """
        job = self._study.job(trial)
        if job.checkpoint is not None and not job.checkpoint.is_dir():
            if trial.parent is not None:
                raise StudyError(
                    f"trial {trial.number}, a child of trial {trial.parent}, cannot start: "
                    f"the checkpoint {job.checkpoint} is gone."
                )
            self._study.note(f"trial {trial.number} starts afresh: its checkpoint {job.checkpoint} is gone.")
            job = dataclasses.replace(job, checkpoint=None, step=0)
        if self._root is not None:
            for draft in (self._root / _trial_name(trial.number)).glob(f"{_PARTIAL}*"):
                shutil.rmtree(draft)  # left by a driver that was killed while it wrote
            self._owned.add(trial.number)
        if self._folders is not None:
            job = dataclasses.replace(job, folder=self._folders / _trial_name(trial.number))
        self._sources[trial.number] = job.checkpoint
        return job

    def recorded(self, trial: Trial) -> None:
        """Drop the older checkpoints of `trial`, now that the record names a newer one."""
        if self._root is None or trial.checkpoint is None:
            return
        newest = Path(trial.checkpoint)
        for path in (self._root / _trial_name(trial.number)).glob("step_*"):
            if path != newest and path not in self._sources.values():
                shutil.rmtree(path)

    def worth_keeping(self, trial: Trial, metrics: Mapping[str, float]) -> bool:
        """Whether `trial`, ending with `metrics`, needs a checkpoint of its end."""
        asked = (hasattr(part, "needs_checkpoints") for part in (self._study.searcher, self._study.scheduler))
        return any(asked) or joins_best(self._study.history, trial, metrics, self._keep)

    def release(self, number: int) -> None:
        """The attempt of trial `number` is over."""
        self._sources.pop(number, None)
        self.recorded(self._study.history[number])
        self.sweep()

    def sweep(self) -> None:
        """Delete what neither keepers nor attempts under way need."""
        in_use = {source.parent for source in self._sources.values() if source is not None}
        idle = {other: self._places(other) for other in sorted(self._owned - self._sources.keys())}
        self._owned -= {other for other, places in idle.items() if not places}
        # Asking for keepers looks at every trial: only where something could go.
        keepers = self._study.keepers(self._keep) if any(idle.values()) else set()
        for other, places in idle.items():
            if other not in keepers and in_use.isdisjoint(places):
                for path in places:
                    shutil.rmtree(path)
                self._owned.discard(other)
            elif places and self._study.history[other].state.finished and _is_empty(places[-1]):
                places[-1].rmdir()
        for root in (self._folders, self._root):
            while root is not None and root != self._output and _is_empty(root):
                root.rmdir()
                root = root.parent

    def _places(self, number: int) -> list[Path]:
        """What lies on disk of a trial: its checkpoints, then its folder."""
        places = [root / _trial_name(number) for root in (self._root, self._folders) if root is not None]
        return [place for place in places if place.exists()]

    def _names_own(self, trial: Trial) -> bool:
        if self._root is None or trial.checkpoint is None:
            return False
        path = Path(trial.checkpoint)
        return path.parent == self._root / _trial_name(trial.number) and path.exists()


def joins_best(history: History, trial: Trial, metrics: Mapping[str, float], best: int) -> bool:
    """Whether `trial`, complete with `metrics`, would be among the `best` trials of `history`, or in its front.

    The metrics are as the training code reports them: what is no number does not count.
    """
    transitions = (*trial.transitions, Transition(history.events, State.COMPLETE))
    ended = dataclasses.replace(
        trial, state=State.COMPLETE, metrics=arguments.numbers(metrics), transitions=transitions
    )
    judged = valued(history.problem, ended)
    if best <= 0 or isinstance(judged, Failure):
        return False
    if len(history.problem.objectives) == 1 and judged.values is not None:
        ahead = sum(
            t.feasible and t.values is not None and t.values <= judged.values for t in history.finished
        )
        return judged.feasible and ahead < best
    after = History(history.problem, [judged if t.number == trial.number else t for t in history])
    return any(t.number == trial.number for t in [*after.front, *best_trials(after, best)])


def _is_empty(folder: Path) -> bool:
    return folder.exists() and not any(folder.iterdir())


def _trial_name(number: int) -> str:
    return f"trial_{number:05d}"
