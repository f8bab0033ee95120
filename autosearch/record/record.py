"""The record of one study over a store: what core calls a `Record`."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from autosearch.core.errors import RecordError, StudyMismatchError
from autosearch.core.history import History
from autosearch.core.records import Json, Problem, Trial
from autosearch.record import encoding, packing
from autosearch.record.store import MALFORMED, Change, Draft, Row, Status, Store, StudyRow
from autosearch.space import nearest

VERSION = 1
_VERSION, _PROBLEM, _PARENT, _NOTE = (
    "autosearch:version",
    "autosearch:problem",
    "autosearch:parent",
    "autosearch:note:",
)
# Before a checkpoint's path below the folder that the record lies in: a study's folder may be moved as a whole.
_BESIDE = "beside-the-record:"
# Where Optuna's `Study.set_metric_names` keeps them.
_METRIC_NAMES = "study:metric_names"


class StudyRecord:
    """A study in a store, made where it is not there.

    Args:
        store: the storage.
        name: of the study.
        problem: checked against the stored one, and stored; None takes the stored one.
        read_only: write nothing.
        parent: name of the study that this is a stage of.

    Raises:
        RecordError: if the study is not there while `read_only`, was not written by autosearch, or by a newer one.
        StudyMismatchError: if the stored study has another space, other objectives or other constraints.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        problem: Problem | None,
        *,
        read_only: bool = False,
        parent: str | None = None,
    ) -> None:
        self.store = store
        self.name = name
        self.location = store.location
        self._read_only = read_only
        self._owner = parent is None
        self._parent = parent
        self._ids: list[int] = []
        self._waiting: set[int] = set()
        known = store.studies()
        found = known.get(name)
        self.existed = found is not None and _version(found, self.location) is not None
        if found is not None and self.existed:
            self._study = found
            stored = _stored_problem(found, self.location)
            self.problem = self._agreed(stored, problem)
            if not read_only and self.problem.to_dict() != stored.to_dict():
                self._write_problem()
            rows = store.load(found.study_id)
            self._rows: list[Row] | None = rows
            self._ids = [row.trial_id for row in rows]
            self._waiting = {row.trial_id for row in rows if row.status is Status.WAITING}
        elif problem is None or read_only:
            raise RecordError(_missing(name, known, self.location))
        else:
            self.problem = problem
            self._rows = []
            self._create(found)

    # -- opening -------------------------------------------------------------------------------------------

    def _agreed(self, stored: Problem, problem: Problem | None) -> Problem:
        if problem is None:
            return stored
        differences = stored.differences(problem)
        if differences:
            raise StudyMismatchError(
                f"study {self.name!r} in {self.location} was recorded with another problem:\n"
                + "\n".join(f"  {line}" for line in differences)
                + "\nUndo the change, or start a new study that takes over all finished trials that still fit: "
                "--fork NAME.",
                differences,
            )
        return problem

    def _create(self, found: StudyRow | None) -> None:
        goals = self.problem.objectives
        if found is None:
            # Optuna knows no study without a direction; the trials of such a stage end without values.
            directions = [2 if goal.maximize else 1 for goal in goals] or [1]
            study_id = self.store.create_study(self.name, directions)
        elif self.store.load(found.study_id):
            raise RecordError(
                f"{self.location}: study {self.name!r} was not written by autosearch. Choose another name."
            )
        else:  # a crash has left it half made
            study_id = found.study_id
        self._study = StudyRow(study_id, self.name)
        user: dict[str, Json] = {}
        system: dict[str, Json] = {}
        if self.problem.constraints:
            user["constraints"] = [expression.text for expression in self.problem.constraints]
        if goals:
            system[_METRIC_NAMES] = list(self.problem.metric_names)
        if self._parent is not None:
            system[_PARENT] = self._parent
        # The version comes last: it says that the rest is whole.
        system |= packing.split(_PROBLEM, self._packed_problem()) | {_VERSION: VERSION}
        self.store.set_study(study_id, system, user)

    def _packed_problem(self) -> Json:
        return packing.pack(self.problem.to_dict(), "problem")

    def _write_problem(self) -> None:
        self.store.set_study(self._study.study_id, packing.split(_PROBLEM, self._packed_problem()), {})

    # -- writing -------------------------------------------------------------------------------------------

    def begin(self, trial: Trial) -> None:
        """Write a new trial, queued or running. Durable when it returns."""
        self.begin_all([trial])

    def begin_all(self, trials: Sequence[Trial]) -> None:
        """Write new trials, finished ones too, at once. Durable when it returns."""
        drafts = [self._draft(trial, len(self._ids) + i) for i, trial in enumerate(trials)]
        ids = self.store.create_trials(self._study.study_id, drafts)
        self._ids += ids
        self._waiting |= {i for i, draft in zip(ids, drafts, strict=True) if draft.status is Status.WAITING}
        self._rows = None

    def _draft(self, trial: Trial, number: int) -> Draft:
        self._check_writable()
        if trial.number != number:
            raise RecordError(f"trial {trial.number} of {self.name!r} begins where {number} is next.")
        status = encoding.status(self.problem, trial)
        now = datetime.now(UTC)
        params, distributions = encoding.parameters_of(self.problem, trial)
        return Draft(
            number=number,
            status=status,
            params=params,
            distributions=distributions,
            content=encoding.birth(self.problem, self._movable(trial)),
            # One that is finished already ran before: its length is right on the dashboard's timeline.
            started=None if status is Status.WAITING else now - timedelta(seconds=trial.seconds),
            ended=now if status.finished else None,
        )

    def report(self, trial: Trial) -> None:
        """Write the last report of `trial`."""
        self._update(trial, encoding.report(self.problem, trial))

    def amend(self, trial: Trial) -> None:
        """Write a changed state, checkpoint, attempt, `until` of an unfinished trial."""
        change = encoding.amendment(self._movable(trial))
        leaves_queue = self._id(trial) in self._waiting
        if leaves_queue and encoding.status(self.problem, trial) is Status.RUNNING:
            change = encoding.with_status(change, Status.RUNNING)
            self._waiting.discard(self._id(trial))
        self._update(trial, change)

    def finish(self, trial: Trial) -> None:
        """Write the end of `trial`. Durable when it returns; never changes again."""
        self._update(trial, encoding.ending(self.problem, self._movable(trial)))

    def _update(self, trial: Trial, change: Change) -> None:
        self._check_writable()
        self.store.update_trial(self._id(trial), change)
        self._rows = None

    def _movable(self, trial: Trial) -> Trial:
        """The trial as it is written: the path of a checkpoint below the record's folder counts from there."""
        path, folder = trial.checkpoint, self.store.folder
        if path is None or folder is None or not Path(path).is_relative_to(folder):
            return trial
        return dataclasses.replace(trial, checkpoint=f"{_BESIDE}{Path(path).relative_to(folder)}")

    def _moved(self, trial: Trial) -> Trial:
        """The inverse of `_movable`, wherever the record lies now."""
        path, folder = trial.checkpoint, self.store.folder
        if path is None or folder is None or not path.startswith(_BESIDE):
            return trial
        return dataclasses.replace(trial, checkpoint=str(folder / path.removeprefix(_BESIDE)))

    def _id(self, trial: Trial) -> int:
        try:
            return self._ids[trial.number]
        except IndexError:
            raise RecordError(f"trial {trial.number} of {self.name!r} was never begun.") from None

    def _check_writable(self) -> None:
        if self._read_only:
            raise RecordError(f"{self.location}: the record was opened for reading.")

    # -- reading -------------------------------------------------------------------------------------------

    def history(self) -> History:
        """Everything, read back; stages apart."""
        rows = self.store.load(self._study.study_id) if self._rows is None else self._rows
        # Read once: a large study's rows would otherwise stay in memory beside its trials.
        self._rows = None
        trials = [
            self._moved(encoding.trial_of(self.problem, number, row)) for number, row in enumerate(rows)
        ]
        try:
            return History(self.problem, trials)
        except MALFORMED as error:
            raise RecordError(
                f"{self.location}: the trials of study {self.name!r} contradict each other: {error}"
            ) from error

    # -- notes ---------------------------------------------------------------------------------------------

    def notes(self) -> dict[str, Json]:
        """What `note` has stored for the study."""
        system = self._attributes()
        names = [
            key.removeprefix(_NOTE)
            for key, value in system.items()
            if key.startswith(_NOTE) and isinstance(value, dict)
        ]
        return {name: _note(name, system) for name in names}

    def note(self, name: str, value: Json) -> None:
        """Store a JSON value with the study."""
        self._check_writable()
        packed = {"note": packing.pack(value, f"note {name!r}")}
        self.store.set_study(self._study.study_id, packing.split(f"{_NOTE}{name}", packed), {})

    def _attributes(self) -> dict[str, Any]:
        return self.store.studies()[self.name].system

    # -- stages --------------------------------------------------------------------------------------------

    def open_stage(self, name: str, problem: Problem) -> "StudyRecord":
        """The record of a stage: a study `NAME/STAGE` in the same storage, under the same lock."""
        return StudyRecord(
            self.store, f"{self.name}/{name}", problem, read_only=self._read_only, parent=self.name
        )

    def stages(self) -> dict[str, History]:
        """Histories of all stages recorded so far, by name."""
        found = {}
        for study in self.store.studies().values():
            if study.system.get(_PARENT) == self.name and _version(study, self.location) is not None:
                stage = StudyRecord(self.store, study.name, None, read_only=True, parent=self.name)
                found[study.name.removeprefix(f"{self.name}/")] = stage.history()
        return found

    @property
    def driven(self) -> bool | None:
        """Whether a driver works on the study now, its stages included; None where that cannot be told."""
        return self.store.driven(self.name.partition("/")[0])

    def close(self) -> None:
        """Let go of locks; safe to call twice. Stages leave them to their study."""
        if self._owner:
            self.store.close()


def study_names(store: Store) -> list[str]:
    """Studies that autosearch wrote, stages apart, in order of creation."""
    return [
        study.name
        for study in store.studies().values()
        if _PARENT not in study.system and _VERSION in study.system
    ]


def _version(study: StudyRow, location: str) -> int | None:
    """The version that wrote the study; None if another program did, or it was never finished.

    Raises:
        RecordError: if it is newer than this one.
    """
    version = study.system.get(_VERSION)
    if version is None:
        return None
    if not isinstance(version, int) or version > VERSION:
        raise RecordError(
            f"{location}: study {study.name!r} was written by a newer autosearch (record version {version}, this one "
            f"reads up to {VERSION}). Upgrade autosearch to read it."
        )
    return version


def _stored_problem(study: StudyRow, location: str) -> Problem:
    try:
        return Problem.from_dict(packing.unpack(packing.join(_PROBLEM, study.system)))
    except MALFORMED as error:
        raise RecordError(
            f"{location}: the problem of study {study.name!r} cannot be read: {error}"
        ) from error


def _note(name: str, system: dict[str, Any]) -> Json:
    packed = packing.join(f"{_NOTE}{name}", system)
    return packing.unpack(packed["note"]) if isinstance(packed, dict) else None


def _missing(name: str, known: dict[str, StudyRow], location: str) -> str:
    if name in known:
        return f"{location}: study {name!r} was not written by autosearch."
    names = [study for study, row in known.items() if _PARENT not in row.system]
    close = nearest(name, names)
    hint = f" Did you mean {close[0]!r}?" if close else f" It holds: {', '.join(names) or 'no study'}."
    return f"{location}: there is no study {name!r}.{hint}"
