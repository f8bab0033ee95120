"""The row that a driver holds in a database: who works on a study, and when it was last seen to."""

import logging
import os
import secrets
import socket
import threading
import weakref
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from autosearch.core.errors import StudyLockedError

_logger = logging.getLogger(__name__)

REFRESH_S = 20.0
STALE_S = 90.0

_metadata = sa.MetaData()
DRIVERS = sa.Table(
    "autosearch_drivers",
    _metadata,
    sa.Column("study", sa.String(512), primary_key=True),
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    # Names a running kernel and its process numbers: only there does `pid` say whether the driver lives.
    sa.Column("place", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("born", sa.String(32), nullable=False),
    sa.Column("seen", sa.Float(53), nullable=False),
)


@dataclass(frozen=True, slots=True)
class _Process:
    host: str
    place: str
    pid: int
    born: str

    @classmethod
    def here(cls) -> "_Process":
        return cls(socket.gethostname()[:255], _place(), os.getpid(), _birth(os.getpid()) or "")


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _birth(pid: int) -> str | None:
    """When a process of this machine began, in the kernel's ticks; None if it is gone. Numbers are used again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold blanks; state is field 3, the start time field 22.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


class DriverRow:
    """The only driver of a study, for as long as it is not released.

    The row's time is the database's own, so clocks of machines need not agree. A row not refreshed for 90 s, or of a
    process of this machine that has ended, is taken over.

    Args:
        engine: of the database.
        study: name.
        location: what the database is called in an error.

    Raises:
        StudyLockedError: if another driver holds it.
    """

    def __init__(self, engine: sa.Engine, study: str, location: str) -> None:
        self._engine, self._study, self.location = engine, study, location
        self._token = secrets.token_hex(16)
        self._lost = False
        self._stop = threading.Event()
        _metadata.create_all(engine)
        self._claim()
        self._thread = threading.Thread(
            target=_refresh_for_ever,
            args=(weakref.ref(self), self._stop),
            name="autosearch-driver",
            daemon=True,
        )
        self._thread.start()

    def _claim(self) -> None:
        me = _Process.here()
        mine = {
            "token": self._token,
            "host": me.host,
            "place": me.place,
            "pid": me.pid,
            "born": me.born,
        }
        with self._engine.begin() as connection:
            now = _now(connection)
            held = connection.execute(sa.select(DRIVERS).where(DRIVERS.c.study == self._study)).first()
            if held is None:
                try:
                    with connection.begin_nested():
                        connection.execute(DRIVERS.insert().values(study=self._study, seen=now, **mine))
                except sa.exc.IntegrityError:
                    raise self._locked("another driver, which has just started,") from None
                return
            if not _is_dead(held, now):
                raise self._locked(_named(held))
            # Of two that find a dead row only the one whose update still meets it takes it.
            taken = connection.execute(
                DRIVERS.update()
                .where(DRIVERS.c.study == self._study, DRIVERS.c.token == held.token)
                .values(seen=now, **mine)
            )
            if taken.rowcount != 1:
                raise self._locked("another driver, which has just started,")

    def _locked(self, holder: str) -> StudyLockedError:
        return StudyLockedError(
            f"{self.location}: {holder} works on study {self._study!r}. Wait for its end, stop "
            "it, or use another name."
        )

    def refresh(self) -> None:
        """Say that the driver lives; notice if another one has taken over."""
        with self._engine.begin() as connection:
            met = connection.execute(
                DRIVERS.update()
                .where(DRIVERS.c.study == self._study, DRIVERS.c.token == self._token)
                .values(seen=_now(connection))
            )
        self._lost = self._lost or met.rowcount != 1

    def check(self) -> None:
        """Nothing, while the row is still held.

        Raises:
            StudyLockedError: if another driver has taken over, as this one was not seen for 90 s.
        """
        if self._lost:
            raise self._locked("another driver took over after this one was not seen for 90 s, and")

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        try:
            with self._engine.begin() as connection:
                connection.execute(
                    DRIVERS.delete().where(DRIVERS.c.study == self._study, DRIVERS.c.token == self._token)
                )
        except sa.exc.SQLAlchemyError as error:
            # It is stale in 90 s by itself; closing a study must not fail for it.
            _logger.warning("%s: the driver's row could not be removed: %s", self.location, error)


def _refresh_for_ever(held: "weakref.ref[DriverRow]", stop: threading.Event) -> None:
    """Until the row is released, or nobody holds it any more: it then is stale in 90 s."""
    while not stop.wait(REFRESH_S):
        row = held()
        if row is None:
            return
        try:
            row.refresh()
        except sa.exc.SQLAlchemyError as error:
            _logger.warning("%s: the driver's row could not be refreshed: %s", row.location, error)
        del row


def works_on(engine: sa.Engine, study: str) -> bool:
    """Whether a driver works on the study; writes nothing."""
    if not sa.inspect(engine).has_table(DRIVERS.name):
        return False
    with engine.connect() as connection:
        held = connection.execute(sa.select(DRIVERS).where(DRIVERS.c.study == study)).first()
        return held is not None and not _is_dead(held, _now(connection))


def _now(connection: sa.Connection) -> float:
    """The database's clock, seconds."""
    moment = connection.execute(sa.select(sa.func.current_timestamp(type_=sa.DateTime()))).scalar_one()
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return float((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _is_dead(held: "sa.Row[tuple[object, ...]]", now: float) -> bool:
    if now - held.seen > STALE_S:
        return True
    me = _Process.here()
    return bool(me.place) and held.place == me.place and _birth(held.pid) != held.born


def _named(held: "sa.Row[tuple[object, ...]]") -> str:
    me = _Process.here()
    if (held.place, held.pid, held.born) == (me.place, me.pid, me.born):
        return "a study that is still open in this process (`study.close()`)"
    return f"another driver (process {held.pid} on {held.host})"
