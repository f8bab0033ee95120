"""Drivers with a Ray session of their own: killed, told to end, and what they leave."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autosearch.core import State
from autosearch.core.opening import open_record
from autosearch.runners.processes import RUN_MARK

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]


class Driver:
    """One run of `ray_driver.py` with a home folder of its own."""

    def __init__(self, form: str, output: Path, home: Path) -> None:
        home.mkdir(exist_ok=True)
        self.output = output
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.runners.ray_driver", form, str(output)],
            cwd=ROOT,
            env={**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def run(self) -> str:
        return str(json.loads((self.output / "ray.json").read_text())["run"])

    def wait_for_reports(self, number: int) -> None:
        """Until the session stands and the journal has `number` more reports."""
        journal = self.output / "study.journal"
        first = reports(journal)
        deadline = time.monotonic() + 60
        while reports(journal) < first + number or not (self.output / "ray.json").exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, "the driver reports nothing"
            time.sleep(0.05)

    def end(self) -> str:
        return self.process.communicate(timeout=120)[0]


def reports(journal: Path) -> int:
    """Lines of the journal that hold a report."""
    return journal.read_bytes().count(b"intermediate_value") if journal.exists() else 0


def marked(run: str) -> list[int]:
    """Processes that the run has started and that still live."""
    mark, found = f"{RUN_MARK}={run}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            alive = (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if alive and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_until_gone(run: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while marked(run):
        assert time.monotonic() < deadline, f"still there: {marked(run)}"
        time.sleep(0.2)


@pytest.mark.parametrize(("form", "kills"), [("function", (4, 7)), ("command", (5,))])
def test_a_killed_driver_s_trials_go_on_at_the_next_epoch(
    tmp_path: Path, form: str, kills: tuple[int, ...]
) -> None:
    kill_and_finish(form, tmp_path, kills)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("form", ["function", "command"])
def test_twenty_kills_lose_nothing(tmp_path: Path, form: str) -> None:
    moments = random.Random(0)
    kill_and_finish(form, tmp_path, tuple(moments.randint(0, 2) for _ in range(20)))


def kill_and_finish(form: str, folder: Path, kills: tuple[int, ...]) -> None:
    """Kill a driver after so many more reports, again and again; let the last one finish, and look at everything."""
    output, home = folder / "out", folder / "home"
    for more in kills:
        driver = Driver(form, output, home)
        driver.wait_for_reports(more)
        run = driver.run
        os.kill(driver.process.pid, signal.SIGKILL)
        driver.process.communicate()
        wait_until_gone(run, 30)
    text = Driver(form, output, home).end()
    assert sorted(json.loads(text)) == [0, 1, 2], f"printed more than its line: {text}"
    history = open_record(output / "study.journal", "study", read_only=True).history()
    assert [t.state for t in history] == [State.COMPLETE] * 3
    assert {cause for t in history for cause in t.attempts} == {"interrupted"}
    for trial in history:
        assert [r.metrics["epoch"] for r in trial.curve] == list(range(1, 13))
        epochs = {r.metrics["epoch"] for r in trial.reports}
        assert {r.metrics["start"] - 1 for r in trial.reports} <= epochs | {0}, "an epoch was left out"
    assert any(r.metrics["start"] > 1 for t in history for r in t.reports), (
        "nothing went on from a checkpoint"
    )
    assert list(home.iterdir()) == [], "the home folder is not ours"
    left = {path.name for path in output.iterdir()}
    assert left <= {"study.journal", "study.journal.driver", "checkpoints", "trials", "logs"}, left


@pytest.mark.parametrize("how", ["Ctrl-C to the group", "SIGTERM to the driver"])
def test_a_signal_saves_and_ends_within_fifteen_seconds(tmp_path: Path, how: str) -> None:
    output = tmp_path / "out"
    driver = Driver("function", output, tmp_path / "home")
    driver.wait_for_reports(3)
    run, pressed = driver.run, time.monotonic()
    if how.startswith("Ctrl-C"):
        os.killpg(driver.process.pid, signal.SIGINT)
    else:
        os.kill(driver.process.pid, signal.SIGTERM)
    text = driver.end()
    assert "ending: what runs is saved at its next report" in text, "nothing says what it waits for"
    assert "KeyboardInterrupt" in text
    assert time.monotonic() - pressed < 15
    wait_until_gone(run, 2)
    history = open_record(output / "study.journal", "study", read_only=True).history()
    running = history.by_state(State.RUNNING)
    assert running
    assert any(t.checkpoint_step == t.step > 0 for t in running)
    assert not (output / "ray.json").exists()
