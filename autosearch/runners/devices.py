"""Processes beside a trial that owns several CPUs or GPUs: for methods that try things side by side.

A trial on one device has none. The processes start when they are first used, end with the trial, and are spawned: what
they run must be importable, and what they are given must pickle.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextvars import ContextVar
from typing import Any


class Workers:
    """The processes of one trial, one for each of its GPUs, else of its CPUs.

    Args:
        cpus: of the trial.
        gpus: of the trial.
        seed: of the trial.

    Attributes:
        count: of processes.
        seed: of the trial, for a process that builds what the trial has built.
    """

    def __init__(self, cpus: float, gpus: float, seed: int) -> None:
        self.count = max(1, int(gpus) if gpus > 0 else int(cpus))
        self.seed = seed
        self._threads = max(1, int(cpus) // self.count)
        self._gpus = gpus > 0
        self._pool: ProcessPoolExecutor | None = None

    @property
    def executor(self) -> Executor:
        """Its processes each have a share of the trial's CPUs as threads, and a GPU of it as torch's current one."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            begun: Any = context.Value("i", 0)
            self._pool = ProcessPoolExecutor(
                self.count,
                context,
                initializer=_begin,
                initargs=(self._threads, begun if self._gpus else None),
            )
        return self._pool

    def close(self) -> None:
        """Let go of the processes, which end; one that is still at work is ended with the trial's other children."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


_workers: ContextVar[Workers | None] = ContextVar("autosearch_workers", default=None)


def workers() -> Workers | None:
    """The processes beside the running trial; None where it has one device, or no runner offers any."""
    return _workers.get()


@contextlib.contextmanager
def offered(cpus: float, gpus: float, seed: int) -> Iterator[None]:
    """A span in which `workers` gives the processes of a trial, if it owns several devices."""
    found = Workers(cpus, gpus, seed)
    token = _workers.set(found if found.count > 1 else None)
    try:
        yield
    finally:
        _workers.reset(token)
        found.close()


def _begin(threads: int, begun: Any) -> None:
    """In each process, before anything else; `begun` counts those that have a GPU."""
    os.environ.update(
        dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    )
    import torch

    torch.set_num_threads(threads)
    if begun is not None:
        with begun.get_lock():
            torch.cuda.set_device(begun.value % torch.cuda.device_count())
            begun.value += 1
