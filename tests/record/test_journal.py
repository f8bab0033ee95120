import gc
import json
import logging
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from autosearch.core import RecordError, State, StudyLockedError, Trial
from autosearch.record import open_journal, read_history
from autosearch.record.locks import DriverLock, WriteLock, works_on

from .lives import CONFIG, Driver, every_kind, problem

RESULT = {"accuracy": 0.5, "loss": 1.0, "params": 3.0}


def journal(folder: Path) -> Path:
    return folder / "study.journal"


def start(folder: Path) -> Driver:
    asked = problem()
    driver = Driver(open_journal(str(journal(folder)), "study", asked), asked)
    driver.trials = list(driver.record.history())
    driver.event = driver.record.history().events
    return driver


def run_one(driver: Driver) -> None:
    number = driver.begin(CONFIG)
    driver.report(number, RESULT)
    driver.finish(number)


def optuna_reads(path: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    trials: list[optuna.trial.FrozenTrial] = storage.get_all_trials(0)
    return trials


# -- crashes -----------------------------------------------------------------------------------------------


def test_a_journal_cut_at_every_byte_of_its_last_three_lines_opens_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of waits for the disk
    driver = start(tmp_path)
    for _ in range(2):
        run_one(driver)
    driver.record.close()
    data = journal(tmp_path).read_bytes()
    lines = data.splitlines(keepends=True)
    last_three = len(data) - sum(map(len, lines[-3:]))
    for cut in range(last_three, len(data)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        journal(folder).write_bytes(data[:cut])
        again = start(folder)
        first, second = again.trials
        assert repr(first) == repr(driver.trials[0])
        assert second.state is State.RUNNING
        assert second.reports == driver.trials[1].reports
        assert second.config == driver.trials[1].config
        again.finish(1)
        run_one(again)
        again.record.close()
        assert repr(list(read_history(journal(folder), "study"))) == repr(again.trials)
        if cut % 20 == 0:  # Optuna takes longer than all the rest
            assert [t.state.name for t in optuna_reads(journal(folder))] == ["COMPLETE"] * 3
        shutil.rmtree(folder)


def test_a_journal_cut_anywhere_at_all_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    driver = start(tmp_path)
    run_one(driver)
    driver.record.close()
    data = journal(tmp_path).read_bytes()
    for cut in range(0, len(data), 7):
        journal(tmp_path).write_bytes(data[:cut])
        again = start(tmp_path)
        assert len(again.trials) <= 1
        run_one(again)
        again.record.close()


def test_a_cut_tail_is_removed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    driver = start(tmp_path)
    run_one(driver)
    driver.record.close()
    whole = journal(tmp_path).read_bytes()
    journal(tmp_path).write_bytes(whole + b'{"op_code":9,"wor')
    with caplog.at_level(logging.WARNING):
        again = start(tmp_path)
    assert "its 17 bytes were removed" in caplog.text
    assert journal(tmp_path).read_bytes() == whole
    again.record.close()


def test_a_reader_leaves_a_cut_tail_alone(tmp_path: Path) -> None:
    driver = start(tmp_path)
    run_one(driver)
    driver.record.close()
    torn = journal(tmp_path).read_bytes() + b'{"op_code":4,"x'
    journal(tmp_path).write_bytes(torn)
    assert repr(list(read_history(journal(tmp_path), "study"))) == repr(driver.trials)
    assert journal(tmp_path).read_bytes() == torn
    assert [path.name for path in tmp_path.iterdir()] == ["study.journal"]


def test_zeros_left_by_a_power_cut_are_removed(tmp_path: Path) -> None:
    driver = start(tmp_path)
    run_one(driver)
    driver.record.close()
    with journal(tmp_path).open("ab") as file:
        file.write(bytes(4096))
    again = start(tmp_path)
    run_one(again)
    again.record.close()
    assert len(optuna_reads(journal(tmp_path))) == 2


def test_locks_left_by_a_killed_driver_cost_nothing(tmp_path: Path) -> None:
    start(tmp_path).record.close()
    (tmp_path / "study.journal.lock").symlink_to("nowhere")
    (tmp_path / "study.journal.driver").write_text('{"pid": 1, "host": "elsewhere"}')
    began = time.monotonic()
    driver = start(tmp_path)
    run_one(driver)
    assert time.monotonic() - began < 1
    driver.record.close()
    assert [path.name for path in tmp_path.iterdir()] == ["study.journal"]


CHILD = """
import sys, time
sys.path[:0] = sys.argv[2:]
from record.test_journal import run_one, start
from pathlib import Path
driver = start(Path(sys.argv[1]))
print("open", flush=True)
while True:
    run_one(driver)
"""


def child(folder: Path) -> "subprocess.Popen[str]":
    """Another driver of the same journal, in a process of its own; returns when it has opened it."""
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), tests], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_second_driver_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    process = child(tmp_path)
    with pytest.raises(
        StudyLockedError, match=rf"another driver \(process {process.pid} on .*\) works on it"
    ):
        start(tmp_path)
    time.sleep(0.1)
    end(process)
    driver = start(tmp_path)
    ended = [trial for trial in driver.trials if trial.state is State.COMPLETE]
    assert len(driver.trials) - len(ended) <= 1
    run_one(driver)
    driver.record.close()
    assert len(optuna_reads(journal(tmp_path))) == len(driver.trials)


def test_readers_see_whole_trials_while_a_driver_writes(tmp_path: Path) -> None:
    process = child(tmp_path)
    try:
        reader = open_journal(str(journal(tmp_path)), "study", None, read_only=True)
        seen: list[Trial] = []
        until = time.monotonic() + 30
        while len(seen) < 60 and time.monotonic() < until:
            for found in (list(reader.history()), list(read_history(journal(tmp_path), "study"))):
                assert len(found) >= len(seen)
                assert repr(found[: max(0, len(seen) - 1)]) == repr(seen[:-1])
                assert all(trial.state is State.COMPLETE for trial in found[:-1])
                seen = found
        assert len(seen) >= 60
        reader.close()
    finally:
        end(process)


def test_the_same_process_is_told_to_close_the_study(tmp_path: Path) -> None:
    driver = start(tmp_path)
    with pytest.raises(StudyLockedError, match="still open in this process"):
        start(tmp_path)
    driver.record.close()
    driver.record.close()
    start(tmp_path).record.close()


def test_checkpoints_beside_a_journal_move_with_it(tmp_path: Path) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    driver = start(home)
    for path in (home / "checkpoints" / "c0", tmp_path / "elsewhere", Path("relative")):
        number = driver.begin(CONFIG)
        driver.amend(number, checkpoint=str(path), checkpoint_step=1)
    driver.report(0, RESULT)
    driver.finish(0)
    driver.record.close()
    assert [t.checkpoint for t in start(home).record.history()] == [t.checkpoint for t in driver.trials]
    home.rename(away)
    found = [t.checkpoint for t in read_history(journal(away), "study")]
    assert found == [str(away / "checkpoints" / "c0"), str(tmp_path / "elsewhere"), "relative"]


def test_a_study_that_nobody_holds_any_more_lets_go_of_its_files(tmp_path: Path) -> None:
    start(tmp_path)
    gc.collect()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        start(tmp_path)
        gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_link_to_the_file_does_not_let_a_second_driver_in(tmp_path: Path) -> None:
    driver = start(tmp_path)
    link = tmp_path / "link.journal"
    link.symlink_to(journal(tmp_path))
    with pytest.raises(StudyLockedError):
        open_journal(str(link), "study", problem())
    driver.record.close()
    open_journal(str(link), "study", problem()).close()


def test_a_copy_of_an_open_record_writes_nothing(tmp_path: Path) -> None:
    driver = start(tmp_path)
    run_one(driver)
    copy = pickle.loads(pickle.dumps(driver.record))
    assert len(copy.history()) == 1
    with pytest.raises(RecordError, match="closed"):
        copy.note("a", 1)
    copy.close()
    run_one(driver)
    driver.record.close()


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = DriverLock(journal(tmp_path))
    ready, hold = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:  # as a data loader's worker, which outlives a killed driver for a moment
        os.write(ready[1], b"x")
        os.read(hold[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        lock._drop()  # what the kernel does when the driver is killed
        DriverLock(journal(tmp_path)).release()
    finally:
        os.write(hold[1], b"x")
        os.waitpid(pid, 0)
        for descriptor in (*ready, *hold):
            os.close(descriptor)


def test_many_drivers_at_once_never_both_hold_the_lock(tmp_path: Path) -> None:
    inside, most, refused = 0, 0, 0
    guard = threading.Lock()

    def contend() -> None:
        nonlocal inside, most, refused
        for _ in range(60):
            try:
                lock = DriverLock(journal(tmp_path))
            except StudyLockedError:
                refused += 1
                continue
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.0002)
            with guard:
                inside -= 1
            lock.release()

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert refused > 0


def test_a_write_lock_that_nobody_holds_any_more_is_broken(tmp_path: Path) -> None:
    lock = WriteLock(journal(tmp_path), grace_s=0.05)
    lock.path.touch()
    began = time.monotonic()
    with lock:
        assert 0.04 < time.monotonic() - began < 2
    assert not lock.path.exists()


# -- other programs ----------------------------------------------------------------------------------------


def test_optuna_reads_the_journal_as_autosearch_does(tmp_path: Path) -> None:
    driver = start(tmp_path)
    every_kind(driver)
    driver.record.close()
    theirs = optuna_reads(journal(tmp_path))
    assert [t.number for t in theirs] == [t.number for t in driver.trials]
    for mine, other in zip(driver.trials, theirs, strict=True):
        assert other.params == {k: v for k, v in mine.config.items() if k in other.params}
        assert other.system_attrs["autosearch:born"]["info"].keys() == mine.info.keys()


def test_another_optuna_program_may_write_to_the_same_file(tmp_path: Path) -> None:
    driver = start(tmp_path)
    run_one(driver)
    backend = optuna.storages.journal.JournalFileBackend(str(journal(tmp_path)))
    storage = optuna.storages.JournalStorage(backend)
    storage.set_study_system_attr(0, "dashboard:note", "from a person")
    theirs = optuna.create_study(study_name="theirs", storage=storage)
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    run_one(driver)
    theirs.add_trial(optuna.trial.create_trial(value=2.0))
    run_one(driver)
    assert repr(list(driver.record.history())) == repr(driver.trials)
    driver.record.close()
    assert [t.values for t in optuna_reads(journal(tmp_path))] == [[0.5]] * 3


def test_a_foreign_trial_in_the_study_is_noticed(tmp_path: Path) -> None:
    driver = start(tmp_path)
    backend = optuna.storages.journal.JournalFileBackend(str(journal(tmp_path)))
    theirs = optuna.load_study(study_name="study", storage=optuna.storages.JournalStorage(backend))
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(RecordError, match="another program added trials to study 'study'"):
        driver.begin(CONFIG)
    driver.record.close()
    with pytest.raises(RecordError, match="trial 0 was not written by autosearch"):
        read_history(journal(tmp_path), "study")


def test_a_deleted_study_is_gone_and_the_others_stay(tmp_path: Path) -> None:
    driver = start(tmp_path)
    run_one(driver)
    other = open_in_same_store(driver, "other")
    run_one(other)
    driver.record.close()
    backend = optuna.storages.journal.JournalFileBackend(str(journal(tmp_path)))
    optuna.delete_study(study_name="study", storage=optuna.storages.JournalStorage(backend))
    with pytest.raises(RecordError, match="no study 'study'"):
        read_history(journal(tmp_path), "study")
    assert repr(list(read_history(journal(tmp_path), "other"))) == repr(other.trials)
    again = start(tmp_path)
    assert not again.record.existed
    run_one(again)
    again.record.close()
    assert repr(list(read_history(journal(tmp_path), "study"))) == repr(again.trials)


def open_in_same_store(driver: Driver, name: str) -> Driver:
    from autosearch.record.record import StudyRecord

    return Driver(StudyRecord(driver.record.store, name, driver.problem), driver.problem)


# -- files that are none -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"study: digits\nseed: 0\n",
        b"no newline",
        b"SQLite format 3\0" + bytes(90),
        b"[1]\n",
        b"3\n",
        b"\xff\n",
        b"\n",
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    journal(tmp_path).write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(RecordError, match="Optuna journal"):
            open_journal(str(journal(tmp_path)), "study", problem(), read_only=read_only)
    assert journal(tmp_path).read_bytes() == content


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    driver = start(tmp_path)
    run_one(driver)
    driver.record.close()
    lines = journal(tmp_path).read_bytes().splitlines(keepends=True)
    lines[6] = b'{"op_code":9,"tri\n'
    journal(tmp_path).write_bytes(b"".join(lines))
    with pytest.raises(RecordError, match=r"study\.journal: line 7 is not an entry"):
        start(tmp_path)


@pytest.mark.parametrize("kind", ["folder", "parent is a file"])
def test_a_path_that_cannot_be_opened_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
    else:
        path.touch()
        path = path / "study.journal"
    for read_only in (False, True):
        with pytest.raises(RecordError, match="cannot be"):
            open_journal(str(path), "study", problem(), read_only=read_only)


# -- writing -----------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = start(tmp_path)
    run_one(driver)
    before, write = journal(tmp_path).read_bytes(), os.write

    def half(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[: len(data) // 2]) if len(data) > 100 else write(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", half)
        with pytest.raises(RecordError, match="the disk is full"):
            driver.begin(CONFIG)
    assert journal(tmp_path).read_bytes() == before
    run_one(driver)
    driver.record.close()
    assert repr(list(read_history(journal(tmp_path), "study"))) == repr(driver.trials)


def test_a_journal_removed_under_a_running_study_is_an_error(tmp_path: Path) -> None:
    driver = start(tmp_path)
    journal(tmp_path).unlink()
    with pytest.raises(RecordError, match="the file was removed"):
        driver.begin(CONFIG)
    driver.record.close()


def test_a_journal_removed_under_a_reader_is_an_error(tmp_path: Path) -> None:
    start(tmp_path).record.close()
    reader = open_journal(str(journal(tmp_path)), "study", None, read_only=True)
    journal(tmp_path).unlink()
    with pytest.raises(RecordError, match="there is no such record"):
        reader.notes()


def test_the_disk_is_waited_for_at_begin_and_end_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = start(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    number = driver.begin(CONFIG)
    assert len(synced) == 1
    driver.report(number, RESULT)
    driver.amend(number, checkpoint="c", checkpoint_step=1)
    assert len(synced) == 1
    driver.finish(number)
    assert len(synced) == 2
    driver.record.close()


def test_a_live_trial_is_one_line_and_a_report_is_two(tmp_path: Path) -> None:
    driver = start(tmp_path)

    def lines() -> list[Any]:
        return [json.loads(line) for line in journal(tmp_path).read_text().splitlines()]

    before = len(lines())
    number = driver.begin(CONFIG)
    assert [line["op_code"] for line in lines()[before:]] == [4]
    driver.report(number, RESULT)
    assert [line["op_code"] for line in lines()[before + 1 :]] == [7, 9]
    driver.record.close()


def test_finished_trials_do_not_stay_in_the_drivers_memory_twice(tmp_path: Path) -> None:
    driver = start(tmp_path)
    for _ in range(3):
        run_one(driver)
    assert not driver.record.store._replay.rows  # type: ignore[attr-defined]
    driver.record.close()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"study_name":"study"', '"study_name":null'),
        ('"trial_id":0', '"trial":0'),
        ('"system_attr":{', '"system_attr":"{}","x":{'),
        ('"seen":0', '"seen":"0"'),
        ('"transitions":[[', '"transitions":[[[],'),
        ('"started":', '"started":null,"x":'),
    ],
)
def test_a_line_that_was_changed_is_refused_and_not_believed(tmp_path: Path, old: str, new: str) -> None:
    from autosearch.core import Study

    path = tmp_path / "study.journal"
    with Study({"x": [1, 2]}, {"loss": "minimize"}, searcher="random", storage=path, name="study") as study:
        study.tell(study.ask(), 1.0)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(RecordError):
        read_history(path, "study")


def test_a_reader_sees_whether_a_driver_works_on_the_journal(tmp_path: Path) -> None:
    path, lock = journal(tmp_path), journal(tmp_path).with_name(journal(tmp_path).name + ".driver")
    assert works_on(path) is False
    driver = start(tmp_path)
    reader = open_journal(str(path), "study", None, read_only=True)
    assert reader.driven is True
    driver.record.close()
    assert reader.driven is False
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = {"pid": ended.pid, "host": socket.gethostname()}
    lock.write_text(json.dumps(here))
    assert reader.driven is False, "it was killed"
    for text in (json.dumps({**here, "host": "elsewhere"}), "", "{}"):
        lock.write_text(text)
        assert reader.driven is None, text
