"""Opens records: what the entry points `autosearch.records` name, and what readers use."""

from pathlib import Path

from autosearch.core.errors import RecordError
from autosearch.core.history import History
from autosearch.core.opening import record_kind
from autosearch.core.records import Problem
from autosearch.record.journal import JournalStore
from autosearch.record.record import StudyRecord, study_names
from autosearch.record.store import Store


def open_memory(
    location: str,  # noqa: ARG001 - the openers' common signature
    name: str,
    problem: Problem | None,
    *,
    read_only: bool = False,
) -> StudyRecord:
    """A record that ends with the process.

    Args:
        location: ignored.
        name: of the study.
        problem: what is searched.
        read_only: always an error, as a new record holds nothing to read.

    Raises:
        RecordError: without a problem.
    """
    from autosearch.record.optuna_store import memory_store

    return _open(memory_store(), name, problem, read_only=read_only)


def open_journal(
    location: str, name: str, problem: Problem | None, *, read_only: bool = False
) -> StudyRecord:
    """The record of study `name` in a journal file.

    Args:
        location: path of the file; it and its folder are made if they are not there.
        name: of the study.
        problem: checked against the stored one, and stored; None takes the stored one (reading only).
        read_only: take no lock and write nothing; works while a driver writes.

    Raises:
        RecordError: if it cannot be opened, or is not there while `read_only`.
        StudyLockedError: if another driver works on the file.
        StudyMismatchError: if the stored study has another space, other objectives or other constraints.
    """
    return _open(JournalStore(Path(location), read_only=read_only), name, problem, read_only=read_only)


def open_rdb(location: str, name: str, problem: Problem | None, *, read_only: bool = False) -> StudyRecord:
    """The record of study `name` in a database.

    Args:
        location: an URL as SQLAlchemy knows them, such as `sqlite:///study.db`.
        name: of the study.
        problem: checked against the stored one, and stored; None takes the stored one (reading only).
        read_only: take no lock and write nothing; works while a driver writes.

    Raises:
        RecordError: if it cannot be opened, or is not there while `read_only`.
        StudyLockedError: if another driver works on the study.
        StudyMismatchError: if the stored study has another space, other objectives or other constraints.
    """
    from autosearch.record.rdb import RdbStore

    return _open(
        RdbStore(location, driver_of=None if read_only else name), name, problem, read_only=read_only
    )


def _open(store: Store, name: str, problem: Problem | None, *, read_only: bool) -> StudyRecord:
    try:
        return StudyRecord(store, name, problem, read_only=read_only)
    except BaseException:
        store.close()
        raise


def _reading_store(storage: str | Path) -> Store:
    kind = record_kind(storage)
    if kind == "journal":
        return JournalStore(Path(storage), read_only=True)
    if kind == "rdb":
        from autosearch.record.rdb import RdbStore

        return RdbStore(str(storage), driver_of=None)
    raise RecordError(f"storage {str(storage)!r}: only journal files and databases can be read like this.")


def list_studies(storage: str | Path) -> list[str]:
    """Names of the studies in a storage, stages apart; writes nothing.

    Raises:
        RecordError: if it cannot be read.
    """
    store = _reading_store(storage)
    try:
        return study_names(store)
    finally:
        store.close()


def read_history(storage: str | Path, name: str) -> History:
    """A study with its stages as it stands; takes no lock, writes nothing, works while a driver writes.

    Raises:
        RecordError: if it cannot be read or is not there.
    """
    record = _open(_reading_store(storage), name, None, read_only=True)
    try:
        history = record.history()
        history.stages = record.stages()
        return history
    finally:
        record.close()
