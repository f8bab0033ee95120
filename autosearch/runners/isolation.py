"""Keeps trials that share a process, one after the other, from seeing each other.

What can be put back is put back: working directory, environment, output, threads, number formats, random states,
child processes. Module globals and leaked memory cannot: only objectives that say they are `reusable` share one.
"""

import faulthandler
import gc
import os
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from autosearch.runners import gpu
from autosearch.runners.processes import adopt_orphans, descendants, end_processes, memory_of

MEMORY_POLL_S = 0.1
LOG_LIMIT_BYTES = 10 * 2**20
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def seed_everything(seed: int) -> None:
    """Seed every random state of the process; torch's only where it is loaded, so call it after imports."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - user code that draws from the global state must be repeatable
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def reset_torch(threads: int) -> None:
    """Put torch's process-wide switches back to their defaults, with `threads` threads."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = False


@contextmanager
def pinned(cpus: float) -> Iterator[None]:
    """A span in which torch has as many threads as the trial has CPUs; the caller's number comes back afterwards.

    A small network is slower on several threads, on a busy machine very much slower, and its rounding depends on them.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(cpus)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def separated(cpus: float, extra: dict[str, str]) -> Iterator[None]:
    """A span in which a trial may change the process as it likes; afterwards it is as before.

    Args:
        cpus: of the trial: its threads, at least 1.
        extra: environment variables of the trial.
    """
    threads = max(1, int(cpus))
    cwd, environment = Path.cwd(), dict(os.environ)
    adopt_orphans()
    before = set(descendants(os.getpid()))
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)
    os.environ.update(extra)
    reset_torch(threads)
    # What is there now stays: afterwards only the trial's own objects are looked at, which takes a hundredth.
    gc.freeze()
    try:
        yield
    finally:
        os.chdir(cwd)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        end_processes(_strangers(before))
        reset_torch(threads)
        gc.collect()
        gpu.release_memory()


@contextmanager
def redirected(log: Path | None) -> Iterator[None]:
    """A span in which the process's standard output and error go to the end of `log`, C code's and children's too."""
    if log is None:
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    kept = [os.dup(1), os.dup(2)]
    _flush()
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        _flush()
        for descriptor, original in zip((1, 2), kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        os.close(target)


def trim_log(log: Path, limit: int = LOG_LIMIT_BYTES) -> None:
    """Cut the middle out of a log longer than `limit` bytes: its start and its end are what people read."""
    size = log.stat().st_size
    if size <= limit:
        return
    with log.open("r+b") as file:
        head = limit // 4
        file.seek(size - (limit - head))
        tail = file.read()
        file.seek(head)
        file.write(f"\n[... {size - limit} bytes left out ...]\n".encode() + tail)
        file.truncate()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # a full disk or a stream that the trial closed: nothing that could be saved


def _strangers(before: set[int]) -> list[int]:
    """Descendants that the trial left behind; Python's own resource tracker serves the whole process."""
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    spared = before | {getattr(getattr(tracker, "_resource_tracker", None), "_pid", None)}
    return [pid for pid in descendants(os.getpid()) if pid not in spared]


class MemoryLimit:
    """Ends the process, with everything below it, once they hold more than `limit_gb` gigabytes (10^9 bytes).

    A limit of address space would do it in the kernel, but torch and CUDA reserve far more than they use. The reason
    is left in `note`, for whoever finds the process dead.
    """

    def __init__(self, limit_gb: float | None, note: Path) -> None:
        self._limit, self._note = limit_gb, note
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory limit", daemon=True)

    def __enter__(self) -> None:
        if self._limit is not None:
            self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        limit = self._limit or 0.0
        while not self._over.wait(MEMORY_POLL_S):
            used = memory_of(os.getpid()) / 1e9
            if used > limit:
                self._note.write_text(f"held {used:.2f} GB; limits.memory_gb is {limit:g}.", encoding="utf-8")
                end_processes(descendants(os.getpid()))
                os._exit(1)


@contextmanager
def time_limit(seconds: float | None, trace: Path) -> Iterator[None]:
    """A span after whose `seconds` the process writes every thread's stack to `trace` and exits.

    Works from C, so it also ends code that never lets go of the interpreter.
    """
    if seconds is None:
        yield
        return
    with trace.open("w", encoding="utf-8") as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    trace.unlink(missing_ok=True)
