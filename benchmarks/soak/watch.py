"""Looks at a study from outside: starts and ends its drivers, and says what was lost, repeated or left behind."""

import atexit
import contextlib
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from autosearch.core import History, RecordError, State
from autosearch.core.opening import open_record

from .driver import NAME, Spec
from .work import OPTIMUM, loaded

ROOT = Path(__file__).parents[2]
FAULTS = (
    "lost",
    "twice",
    "over_budget",
    "wrong_best",
    "bad_checkpoints",
    "other_choices",
    "left_processes",
    "left_files",
)
GONE_S = 30.0  # within which nothing of a killed driver may be left
MARK = "AUTOSEARCH_SOAK"
KEPT = {"study.journal", "study.journal.driver", "checkpoints", "trials", "logs", "queue", "tally"}


class Driver:
    """A process of `driver.py` and all that it starts."""

    def __init__(self, spec: Spec, home: Path) -> None:
        self.mark = secrets.token_hex(8)
        home.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak.driver", json.dumps(dataclasses.asdict(spec))],
            cwd=ROOT,
            env={**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        atexit.register(self.kill)  # should the run be ended before the driver is

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> bool:
        """Kill the driver alone, as a machine's owner would; whether it was still running."""
        was = self.running
        if was:
            os.kill(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # what holds its output open is counted as left
            self.process.communicate(timeout=GONE_S)
        return was

    def end(self, seconds: float) -> tuple[int, str, str]:
        """Wait for its own end: status, output, errors."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return self.process.returncode, out, err

    def left(self, sessions: Collection[Path]) -> list[str]:
        """Processes of its own, or of Ray in `sessions`, that are still there after `GONE_S`, by their commands."""
        deadline = time.monotonic() + GONE_S
        while (alive := _marked(self.mark) | _holding(sessions)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [_command(pid) for pid in alive]


def _holding(sessions: Collection[Path]) -> set[int]:
    """Ray's processes with a file of a session open: their titles may stand where the mark was."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if (folder / "cmdline").read_bytes().startswith(b"ray::"):
                held = [path.readlink() for path in (folder / "fd").iterdir()]
                if any(path.is_relative_to(session) for path in held for session in sessions):
                    found.add(int(folder.name))
    return found


def _marked(mark: str) -> set[int]:
    wanted, found = f"{MARK}={mark}".encode(), set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            alive = (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if alive and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue  # it has ended, or is another user's
    return found


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        words = "ended just now"
    return f"{pid} {words:.60}"


class Watch:
    """What must hold of one study, whatever happens to its drivers. Every count of a fault should stay 0."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.folder = spec, Path(spec.folder)
        self.home = self.folder.parent / "home"
        self.lost, self.repeated = 0, 0
        self.left: list[str] = []
        self._known: dict[int, Any] = {}
        self._begun: Counter[int] = Counter()
        self._sessions: set[Path] = set()

    def history(self) -> History | None:
        """The study as its record shows it, None where there is none yet."""
        try:
            record = open_record(self.spec.record, NAME, read_only=True)
        except RecordError:
            return None
        try:
            return record.history()
        finally:
            record.close()

    def finished(self) -> int:
        found = self.history()
        self.see_session()
        return 0 if found is None else len(found.finished)

    def wait_for(self, trials: int, driver: Driver, seconds: float = 120) -> None:
        """Until so many trials have finished, or the driver has ended."""
        deadline = time.monotonic() + seconds
        while driver.running and self.finished() < trials:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.folder}: {self.finished()} of {trials} trials after {seconds:g} s."
                )
            time.sleep(0.3)

    def start(self) -> Driver:
        return Driver(self.spec, self.home)

    def end_of(self, driver: Driver) -> None:
        """Note what a driver leaves that has ended by itself."""
        self.left += driver.left(self._sessions)

    def see_session(self) -> None:
        """Note the folder of the Ray session that runs now, to see later whether it is gone."""
        with contextlib.suppress(OSError, ValueError):  # there is none, or it is being written
            self._sessions.add(Path(json.loads((self.folder / "ray.json").read_text())["folder"]))

    def look(self, driver: Driver | None = None) -> None:
        """Count finished trials that are gone, have changed, or were begun again since the last look."""
        if driver is not None:
            self.left += driver.left(self._sessions)
        found = self.history()
        now = {} if found is None else {t.number: (t.config, t.values, t.transitions) for t in found.finished}
        begun = self._tally()
        for number, content in self._known.items():
            self.lost += now.get(number) != content
            self.repeated += begun[number] > self._begun[number]
        self._known, self._begun = now, begun

    def _tally(self) -> Counter[int]:
        path = self.folder / "tally"
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        return Counter(int(line.split()[0]) for line in lines if len(line.split()) == 2)

    def verdict(self, *, configs: bool = True) -> dict[str, Any]:
        """What there is to say at the end; `configs`: whether the searcher has chosen them all."""
        self.look()
        history = self.history()
        if history is None:
            raise RecordError(f"{self.spec.record}: there is no study.")
        trials = list(history)
        best = min(trials, key=lambda t: abs(t.config["x"] - OPTIMUM))
        left = self.left_files()
        ends = [sum(t.state.finished for t in trial.transitions) for trial in trials]
        found = {
            "trials": len(trials),
            "complete": len(history.by_state(State.COMPLETE)),
            "lost": self.lost,
            "twice": self.repeated + sum(count != 1 for count in ends),
            "over_budget": max(0, len(trials) - self.spec.trials),
            "wrong_best": int(history.incumbent is None or history.incumbent.number != best.number),
            "bad_checkpoints": self._bad_checkpoints(history),
            "other_choices": self._other_choices(history) if configs else 0,
            "left_processes": len(self.left),
            "left_files": len(left),
        }
        if left or self.left:
            found["note"] = f"left: {', '.join([*left, *self.left])}"
        found["passed"] = int(
            found["trials"] == found["complete"] == self.spec.trials
            and not any(found[name] for name in FAULTS)
        )
        return found

    def _bad_checkpoints(self, history: History) -> int:
        """The incumbent's, if it cannot be loaded or is not of its last step."""
        best = history.incumbent
        if not self.spec.size or best is None:
            return 0
        try:
            return int(loaded(Path(best.checkpoint or ""), best.config["x"])["step"] != self.spec.steps)
        except (OSError, ValueError):
            return 1

    def _other_choices(self, history: History) -> int:
        """Configurations that differ from those of an undisturbed study."""
        calm = dataclasses.replace(self.spec, folder=str(self.folder / "none")).study(None)
        expected = [trial.config for trial in calm.ask(len(history))]
        return sum(trial.config != config for trial, config in zip(history, expected, strict=True))

    def left_files(self) -> list[str]:
        """What nobody has asked to keep: in the output, in the home folder, of Ray's sessions."""
        left = [p.name for p in self.folder.iterdir() if p.name not in KEPT]
        left += [p.name for p in self.home.iterdir()]
        return left + sorted(str(folder) for folder in self._sessions if folder.exists())
