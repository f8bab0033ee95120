"""The parts of the long run on one machine: each disturbs one study, and returns what `Watch.verdict` counts."""

import contextlib
import ctypes
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autosearch.core.queue import Queue

from .driver import Spec
from .watch import Driver, Watch

Say = Callable[[str], None]


class SkippedError(Exception):
    """This machine lacks what the part needs; says what, and how to get it."""


@contextlib.contextmanager
def folder_of_its_own() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def finish(watch: Watch, seconds: float = 900) -> dict[str, Any]:
    """Let an undisturbed driver end the study."""
    driver = watch.start()
    status, _, errors = driver.end(seconds)
    if status != 0:
        raise RuntimeError(f"the undisturbed driver ended with {status}: {errors}")
    watch.end_of(driver)
    return watch.verdict()


def kills(seed: int, say: Say, faults: int = 50) -> dict[str, Any]:
    """A driver killed at random moments: every fifth time while it starts, else within its trials."""
    moments = random.Random(seed)
    with folder_of_its_own() as folder:
        watch = Watch(Spec(str(folder / "out"), trials=30 + faults))
        done = 0
        for kill in range(faults):
            driver = watch.start()
            if kill % 5 == 0:
                time.sleep(moments.uniform(0, 6))
            else:
                watch.wait_for(watch.finished() + 1, driver)
                time.sleep(moments.uniform(0, 2))
            done += driver.kill()
            watch.look(driver)
            say(f"kill {kill + 1}: {watch.finished()} finished, {watch.lost} lost, {watch.repeated} twice")
        return {"faults": done, **finish(watch)}


def two_drivers(seed: int, say: Say, faults: int = 6) -> dict[str, Any]:
    """Two drivers of one study, at the same moment or one later: one is refused, the other undisturbed."""
    moments, wrong = random.Random(seed), 0
    with folder_of_its_own() as folder:
        watch = Watch(Spec(str(folder / "out"), trials=40, reusable=True))
        for round_ in range(faults):
            first = watch.start()
            if round_ % 2:
                watch.wait_for(watch.finished() + 1, first)
            time.sleep(moments.uniform(0, 0.1))
            second = watch.start()
            refused, going = _one_refused(first, second)
            wrong += refused is None or going is None
            if going is not None:
                watch.wait_for(watch.finished() + 2, going)
                wrong += not going.running and going.process.returncode != 0
            for driver in (first, second):
                driver.kill()
            for driver in (first, second):  # both are gone: the study's sessions may be one's or the other's
                watch.look(driver)
            say(f"round {round_ + 1}: {watch.finished()} finished, {wrong} wrong")
        found = finish(watch)
        return {"faults": faults, **found, "passed": int(found["passed"] and not wrong)}


def _one_refused(*drivers: Driver) -> tuple[Driver | None, Driver | None]:
    """(the one that was refused, the other one); waits until one has ended."""
    deadline = time.monotonic() + 60
    while all(driver.running for driver in drivers) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)  # for a second one to end, which it must not
    ended = [driver for driver in drivers if not driver.running and driver.process.returncode == 2]
    going = [driver for driver in drivers if driver.running]
    return (ended[0] if len(ended) == 1 else None), (going[0] if len(going) == 1 else None)


def queued(seed: int, say: Say, faults: int = 200) -> dict[str, Any]:
    """Many configurations queued by hand, half of them while the study runs: each runs once, in order."""
    drawn = random.Random(seed)
    values = [drawn.random() for _ in range(faults)]
    with folder_of_its_own() as folder:
        spec = Spec(str(folder / "out"), trials=faults, steps=1, sleep=0.0, reusable=True)
        watch, queue = Watch(spec), Queue(Path(spec.folder) / "queue")
        for x in values[: faults // 2]:
            queue.add({"x": x})
        driver = watch.start()
        watch.wait_for(5, driver)
        for x in values[faults // 2 :]:
            queue.add({"x": x})
        say(f"{faults // 2} queued before, {faults - faults // 2} while it runs")
        status, _, errors = driver.end(600)
        watch.end_of(driver)
        found = watch.verdict(configs=False)
        history = watch.history()
        ran = [] if history is None else [trial.config["x"] for trial in history]
        space = spec.study(None).problem.space
        asked = [space.validate({"x": x})["x"] for x in values]
        other = sum(x != y for x, y in zip(ran, asked, strict=False))
        if status != 0:
            say(f"the driver ended with {status}: {errors}")
        passed = found["passed"] and not other and status == 0
        return {"faults": faults, **found, "other_choices": other, "passed": int(passed)}


def noop(seed: int, say: Say, faults: int = 10_000) -> dict[str, Any]:
    """Many trials that do nothing: memory of the driver, and the time of a decision, as the study grows."""
    del seed  # a study of the same trials each time
    most_bytes, most_ms = 25_000, 50.0
    with folder_of_its_own() as folder:
        spec = Spec(
            str(folder / "out"),
            trials=faults,
            steps=1,
            sleep=0.0,
            size=0,
            reusable=True,
            tally=False,
            measure=True,
        )
        watch = Watch(spec)
        driver = watch.start()
        while driver.running:
            time.sleep(min(30.0, faults / 100))
            say(f"{watch.finished()} finished")
        status, out, errors = driver.end(60)
        if status != 0:
            raise RuntimeError(f"the driver ended with {status}: {errors}")
        watch.end_of(driver)
        figures = json.loads(out)
        within = (
            figures["bytes_a_trial"] <= most_bytes and figures["ms_at_end"] - figures["ms_at_100"] <= most_ms
        )
        found = watch.verdict()
        note = ", ".join(
            f"{name} {figures[name]:.3g}" for name in ("bytes_a_trial", "ms_at_100", "ms_at_end")
        )
        return {
            "faults": 0,
            **found,
            "passed": int(found["passed"] and within),
            "note": f"{note} {found.get('note', '')}",
        }


def full_disk(seed: int, say: Say, faults: int = 4) -> dict[str, Any]:
    """A disk that is full: first for checkpoints alone, then for the record too; then there is room again."""
    moments = random.Random(seed)
    with folder_of_its_own() as folder, _small_disk(folder / "disk") as disk:
        watch = Watch(Spec(str(disk.folder / "out"), trials=24, size=300_000, reusable=True))
        said = []
        for fault in range(faults):
            driver = watch.start()
            before = watch.finished()
            watch.wait_for(before + 1, driver)
            time.sleep(moments.uniform(0, 1))
            whole = fault % 2 == 1
            disk.fill(0 if whole else 200_000)
            if whole:
                status, _, errors = driver.end(120)
                said.append(status == 3 and "the disk is full" in errors and "Traceback" not in errors)
                say(f"the driver ended with {status}: {errors.strip()}")
            else:
                watch.wait_for(watch.finished() + 3, driver)
                said.append(driver.kill())  # it went on until then
            disk.free()
            watch.look(driver)
            say(f"disk {'full' if whole else 'too full for checkpoints'}: as it should be: {said[-1]}")
        found = finish(watch)
        return {"faults": faults, **found, "passed": int(found["passed"] and all(said))}


class _Disk:
    """A small file system, which is filled and freed by a file."""

    kind = "tmpfs of 16 MB"

    def __init__(self, folder: Path) -> None:
        self.folder, self._ballast = folder, folder / "ballast"

    def fill(self, room: int) -> None:
        """Leave only `room` bytes."""
        with self._ballast.open("ab") as file, contextlib.suppress(OSError):
            while True:
                stat = os.statvfs(self.folder)
                free = stat.f_bavail * stat.f_frsize - room
                if free <= 0:
                    break
                file.write(b"\0" * min(free, 65536))
                file.flush()

    def free(self) -> None:
        self._ballast.unlink()


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[_Disk]:
    """A file system of its own in memory.

    Raises:
        SkippedError: without the right to mount one.
    """
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=16m") != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SkippedError(f"a small file system cannot be mounted ({reason}): run as root.")
    try:
        yield _Disk(folder)
    finally:
        libc.umount2(str(folder).encode(), 2)
