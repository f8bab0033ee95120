"""Processes below this one, and processes that carry a mark: found, measured and ended (Linux)."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

# Environment variables that everything a run, or an attempt of a trial, starts inherits.
RUN_MARK = "AUTOSEARCH_RUN"
TRIAL_MARK = "AUTOSEARCH_TRIAL"
_PR_SET_CHILD_SUBREAPER = 36
_LOOKS = 20  # at most, for marked processes: each sees what was started during the one before


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that none escapes `descendants` (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """Processes below `pid`, each parent before its children; empty where the system does not tell (not Linux)."""
    found: list[int] = []
    left = [pid]
    while left:
        parent = left.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                children = [int(child) for child in task.read_text().split()]
            except OSError:
                continue  # it ended while we looked
            found += children
            left += children
    return found


def end_processes(pids: list[int]) -> None:
    """Kill processes at once and collect those that are our own children."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # ended by itself, or its number now belongs to another's process
    for pid in pids:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            continue  # not our child, or collected already


def end_marked(variable: str, value: str) -> list[int]:
    """Kill every process of this machine whose environment holds `variable=value`; returns their numbers.

    Children inherit the mark whatever they call themselves, and a number that was given to another process in the
    meantime does not carry it. One that was started while we looked is found by looking again.
    """
    mark = f"{variable}={value}".encode()
    ended: list[int] = []
    for _ in range(_LOOKS):
        found = _marked(mark)
        if not found:
            break
        end_processes(found)
        ended += [pid for pid in found if pid not in ended]
        time.sleep(0.05)  # until those that are not our children are gone
    return ended


def end_titled(title: str, folder: Path) -> list[int]:
    """Kill every process called `title…` that holds a file below `folder` open; returns their numbers.

    For those that write their title over the environment in which `end_marked` would find its mark.
    """
    found = [pid for pid in _titled(title) if pid != os.getpid() and _holds(pid, folder)]
    end_processes(found)
    return found


def _titled(title: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(title.encode()):
                found.append(int(path.parent.name))
        except OSError:
            continue  # it ended while we looked
    return found


def _holds(pid: int, folder: Path) -> bool:
    try:
        return any(path.readlink().is_relative_to(folder) for path in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # another user's, or it ended while we looked


def _marked(mark: bytes) -> list[int]:
    """Living processes but this one whose environment holds the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            marked = mark in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # another user's, or it ended while we looked
        if marked and pid != os.getpid():
            found.append(pid)
    return found


def memory_of(pid: int) -> int:
    """Resident bytes of a process and all its descendants."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for each in (pid, *descendants(pid)):
        try:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * page
        except OSError:
            continue  # it ended while we looked
    return total
