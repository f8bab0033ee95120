"""Objectives and scripts that the tests of the Ray runner hand to real workers; importable there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

from autosearch.core import Decision, Job, Progress
from autosearch.runners import devices

STEPS = 3
MARK = "86399"  # seconds of a sleep that no other process asks for


class Faulty:
    """Ends in its own way for each trial number; the others complete."""

    max_step = STEPS

    def __init__(self, *, reusable: bool) -> None:
        self.reusable = reusable

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        for step in range(job.step + 1, STEPS + 1):
            if step == 2:
                misbehave(job.number)
            yield Progress(
                {"loss": job.config["x"] + 1 / step}, step, save=lambda folder: (folder / "s").touch()
            )


def misbehave(number: int) -> None:
    sys.stdout.write("about to misbehave\n")
    sys.stdout.flush()
    if number == 0:
        raise UnpicklableError(1, 2)
    if number == 1:
        sys.exit(0)
    if number == 2:
        os._exit(7)
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 4:
        hang()
    if number == 5:
        hoard()
    if number == 6:
        subprocess.Popen(["sleep", MARK], start_new_session=True)
    if number == 7:
        os.system("yes | head -c 30000000")
    if number == 8:
        raise KeyboardInterrupt


class UnpicklableError(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("cannot be unpickled")


def hang() -> None:
    while True:
        try:
            time.sleep(1000)
        except BaseException:  # noqa: BLE001 - the worst that user code can do
            continue


def hoard() -> None:
    kept = []
    while True:
        kept.append(bytearray(40_000_000))
        time.sleep(0.01)


class Devices:
    """Reports which GPUs Ray gave it, and when it ran."""

    reusable = False

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        began = time.time()
        time.sleep(0.7)
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        yield Progress({"loss": 0.0, "began": began, "ended": time.time()}, 1, data={"devices": seen})


class SideBySide:
    """Reports what a process beside the trial sees, and how many there may be."""

    reusable = True

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        offered = devices.workers()
        if offered is None:
            yield Progress({"loss": 0.0, "count": 0.0}, 1)
            return
        own = offered.seed == job.seed and offered.executor.submit(os.getpid).result() != os.getpid()
        yield Progress({"loss": float(not own), "count": float(offered.count)}, 1)


class FullDisk:
    """Its checkpoints never fit."""

    reusable = True

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        for step in range(1, STEPS + 1):
            yield Progress({"loss": job.config["x"]}, step, save=refuse)


def refuse(folder: Path) -> None:
    raise OSError(28, "No space left on device", str(folder))
