"""A journal file: Optuna's format, opened so that no crash can spoil it, written with few system calls."""

import json
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autosearch.core.errors import RecordError
from autosearch.core.records import Json
from autosearch.record import replay
from autosearch.record.locks import DriverLock, WriteLock, works_on
from autosearch.record.replay import Replay
from autosearch.record.store import Change, Draft, Row, StudyRow

_logger = logging.getLogger(__name__)


class JournalStore:
    """Studies in one journal file.

    The writer holds the driver's lock on the file from opening to `close`. A reader takes no lock, writes nothing,
    and ignores a last line that is not finished.

    Args:
        path: of the file, made if it is not there.
        read_only: be a reader.

    Raises:
        StudyLockedError: if another driver holds the file.
        RecordError: if it is not there while `read_only`, or not a journal.
    """

    _fd: int | None = None

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path.absolute()
        self.location, self.folder = str(self._path), self._path.parent
        self._read_only = read_only
        self._lock: DriverLock | None = None
        self._write_lock = WriteLock(self._path)
        self._worker = f"autosearch-{uuid.uuid4().hex[:12]}"
        if read_only:
            self._replay, self._size = self._scan()
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = DriverLock(self._path)
        except OSError as error:
            raise RecordError(f"{self.location}: cannot be opened for writing: {error.strerror}") from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    # -- opening -------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._write_lock.clear()
        try:
            new = not self._path.exists()
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise RecordError(f"{self.location}: cannot be opened for writing: {error.strerror}") from error
        if new:
            _sync_folder(self._path.parent)
        self._replay, self._size = self._scan()
        torn = os.fstat(self._fd).st_size - self._size
        if torn:
            self._cut()
            _logger.warning(
                "%s: the last line was cut short (by a crash or a full disk); its %d bytes were removed.",
                self.location,
                torn,
            )

    def _cut(self) -> None:
        """Remove what stands behind the last whole line.

        A line glued to a torn one would be lost, and one line later nothing could read the file any more.
        """
        if self._fd is not None:
            os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)

    def _scan(self) -> tuple[Replay, int]:
        """The whole file replayed, and the length of its whole lines in bytes."""
        data = self._read(0)
        size = data.rfind(b"\n") + 1
        tail = data[size : size + len(replay.START)]
        if not size and tail and not (replay.START.startswith(tail) or not any(data)):
            raise RecordError(
                f"{self.location}: is not an Optuna journal. Choose another `storage`, or an URL for a database."
            )
        state = Replay()
        state.feed(data[:size], self.location)
        return state, size

    def _read(self, start: int) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                return file.read()
        except FileNotFoundError as error:
            raise RecordError(
                f"{self.location}: there is no such record. `autosearch run` on the study file begins it."
            ) from error
        except OSError as error:
            raise RecordError(f"{self.location}: cannot be read: {error.strerror}") from error

    # -- reading -------------------------------------------------------------------------------------------

    def driven(self, study: str) -> bool | None:  # noqa: ARG002 - one driver has the whole file
        return works_on(self._path)

    def studies(self) -> dict[str, StudyRow]:
        self._follow()
        return {study.name: study for study in self._replay.studies.values()}

    def load(self, study_id: int) -> list[Row]:
        self._follow()
        state = self._replay
        ids = state.numbers[study_id]
        if any(trial_id not in state.rows for trial_id in ids):
            state, _ = self._scan()
        return [state.rows[trial_id] for trial_id in ids]

    def _follow(self) -> None:
        """As a reader: apply what the driver has written meanwhile."""
        if self._read_only:
            self._feed(self._read(self._size))

    def _feed(self, data: bytes) -> None:
        """Apply the whole lines of what stands behind those applied so far."""
        size = data.rfind(b"\n") + 1
        self._replay.feed(data[:size], self.location)
        self._size += size

    # -- writing -------------------------------------------------------------------------------------------

    def create_study(self, name: str, directions: Sequence[int]) -> int:
        self._append(
            [self._entry(replay.CREATE_STUDY, study_name=name, directions=list(directions))], durable=True
        )
        return self.studies()[name].study_id

    def set_study(self, study_id: int, system: Mapping[str, Json], user: Mapping[str, Json]) -> None:
        entries = [
            self._entry(replay.SET_STUDY_USER_ATTR, study_id=study_id, user_attr={key: value})
            for key, value in user.items()
        ]
        entries += [
            self._entry(replay.SET_STUDY_SYSTEM_ATTR, study_id=study_id, system_attr={key: value})
            for key, value in system.items()
        ]
        self._append(entries, durable=True)

    def create_trials(self, study_id: int, drafts: Sequence[Draft]) -> list[int]:
        known = len(self._replay.numbers[study_id])
        self._append([self._creation(study_id, draft) for draft in drafts], durable=True)
        created = self._replay.numbers[study_id][known:]
        if len(created) != len(drafts) or (drafts and drafts[0].number != known):
            raise RecordError(
                f"{self.location}: another program added trials to study "
                f"{self._replay.studies[study_id].name!r}. Give it a study of its own."
            )
        self._replay.rows.clear()
        return created

    def _creation(self, study_id: int, draft: Draft) -> dict[str, Any]:
        content = draft.content
        single = content.values is not None and len(content.values) == 1
        entry = self._entry(
            replay.CREATE_TRIAL,
            study_id=study_id,
            datetime_start=_stamp(draft.started),
            state=int(draft.status),
            value=content.values[0] if single and content.values else None,
            values=None if single or content.values is None else list(content.values),
        )
        if draft.ended is not None:
            entry["datetime_complete"] = _stamp(draft.ended)
        entry["distributions"] = draft.distributions
        entry["params"] = draft.params
        entry["user_attrs"] = content.user
        entry["system_attrs"] = content.system
        entry["intermediate_values"] = content.intermediate
        return entry

    def update_trial(self, trial_id: int, change: Change) -> None:
        entries = [
            self._entry(
                replay.SET_TRIAL_INTERMEDIATE_VALUE, trial_id=trial_id, step=step, intermediate_value=value
            )
            for step, value in change.intermediate.items()
        ]
        entries += [
            self._entry(replay.SET_TRIAL_USER_ATTR, trial_id=trial_id, user_attr={key: value})
            for key, value in change.user.items()
        ]
        entries += [
            self._entry(replay.SET_TRIAL_SYSTEM_ATTR, trial_id=trial_id, system_attr={key: value})
            for key, value in change.system.items()
        ]
        if change.status is not None:
            values = None if change.values is None else list(change.values)
            entry = self._entry(
                replay.SET_TRIAL_STATE_VALUES, trial_id=trial_id, state=int(change.status), values=values
            )
            entry["datetime_complete" if change.status.finished else "datetime_start"] = _stamp(
                datetime.now(UTC)
            )
            entries.append(entry)
        self._append(entries, durable=change.status is not None)
        self._replay.rows.clear()

    def _entry(self, op_code: int, **content: Any) -> dict[str, Any]:
        return {"op_code": op_code, "worker_id": self._worker, **content}

    def _append(self, entries: Sequence[dict[str, Any]], *, durable: bool) -> None:
        """Write all entries by one call, on disk if `durable`; a failed write leaves the file as it was."""
        if self._fd is None:
            raise RecordError(f"{self.location}: the record is closed or was opened for reading.")
        text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
        data = text.encode()
        with self._write_lock:
            self._catch_up()
            try:
                written = os.write(self._fd, data)
                if written == len(data) and durable:
                    os.fsync(self._fd)
            except OSError as error:
                self._cut()
                raise RecordError(f"{self.location}: cannot be written: {error.strerror}") from error
            if written < len(data):
                self._cut()
                raise RecordError(f"{self.location}: cannot be written: the disk is full.")
            self._feed(data)

    def _catch_up(self) -> None:
        """Apply what another Optuna program has written meanwhile: trial ids are counted over the whole file."""
        found = os.fstat(self._fd)  # type: ignore[arg-type]
        if not found.st_nlink:
            raise RecordError(f"{self.location}: the file was removed while the study runs.")
        if found.st_size > self._size:
            self._feed(os.pread(self._fd, found.st_size - self._size, self._size))  # type: ignore[arg-type]
            if self._size < found.st_size:  # that program died in the middle of a line
                self._cut()

    def __getstate__(self) -> dict[str, Any]:
        """A copy, in another process say, is closed: only the driver writes."""
        return {**self.__dict__, "_fd": None, "_lock": None}

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")


def _sync_folder(folder: Path) -> None:
    """Make a new file's name survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
