"""Runs a study in a child of its own for every line it reads, so that a test can kill the child.

A line is a JSON object with `folder` and `searcher`; the answers are `pid N`, `open` once the study is open, and
`ended STATUS`.
Forking a process that has imported everything makes a life cost milliseconds instead of seconds.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from autosearch.core import RunSettings, Study
from autosearch.core.plugins import load
from autosearch.tasks.synthetic import SyntheticCurves

SPACE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "rate": {"type": "float", "low": 0.1, "high": 1.0, "log": True},
    "act": ["relu", "tanh"],
}
TRIALS, STEPS = 24, 6


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def live(folder: Path, searcher: str) -> None:
    """Begin or continue the study, up to its end."""
    study = Study(
        SPACE,
        {"loss": "minimize"},
        searcher=searcher,
        budget={"trials": TRIALS},
        storage=folder / "study.journal",
        name="killed",
        fidelity=(None, STEPS),
    )
    say("open")
    with study:
        objective = SyntheticCurves(steps=STEPS, noise=0.01, sleep=0.004, fail_rate=0.2, fail_attempts=1)
        load("runners", "inline")(RunSettings(output=folder)).run(study, objective)


def main() -> None:
    for name in ("random", "sobol", "grid"):
        load("searchers", name)
    load("records", "journal")
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 1
            say(f"pid {os.getpid()}")
            try:
                live(Path(order["folder"]), order["searcher"])
                status = 0
            except BaseException:  # noqa: BLE001 - the child must not go on as a second driver
                traceback.print_exc()
            os._exit(status)
        say(f"ended {os.waitpid(pid, 0)[1]}")


if __name__ == "__main__":
    main()
