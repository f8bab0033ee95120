"""Ends what a driver leaves when it is killed. Runs as a process of its own: `guard.py RUN FOLDER [MARKER]`.

Most of Ray's processes notice by themselves within seconds; those that were just starting wait for a minute or more
for a connection that never comes.
"""

import json
import shutil
import sys
import time
from pathlib import Path

from autosearch.runners.processes import RUN_MARK, end_marked, end_titled

# For those that end by themselves, with their own cleaning up.
_PATIENCE_S = 3.0


def watch(run: str, folder: str, marker: str | None = None) -> None:
    """Wait until standard input closes, which the kernel does when the driver dies; then end the run's processes."""
    told = sys.stdin.read()
    if told:
        return  # the driver has cleaned up itself
    time.sleep(_PATIENCE_S)
    end_session(run, Path(folder))
    shutil.rmtree(folder, ignore_errors=True)
    if marker is not None:
        _forget(run, Path(marker))


def _forget(run: str, marker: Path) -> None:
    """Remove the note by which a later driver would find this run, unless it is another run's by now."""
    try:
        noted = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # there is none, or another driver is writing its own
    if noted.get("run") == run:
        marker.unlink(missing_ok=True)


def end_session(run: str, folder: Path) -> None:
    """End all processes of a session: those that the run has marked, and Ray's own that hold its files open."""
    end_marked(RUN_MARK, run)
    end_titled("ray::", folder)


if __name__ == "__main__":
    watch(*sys.argv[1:])
