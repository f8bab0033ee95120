"""Why a worker's process died: from the note it left, else from what Ray says."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.air.execution._internal import RayActorManager
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError

from autosearch.core import Failure

_LOST_NODE = (
    "nodediederror",
    "node has died",
    "node was terminated",
    "node is dead",
    "node died",
    "preempted",
)
_NO_MEMORY = ("running low on memory", "out of memory", "outofmemory")


@contextmanager
def known_to_tune() -> Iterator[None]:
    """A span in which Tune takes the end of a process by Ray's memory monitor, or with its node, as that trial's.

    Tune knows a death by `RayActorError` alone; at the two others, which are none, it raises and ends every trial.
    """
    tune: Any = RayActorManager
    original = tune._actor_task_failed

    def failed(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, (OutOfMemoryError, NodeDiedError)):
            exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
        original(manager, tracked_actor_task, exception)

    tune._actor_task_failed = failed
    try:
        yield
    finally:
        tune._actor_task_failed = original


def explain(tune_trial: Any, notes: Path, identity: str) -> Failure:
    """The failure of an attempt whose process is gone.

    A note about memory makes it `oom`, a trace of stacks `timeout`; else Ray's words tell a lost machine
    (`preempted`) and its own memory monitor (`oom`) from a crash.
    """
    memory, trace = notes / f"{identity}.memory", notes / f"{identity}.trace"
    try:
        if memory.exists():
            return Failure("oom", memory.read_text(encoding="utf-8"))
        if trace.exists() and trace.stat().st_size:
            return Failure("timeout", "ran longer than its limit.", trace.read_text(encoding="utf-8"))
    finally:
        memory.unlink(missing_ok=True)
        trace.unlink(missing_ok=True)
    return from_error(_error_of(tune_trial))


def from_error(error: BaseException | None) -> Failure:
    """The failure behind one of Ray's errors."""
    if error is None:
        return Failure("crash", "the worker process died.")
    text = str(error)
    lowered = text.lower()
    if type(error).__name__ == "OutOfMemoryError" or any(mark in lowered for mark in _NO_MEMORY):
        return Failure("oom", "the machine ran out of memory: the worker process was ended.", text)
    if type(error).__name__ in ("NodeDiedError", "ActorUnavailableError") or any(
        mark in lowered for mark in _LOST_NODE
    ):
        return Failure("preempted", "the machine that ran it is gone.", text)
    return Failure("crash", f"the worker process died: {_exit_line(text)}", text)


def _exit_line(text: str) -> str:
    """The telling part of Ray's long message."""
    if "connection error code 2" in text:
        return "killed by a signal, or it left by os._exit."
    detail = re.search(r"exit detail: ([^\n]*)", text)
    return (detail.group(1) if detail else text.strip().splitlines()[0]).strip()[:300]


def _error_of(tune_trial: Any) -> BaseException | None:
    # `get_error` looks in the results folder, where the file is not yet.
    path = getattr(tune_trial, "pickled_error_file", None)
    if path is None or not Path(path).exists():
        return None
    with Path(path).open("rb") as file:
        error: BaseException = cloudpickle.load(file)
    return error
