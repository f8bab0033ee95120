"""A driver killed with SIGKILL at random moments loses nothing, repeats nothing, and chooses what it would have."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosearch.core import History, RecordError, State
from autosearch.core.opening import open_record

from .kill_driver import STEPS, TRIALS

KILLS = 20


class Driver:
    """The forking process; `live` runs a study up to its end, or for a while."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.kill_driver"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read("ready")

    def live(
        self, folder: Path, searcher: str, seconds: float | None = None, *, wait: bool = True
    ) -> float | None:
        """Seconds that the study ran from its opening to its end; None where it was killed before.

        It is killed after `seconds`, counted from its opening, or, without `wait`, from the start of its process.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"folder": str(folder), "searcher": searcher}) + "\n")
        self._process.stdin.flush()
        pid = int(self._read("pid")[0])
        if wait:
            self._read("open")
        begun = time.monotonic()
        if seconds is not None:
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):  # it came to its end just before
                os.kill(pid, signal.SIGKILL)
        status = int(self._read("ended")[0])
        assert status in (0, signal.SIGKILL), "the study raised: see its traceback above"
        return time.monotonic() - begun if status == 0 else None

    def _read(self, *tags: str) -> list[str]:
        """The words behind the next line that begins with one of `tags`."""
        assert self._process.stdout is not None
        while True:
            tag, *words = self._process.stdout.readline().split()
            if tag in tags:
                return words
            assert tag != "ended", "the study raised before it was open: see its traceback above"

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


def read(folder: Path) -> History:
    record = open_record(folder / "study.journal", "killed", read_only=True)
    history = record.history()
    record.close()
    return history


def finished(folder: Path) -> dict[int, tuple]:
    try:
        ended = read(folder).finished
    except RecordError:  # killed before there was a study; later, the missing trials tell
        return {}
    return {trial.number: (trial.config, trial.values, trial.finished, trial.transitions) for trial in ended}


@pytest.mark.parametrize("searcher", ["random", "sobol", "grid"])
def test_a_driver_killed_twenty_times_ends_as_an_undisturbed_one(
    driver: Driver, searcher: str, tmp_path: Path
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    whole = driver.live(calm, searcher)
    assert whole is not None
    # Long enough for the study to get ahead, short enough for all kills to fall into it.
    life = 1.5 * whole / KILLS
    moments = random.Random(searcher)
    known: dict[int, tuple] = {}
    kills = 0
    for kill in range(KILLS):
        # Every fifth falls into the opening of the record, the others into the study.
        kills += driver.live(killed, searcher, moments.uniform(0, life), wait=kill % 5 > 0) is None
        now = finished(killed)
        assert {number: now.get(number) for number in known} == known, "a finished trial changed"
        known = now
    assert kills >= KILLS // 2, "the study was over before it could be killed often enough"
    assert driver.live(killed, searcher) is not None
    expected, history = read(calm), read(killed)
    assert [trial.number for trial in history] == list(range(TRIALS))
    assert [trial.state for trial in history] == [State.COMPLETE] * TRIALS
    assert [trial.config for trial in history] == [trial.config for trial in expected]
    assert [trial.values for trial in history] == [trial.values for trial in expected]
    assert all([r.step for r in trial.curve][-1] == STEPS for trial in history)
    assert any("interrupted" in trial.attempts for trial in history), "no kill fell into a trial"
    ends = [sum(t.state.finished for t in trial.transitions) for trial in history]
    assert ends == [1] * TRIALS
