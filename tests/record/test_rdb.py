import gc
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from autosearch.core import RecordError, State, StudyLockedError
from autosearch.record import drivers, open_rdb, rdb, read_history
from autosearch.record.drivers import DRIVERS, STALE_S, DriverRow

from .lives import CONFIG, Driver, problem

RESULT = {"accuracy": 0.5, "loss": 1.0, "params": 3.0}


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def start(folder: Path, name: str = "study") -> Driver:
    asked = problem()
    driver = Driver(open_rdb(url(folder), name, asked), asked)
    driver.trials = list(driver.record.history())
    driver.event = driver.record.history().events
    return driver


def run_one(driver: Driver) -> None:
    number = driver.begin(CONFIG)
    driver.report(number, RESULT)
    driver.finish(number)


def row(folder: Path) -> Any:
    with sqlite3.connect(folder / "study.db") as connection:
        found = connection.execute("SELECT * FROM autosearch_drivers").fetchall()
    connection.close()
    return found


def edit(folder: Path, change: str) -> None:
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute(f"UPDATE autosearch_drivers SET {change}")
    connection.close()


# -- one driver --------------------------------------------------------------------------------------------


def test_a_reader_leaves_a_database_alone_that_a_driver_is_still_making(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("CREATE TABLE studies (study_id INTEGER)")
    connection.close()
    with pytest.raises(RecordError, match="holds no studies"):
        read_history(url(tmp_path), "study")
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("studies",)]
    connection.close()


def test_drivers_that_make_the_tables_at_the_same_moment_both_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [sa.exc.IntegrityError("CREATE TABLE", None, Exception("made by another"))]
    original = rdb.RDBStorage

    def once(*args: Any, **options: Any) -> Any:
        if refused:
            raise refused.pop()
        return original(*args, **options)

    monkeypatch.setattr(rdb, "RDBStorage", once)
    driver = start(tmp_path)
    assert not refused
    driver.record.close()


def test_a_second_driver_of_the_study_is_refused(tmp_path: Path) -> None:
    driver = start(tmp_path)
    with pytest.raises(StudyLockedError, match="still open in this process"):
        start(tmp_path)
    run_one(driver)
    driver.record.close()
    driver.record.close()
    assert row(tmp_path) == []
    start(tmp_path).record.close()


def test_drivers_of_different_studies_share_a_database(tmp_path: Path) -> None:
    one, two = start(tmp_path, "one"), start(tmp_path, "two")
    for _ in range(2):
        run_one(one)
        run_one(two)
    for driver in (one, two):
        assert repr(list(driver.record.history())) == repr(driver.trials)
        driver.record.close()


CHILD = """
import sys
sys.path[:0] = sys.argv[2:]
from record.test_rdb import run_one, start
from pathlib import Path
driver = start(Path(sys.argv[1]))
print("open", flush=True)
while True:
    run_one(driver)
"""


def test_a_killed_driver_is_replaced_at_once(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), tests], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    with pytest.raises(StudyLockedError, match=rf"another driver \(process {process.pid} on "):
        start(tmp_path)
    assert len(read_history(url(tmp_path), "study")) >= 0
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    began = time.monotonic()
    driver = start(tmp_path)
    assert time.monotonic() - began < 3
    unfinished = [trial for trial in driver.trials if trial.state is not State.COMPLETE]
    assert len(unfinished) <= 1
    run_one(driver)
    driver.record.close()


def test_a_driver_of_another_machine_is_believed_until_it_is_stale(tmp_path: Path) -> None:
    driver = start(tmp_path)
    edit(tmp_path, f"place = 'another kernel', host = 'far', pid = 12, seen = seen - {STALE_S - 10}")
    with pytest.raises(StudyLockedError, match=r"another driver \(process 12 on far\)"):
        start(tmp_path)
    edit(tmp_path, "seen = seen - 20")
    second = start(tmp_path)
    second.record.close()
    driver.record.close()


def test_a_number_that_another_process_got_meanwhile_is_no_driver(tmp_path: Path) -> None:
    driver = start(tmp_path)
    edit(tmp_path, f"pid = {os.getppid()}, born = '1'")
    start(tmp_path).record.close()
    driver.record.close()


def test_a_driver_that_was_replaced_writes_no_more(tmp_path: Path) -> None:
    driver = start(tmp_path)
    edit(tmp_path, "token = 'another'")
    driver.record.store._driver.refresh()  # type: ignore[attr-defined]
    with pytest.raises(StudyLockedError, match="took over after this one was not seen for 90 s"):
        driver.begin(CONFIG)
    driver.record.close()
    assert len(row(tmp_path)) == 1


def test_the_row_is_refreshed_while_the_study_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "REFRESH_S", 0.02)
    driver = start(tmp_path)
    edit(tmp_path, "seen = 0")
    until = time.monotonic() + 5
    while row(tmp_path)[0][-1] == 0 and time.monotonic() < until:
        time.sleep(0.01)
    assert abs(row(tmp_path)[0][-1] - time.time()) < 5
    driver.record.close()


def test_checkpoints_beside_an_sqlite_file_move_with_it(tmp_path: Path) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    driver = start(home)
    driver.amend(driver.begin(CONFIG), checkpoint=str(home / "checkpoints" / "c0"), checkpoint_step=1)
    driver.record.close()
    home.rename(away)
    record = start(away).record
    assert record.history()[0].checkpoint == str(away / "checkpoints" / "c0")
    record.close()


def test_the_row_of_a_study_that_nobody_holds_any_more_goes_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "REFRESH_S", 0.02)
    driver = start(tmp_path)
    thread = driver.record.store._driver._thread  # type: ignore[attr-defined]
    del driver
    gc.collect()
    thread.join(timeout=5)
    assert not thread.is_alive()
    edit(tmp_path, "seen = 0")
    start(tmp_path).record.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    made = sa.create_engine(url(tmp_path))
    yield made
    made.dispose()


def test_of_two_that_find_a_dead_row_one_takes_it(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = DriverRow(engine, "study", "here")
    edit(tmp_path, "seen = 0")
    judge = drivers._is_dead

    def overtaken(held: Any, now: float) -> bool:
        with engine.begin() as connection:
            connection.execute(DRIVERS.update().values(token="quicker"))
        return judge(held, now)

    with monkeypatch.context() as patched:
        patched.setattr(drivers, "_is_dead", overtaken)
        with pytest.raises(StudyLockedError, match="has just started"):
            DriverRow(engine, "study", "here")
    first.release()


def test_a_reader_sees_whether_a_driver_works_on_the_study(engine: sa.Engine, tmp_path: Path) -> None:
    assert not drivers.works_on(engine, "study"), "there is no table yet"
    driver = DriverRow(engine, "study", "here")
    assert drivers.works_on(engine, "study")
    assert not drivers.works_on(engine, "another")
    edit(tmp_path, "seen = 0")
    assert not drivers.works_on(engine, "study"), "it was not seen for long"
    driver.release()
    assert not drivers.works_on(engine, "study")


# -- the database ------------------------------------------------------------------------------------------


def test_sqlite_is_written_with_a_log_ahead(tmp_path: Path) -> None:
    driver = start(tmp_path)
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    with driver.record.store._engine.connect() as ours:  # type: ignore[attr-defined]
        assert ours.execute(sa.text("PRAGMA synchronous")).scalar() == 1
    driver.record.close()


def failing(engine: sa.Engine, word: str, times: int, error: Exception) -> list[str]:
    """Let the first `times` statements with `word` fail; the statements that did."""
    failed: list[str] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def fail(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if word in statement and len(failed) < times:
            failed.append(statement)
            raise error

    return failed


def engine_of(driver: Driver) -> sa.Engine:
    engine: sa.Engine = driver.record.store._engine  # type: ignore[attr-defined]
    return engine


def test_the_end_of_a_trial_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    driver = start(tmp_path)
    number = driver.begin(CONFIG)
    driver.report(number, RESULT)
    error = sa.exc.DataError("statement", None, Exception("value too long"))
    failing(engine_of(driver), "UPDATE trials", 1, error)
    with pytest.raises(RecordError, match="cannot be written: value too long"):
        driver.finish(number)
    theirs = optuna.load_study(study_name="study", storage=url(tmp_path)).trials[0]
    assert "seconds" not in theirs.user_attrs
    assert "autosearch:end" not in theirs.system_attrs
    assert driver.record.history()[0].state is State.RUNNING
    driver.record.close()


def test_a_write_waits_for_a_database_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver = start(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    away = sa.exc.OperationalError("statement", None, Exception("connection refused"))
    for word in ("INSERT INTO trials", "trial_params", "UPDATE trials", "trial_values"):
        assert failing(engine_of(driver), word, 2, away) == []
    run_one(driver)
    run_one(driver)
    assert caplog.text.count("trying again: connection refused") == 8
    assert repr(list(driver.record.history())) == repr(driver.trials)
    driver.record.close()


def test_a_write_whose_answer_was_lost_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = start(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    lost = 0

    class Answerless(sa.Connection):
        """Commits, then loses the first two answers of each kind of write."""

        def _commit_impl(self) -> None:
            nonlocal lost
            super()._commit_impl()  # type: ignore[misc]
            lost += 1
            if lost % 2:
                raise sa.exc.OperationalError("COMMIT", None, Exception("connection lost"))

    monkeypatch.setattr(engine_of(driver), "_connection_cls", Answerless)
    run_one(driver)
    run_one(driver)
    monkeypatch.undo()
    assert lost >= 12
    assert repr(list(driver.record.history())) == repr(driver.trials)
    assert len(optuna.load_study(study_name="study", storage=url(tmp_path)).trials) == 2
    driver.record.close()


def test_a_database_that_stays_away_ends_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = start(tmp_path)
    monkeypatch.setattr(rdb, "PATIENCE_S", 0.0)
    away = sa.exc.OperationalError("statement", None, Exception("connection refused"))
    failing(engine_of(driver), "INSERT INTO trials", 1, away)
    with pytest.raises(RecordError, match="cannot be written: connection refused"):
        driver.begin(CONFIG)
    driver.record.close()


def test_a_reader_never_writes(tmp_path: Path) -> None:
    driver = start(tmp_path)
    run_one(driver)
    storage = rdb.open_database(url(tmp_path), writable=False)
    with pytest.raises(optuna.exceptions.StorageInternalError):
        storage.set_study_user_attr(1, "key", "value")
    storage.engine.dispose()
    assert repr(list(read_history(url(tmp_path), "study"))) == repr(driver.trials)
    driver.record.close()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("sqlite://", "would end with the process"),
        ("sqlite:///:memory:", "would end with the process"),
        ("nodatabase://host/name", "nodatabase"),
        ("http:///", "http"),
        ("://", "no database URL"),
    ],
)
def test_an_url_that_cannot_be_opened_is_named(bad: str, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        open_rdb(bad, "study", problem())


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("not a database, only text that is long enough to look like one " * 9)
    for read_only in (False, True):
        with pytest.raises(RecordError, match=r"study\.db: cannot be opened: file is not a database"):
            open_rdb(url(tmp_path), "study", problem(), read_only=read_only)


def test_passwords_are_never_shown() -> None:
    shown = rdb.location_of(sa.engine.make_url("postgresql+psycopg2://me:secret@host/db"))
    assert shown == "postgresql+psycopg2://me:***@host/db"
    with pytest.raises(RecordError) as caught:
        open_rdb("nodatabase://me:secret@host/db", "study", problem())
    assert "secret" not in str(caught.value)
    assert "me:***@host" in str(caught.value)


def test_a_relative_sqlite_path_is_shown_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = open_rdb("sqlite:///deep/study.db", "study", problem())
    assert record.location == f"sqlite:///{tmp_path}/deep/study.db"
    record.close()
