"""A database as a `Store`: Optuna's tables, one transaction for each change, one driver for each study."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from optuna.exceptions import (
    DuplicatedStudyError,
    OptunaError,
    StorageInternalError,
    UpdateFinishedTrialError,
)
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from autosearch.core.errors import RecordError
from autosearch.core.records import Json
from autosearch.record.drivers import DriverRow
from autosearch.record.optuna_store import OptunaStore
from autosearch.record.store import Change, Draft, Row, Status

_logger = logging.getLogger(__name__)

# How long a write waits for a database that was stopped; then the study ends, resumable.
PATIENCE_S = 300.0
_SQLITE_BUSY_S = 60.0
_T = TypeVar("_T")


class _RolledBackError(StorageInternalError):
    """Optuna tried a part of a batch again after the rest was rolled back with it."""


class _Batch(Session):
    """A session that Optuna's storage may commit and close as often as it likes while a batch is open."""

    def commit(self) -> None:
        if self.info.get("batch"):
            self.flush()
        else:
            super().commit()

    def rollback(self) -> None:
        self.info["whole"] = False
        super().rollback()

    def close(self) -> None:
        if not self.info.get("batch"):
            super().close()


def open_database(url: str, *, writable: bool) -> RDBStorage:
    """Optuna's storage over a database, SQLite set up for a writer with readers beside it.

    Raises:
        RecordError: if it cannot be reached, or holds no studies while not `writable`.
    """
    shown, parsed = url, None
    try:
        parsed = sa.engine.make_url(url)
        shown = location_of(parsed)
        if parsed.get_backend_name() == "sqlite":
            _check_sqlite(parsed, writable=writable)
            options: dict[str, Any] = {"connect_args": {"timeout": _SQLITE_BUSY_S}}
        else:
            options = {"pool_pre_ping": True}
        storage = RDBStorage(url, engine_kwargs=options, skip_table_creation=not writable)
    except (sa.exc.SQLAlchemyError, OptunaError, RuntimeError, ImportError) as error:
        if parsed is None:
            raise RecordError(f"storage is no database URL: {error}") from error
        raise RecordError(f"{shown}: cannot be opened: {_reason(error)}") from error
    if storage.engine.dialect.name == "sqlite":
        event.listen(storage.engine, "connect", _sqlite_writer if writable else _sqlite_reader)
        storage.engine.dispose()  # the connection that has checked the tables was not set up
    return storage


def location_of(url: sa.URL) -> str:
    """An URL as people may see it: without the password, SQLite's file absolute."""
    if url.get_backend_name() == "sqlite" and url.database:
        url = url.set(database=str(Path(url.database).absolute()))
    return url.render_as_string(hide_password=True)


def _reason(error: BaseException) -> str:
    """The first line of what the database said; Optuna's own line says nothing."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    return str(getattr(cause, "orig", None) or cause).strip().split("\n", 1)[0]


def _check_sqlite(url: sa.URL, *, writable: bool) -> None:
    if not url.database or url.database == ":memory:":
        raise RecordError("storage 'sqlite://' would end with the process; leave `storage` out for that.")
    path = Path(url.database)
    if not writable and not path.is_file():
        raise RecordError(f"{location_of(url)}: there is no such file.")
    if writable:
        try:
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(
                f"{location_of(url)}: cannot be opened for writing: {error.strerror}"
            ) from error


def _sqlite_writer(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # With WAL this loses nothing when a process dies, and at most the last commits in a power cut.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _sqlite_reader(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()


class RdbStore(OptunaStore):
    """Studies in a database.

    Args:
        url: of the database.
        driver_of: study that this process drives; None reads only.

    Raises:
        StudyLockedError: if another driver works on the study.
        RecordError: if the database cannot be opened.
    """

    storage: RDBStorage

    def __init__(self, url: str, *, driver_of: str | None) -> None:
        storage = open_database(url, writable=driver_of is not None)
        super().__init__(storage, location_of(storage.engine.url))
        self._engine = storage.engine
        # Optuna opens its sessions through this factory: the seam at which several writes become one transaction.
        storage.scoped_session = scoped_session(sessionmaker(bind=self._engine, class_=_Batch))
        self._driver: DriverRow | None = None
        if driver_of is not None:
            with self._explained():
                self._driver = DriverRow(self._engine, driver_of, self.location)

    # -- writing -------------------------------------------------------------------------------------------

    def create_study(self, name: str, directions: Sequence[int]) -> int:
        def create() -> int:
            try:
                return super(RdbStore, self).create_study(name, directions)
            except DuplicatedStudyError:  # written before the connection broke
                return self.storage.get_study_id_from_name(name)

        return self._write(create)

    def set_study(self, study_id: int, system: Mapping[str, Json], user: Mapping[str, Json]) -> None:
        self._write(lambda: super(RdbStore, self).set_study(study_id, system, user))

    def create_trials(self, study_id: int, drafts: Sequence[Draft]) -> list[int]:
        def create() -> list[int]:
            if drafts and (known := self._ids(study_id, drafts[0].number)):
                return known  # written before the connection broke
            return super(RdbStore, self).create_trials(study_id, drafts)

        return self._write(create)

    def _ids(self, study_id: int, first: int) -> list[int]:
        """Ids of the trials from number `first` on."""
        query = sa.text(
            "SELECT trial_id FROM trials WHERE study_id = :study AND number >= :first ORDER BY number"
        )
        with self._engine.connect() as connection:
            return [row[0] for row in connection.execute(query, {"study": study_id, "first": first})]

    def update_trial(self, trial_id: int, change: Change) -> None:
        def update() -> None:
            try:
                super(RdbStore, self).update_trial(trial_id, change)
            except UpdateFinishedTrialError:
                if change.status is None or not change.status.finished:
                    raise
                # Written before the connection broke.

        self._write(update)

    def _write(self, action: Callable[[], _T]) -> _T:
        """`action` in one transaction, tried again while the database is away."""
        if self._driver is None:
            raise RecordError(f"{self.location}: the record is closed or was opened for reading.")
        began, wait = time.monotonic(), 0.5
        while True:
            self._driver.check()
            try:
                with self._transaction():
                    return action()
            except (sa.exc.DBAPIError, StorageInternalError) as error:
                if time.monotonic() - began > PATIENCE_S or not _is_away(error):
                    raise RecordError(f"{self.location}: cannot be written: {_reason(error)}") from error
                _logger.warning("%s: cannot be written now, trying again: %s", self.location, _reason(error))
                time.sleep(wait)
                wait = min(2 * wait, 10.0)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        session: Session = self.storage.scoped_session()
        session.info.update(batch=True, whole=True)
        try:
            yield
            if not session.info["whole"]:
                raise _RolledBackError("the transaction was rolled back")
            session.info["batch"] = False
            session.commit()
        finally:
            session.info["batch"] = False
            session.close()
            self.storage.scoped_session.remove()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
            raise RecordError(f"{self.location}: {_reason(error)}") from error

    # -- reading -------------------------------------------------------------------------------------------

    def load(self, study_id: int) -> list[Row]:
        """All trials by number, read from the tables: Optuna's own objects take several times as long."""
        of_study = " FROM {0} x JOIN trials t ON t.trial_id = x.trial_id WHERE t.study_id = :study"
        with self._explained(), self._engine.connect() as connection:

            def select(columns: str, table: str, order: str = "") -> Iterator[Any]:
                query = sa.text(f"SELECT {columns}{of_study.format(table)}{order}")
                return iter(connection.execute(query, {"study": study_id}))

            trials = connection.execute(
                sa.text("SELECT trial_id, state FROM trials WHERE study_id = :study ORDER BY number"),
                {"study": study_id},
            )
            rows = {trial_id: Row(trial_id, Status[state]) for trial_id, state in trials}
            for trial_id, name, value in select("x.trial_id, x.param_name, x.param_value", "trial_params"):
                if trial_id in rows:
                    rows[trial_id].params[name] = value
            for trial_id, key, text in select("x.trial_id, x.key, x.value_json", "trial_system_attributes"):
                if trial_id in rows:
                    rows[trial_id].system[key] = json.loads(text)
            for trial_id, value in select("x.trial_id, x.value", "trial_values", " ORDER BY x.objective"):
                if trial_id in rows:
                    rows[trial_id].values = [*(rows[trial_id].values or ()), value]
        return list(rows.values())

    def close(self) -> None:
        if self._driver is not None:
            self._driver.release()
            self._driver = None
        self._engine.dispose()


def _is_away(error: BaseException) -> bool:
    """Whether the database cannot be reached or is busy, rather than refusing what was written."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(error, _RolledBackError) or (
        isinstance(cause, sa.exc.DBAPIError) and cause.connection_invalidated
    ):
        return True
    return isinstance(cause, sa.exc.OperationalError | sa.exc.InterfaceError)
