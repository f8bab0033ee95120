"""A study in which one trial takes all memory up to where Ray's own monitor steps in. Prints how each trial ended."""

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path

from autosearch.core import Decision, Job, Progress, Resources, RunSettings, Study
from tests.runners.ray_cases import hoard

ROOM_BYTES = 2 * 2**30  # over what is used now; what the monitor lets all trials have


class Hoarder:
    """Its second trial never has enough."""

    reusable = False

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        yield Progress({"loss": job.config["x"]}, 1)
        if job.number == 1:
            hoard()
        yield Progress({"loss": job.config["x"]}, 2)


def used() -> float:
    """Fraction of this machine's memory that is taken with `ROOM_BYTES` more."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    found = {name: 1024 * int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return 1 - (found["MemAvailable"] - ROOM_BYTES) / found["MemTotal"]


def main(output: Path) -> None:
    # Ray reads these in lower case.
    os.environ.update(RAY_memory_usage_threshold=str(used()), RAY_memory_monitor_refresh_ms="50")
    study = Study(
        {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        {"loss": "minimize"},
        searcher="random",
        budget={"trials": 4},
    )
    study.run(Hoarder(), settings=RunSettings(output=output, resources=Resources(parallel=2)))
    ends = [t.failure.cause if t.failure else t.state.value for t in study.history]
    sys.stdout.write(json.dumps(ends) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
