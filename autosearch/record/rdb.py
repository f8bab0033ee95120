"""A database as a `Store`: Optuna's tables, one transaction for each change, one driver for each study."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from optuna.exceptions import (
    DuplicatedStudyError,
    OptunaError,
    StorageInternalError,
)
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import event

from autosearch.core.errors import RecordError
from autosearch.core.records import Json
from autosearch.record.drivers import DriverRow, works_on
from autosearch.record.optuna_store import quiet, studies_of
from autosearch.record.store import Change, Draft, Row, Status, StudyRow

_logger = logging.getLogger(__name__)

# How long a write waits for a database that was stopped; then the study ends, resumable.
PATIENCE_S = 300.0
_SQLITE_BUSY_S = 60.0
TABLES = (
    "study_system_attributes",
    "study_user_attributes",
    "trial_intermediate_values",
    "trial_params",
    "trial_system_attributes",
    "trial_user_attributes",
    "trial_values",
    "trials",
)
_T = TypeVar("_T")


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
        if not writable:
            _check_tables(parsed, shown)
        storage = _storage(url, options, writable=writable)
    except (sa.exc.SQLAlchemyError, OptunaError, RuntimeError, ImportError) as error:
        if parsed is None:
            raise RecordError(f"storage is no database URL: {error}") from error
        raise RecordError(f"{shown}: cannot be opened: {_reason(error)}") from error
    if storage.engine.dialect.name == "sqlite":
        event.listen(storage.engine, "connect", _sqlite_writer if writable else _sqlite_reader)
        storage.engine.dispose()  # the connection that has checked the tables was not set up
    return storage


def _check_tables(url: sa.URL, shown: str) -> None:
    """Refuse to read what a driver is still making: Optuna would make the rest of it, in the driver's way."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            made = sa.inspect(connection).has_table("alembic_version")
            # What Optuna writes last.
            made = made and connection.scalar(sa.text("SELECT version_num FROM alembic_version")) is not None
    finally:
        engine.dispose()
    if not made:
        raise RecordError(f"{shown}: holds no studies.")


def _storage(url: str, options: dict[str, Any], *, writable: bool) -> RDBStorage:
    """Optuna's storage; tried again where another driver makes the tables at the same moment."""
    for wait in (0.2, 1.0):
        try:
            return RDBStorage(url, engine_kwargs=options, skip_table_creation=not writable)
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
            time.sleep(wait)
    return RDBStorage(url, engine_kwargs=options, skip_table_creation=not writable)


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


class RdbStore:
    """Studies in a database, in Optuna's tables.

    Each change is one transaction of a few statements; Optuna's own calls take several queries for every attribute.
    All writes can be done twice, so they are tried again where a connection broke.

    Args:
        url: of the database.
        driver_of: study that this process drives; None reads only.

    Raises:
        StudyLockedError: if another driver works on the study.
        RecordError: if the database cannot be opened.
    """

    def __init__(self, url: str, *, driver_of: str | None) -> None:
        self._storage = open_database(url, writable=driver_of is not None)
        self._engine = self._storage.engine
        place = self._engine.url
        self.location = location_of(place)
        file = place.database if place.get_backend_name() == "sqlite" else None
        self.folder = Path(file).absolute().parent if file else None
        self._driver: DriverRow | None = None
        if driver_of is None:
            return
        with self._explained():
            # Read from the database: there stand the types that this version of Optuna and this database agree on.
            metadata = sa.MetaData()
            metadata.reflect(self._engine, only=TABLES)
            self._tables = {name: metadata.tables[name] for name in TABLES}
            self._driver = DriverRow(self._engine, driver_of, self.location)

    def driven(self, study: str) -> bool | None:
        with self._explained():
            return works_on(self._engine, study)

    # -- writing -------------------------------------------------------------------------------------------

    def create_study(self, name: str, directions: Sequence[int]) -> int:
        def create(_: sa.Connection) -> int:
            try:
                with quiet():
                    return self._storage.create_new_study([StudyDirection(d) for d in directions], name)
            except DuplicatedStudyError:  # written before the connection broke
                return self._storage.get_study_id_from_name(name)

        return self._write(create)

    def set_study(self, study_id: int, system: Mapping[str, Json], user: Mapping[str, Json]) -> None:
        def put(connection: sa.Connection) -> None:
            for kind, attributes in (("user", user), ("system", system)):
                table, entries = f"study_{kind}_attributes", _attributes(attributes)
                self._put(connection, table, {"study_id": study_id}, "key", entries)

        self._write(put)

    def create_trials(self, study_id: int, drafts: Sequence[Draft]) -> list[int]:
        first = drafts[0].number if drafts else 0

        def create(connection: sa.Connection) -> list[int]:
            trials = self._tables["trials"]
            written = sa.select(trials.c.trial_id).where(trials.c.study_id == study_id)
            known = connection.scalars(
                written.where(trials.c.number >= first).order_by(trials.c.number)
            ).all()
            if known:  # before the connection broke
                return list(known)
            ids = []
            for draft in drafts:
                row = trials.insert().values(
                    study_id=study_id,
                    number=draft.number,
                    state=draft.status.name,
                    datetime_start=_stored(draft.started),
                    datetime_complete=_stored(draft.ended),
                )
                ids.append(int(connection.execute(row).inserted_primary_key[0]))  # type: ignore[index]
            self._fill(connection, list(zip(ids, drafts, strict=True)))
            return ids

        return self._write(create)

    def _fill(self, connection: sa.Connection, created: Sequence[tuple[int, Draft]]) -> None:
        """Parameters and content of new trials, by one statement a table."""
        parameters = [
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": value,
                "distribution_json": draft.distributions[name],
            }
            for trial_id, draft in created
            for name, value in draft.params.items()
        ]
        found: dict[str, list[dict[str, Any]]] = {"trial_params": parameters}
        for trial_id, draft in created:
            for table, (_, entries) in _content(draft.content).items():
                found.setdefault(table, []).extend({"trial_id": trial_id, **entry} for entry in entries)
        for table, entries in found.items():
            if entries:
                connection.execute(self._tables[table].insert(), entries)

    def update_trial(self, trial_id: int, change: Change) -> None:
        def update(connection: sa.Connection) -> None:
            for table, (key, entries) in _content(change).items():
                self._put(connection, table, {"trial_id": trial_id}, key, entries)
            if change.status is not None:
                moment = "datetime_complete" if change.status.finished else "datetime_start"
                trials = self._tables["trials"]
                connection.execute(
                    trials.update()
                    .where(trials.c.trial_id == trial_id)
                    .values({"state": change.status.name, moment: _stored(datetime.now(UTC))})
                )

        self._write(update)

    def _put(
        self,
        connection: sa.Connection,
        table: str,
        owner: Mapping[str, int],
        key: str,
        entries: Sequence[Mapping[str, Any]],
    ) -> None:
        """Insert entries of one owner, in place of those with the same key."""
        if not entries:
            return
        columns = self._tables[table].c
        mine = [columns[name] == value for name, value in owner.items()]
        keys = [entry[key] for entry in entries]
        connection.execute(self._tables[table].delete().where(*mine, columns[key].in_(keys)))
        connection.execute(self._tables[table].insert(), [{**owner, **entry} for entry in entries])

    def _write(self, action: Callable[[sa.Connection], _T]) -> _T:
        """`action` in one transaction, tried again while the database is away."""
        if self._driver is None:
            raise RecordError(f"{self.location}: the record is closed or was opened for reading.")
        began, wait = time.monotonic(), 0.5
        while True:
            self._driver.check()
            try:
                with self._engine.begin() as connection:
                    return action(connection)
            except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
                if time.monotonic() - began > PATIENCE_S or not _is_away(error):
                    raise RecordError(f"{self.location}: cannot be written: {_reason(error)}") from error
                _logger.warning("%s: cannot be written now, trying again: %s", self.location, _reason(error))
                time.sleep(wait)
                wait = min(2 * wait, 10.0)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
            raise RecordError(f"{self.location}: {_reason(error)}") from error

    # -- reading -------------------------------------------------------------------------------------------

    def studies(self) -> dict[str, StudyRow]:
        with self._explained():
            return studies_of(self._storage)

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


def _content(change: Change) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """What a change writes besides the state: table -> (column that tells entries apart, entries)."""
    return {
        "trial_intermediate_values": (
            "step",
            [
                {"step": step, **_number("intermediate_value", value)}
                for step, value in change.intermediate.items()
            ],
        ),
        "trial_user_attributes": ("key", _attributes(change.user)),
        "trial_system_attributes": ("key", _attributes(change.system)),
        "trial_values": (
            "objective",
            [{"objective": i, **_number("value", value)} for i, value in enumerate(change.values or ())],
        ),
    }


def _attributes(attributes: Mapping[str, Json]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


def _number(column: str, value: float) -> dict[str, Any]:
    """A number as Optuna stores it: databases need not know infinity or NaN."""
    if math.isfinite(value):
        return {column: value, f"{column}_type": "FINITE"}
    kind = "NAN" if math.isnan(value) else "INF_POS" if value > 0 else "INF_NEG"
    return {column: None, f"{column}_type": kind}


def _stored(moment: datetime | None) -> datetime | None:
    """Optuna's tables hold universal times without a zone."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def _is_away(error: BaseException) -> bool:
    """Whether the database cannot be reached or is busy, rather than refusing what was written."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, sa.exc.DBAPIError) and cause.connection_invalidated:
        return True
    return isinstance(cause, sa.exc.OperationalError | sa.exc.InterfaceError)
