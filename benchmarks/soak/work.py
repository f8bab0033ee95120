"""What the trials of the long run do: little, but with a checkpoint that shows mix-ups, and a tally of beginnings."""

import hashlib
import json
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from autosearch.core import Decision, Job, Progress

OPTIMUM = 0.3
STATE = "state.json"


class Work:
    """A trial whose result is known beforehand: `(x - OPTIMUM)**2` after its last step, more before.

    Args:
        tally: file that gets a line `NUMBER STEP` whenever an attempt begins; None: none.
        steps: reports of a trial.
        sleep: seconds of a step.
        size: bytes of a checkpoint; 0: none.
        reusable: whether processes are used again.
    """

    def __init__(self, tally: str | None, steps: int, sleep: float, size: int, *, reusable: bool) -> None:
        self.max_step, self.reusable = steps, reusable
        self._tally, self._sleep, self._size = tally, sleep, size

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        x, first = job.config["x"], 0
        if job.checkpoint is not None:
            first = loaded(job.checkpoint, x)["step"]
        if self._tally is not None:
            fd = os.open(self._tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(fd, f"{job.number} {first}\n".encode())
            os.close(fd)
        for step in range(first + 1, self.max_step + 1):
            time.sleep(self._sleep)
            save = self._saver(x, step) if self._size else None
            yield Progress({"loss": (x - OPTIMUM) ** 2 + (self.max_step - step)}, step, save=save)

    def _saver(self, x: float, step: int) -> Any:
        def save(folder: Path) -> None:
            payload = hashlib.sha256(f"{x} {step}".encode()).hexdigest() * (self._size // 64 + 1)
            state = {"x": x, "step": step, "payload": payload}
            (folder / STATE).write_text(json.dumps(state), encoding="utf-8")

        return save


def loaded(folder: Path, x: float) -> dict[str, Any]:
    """A checkpoint that is whole and of the trial with this `x`.

    Raises:
        ValueError, OSError: if it is not.
    """
    state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    expected = hashlib.sha256(f"{x} {state['step']}".encode()).hexdigest()
    if state["x"] != x or not state["payload"].startswith(expected):
        raise ValueError(f"{folder}: this is another trial's checkpoint, or a broken one.")
    return state
