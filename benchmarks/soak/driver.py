"""A driver to be disturbed: `python -m benchmarks.soak.driver SPEC`, SPEC a JSON object (see `Spec`).

Prints a line of JSON at its end, ends with 2 where another driver works on the study, with 3 where the record fails.
"""

import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosearch.core import RecordError, Resources, RunSettings, Study, StudyLockedError

from .work import Work

NAME = "soak"


@dataclass(frozen=True)
class Spec:
    """A study of the long run, and how it is driven."""

    folder: str
    trials: int
    searcher: str = "random"
    scheduler: str | None = None
    steps: int = 6
    sleep: float = 0.2
    size: int = 4096
    parallel: int = 2
    reusable: bool = False
    tally: bool = True
    storage: str | None = None
    address: str | None = None
    measure: bool = False

    @property
    def record(self) -> str:
        return self.storage or str(Path(self.folder) / "study.journal")

    def study(self, storage: str | None) -> Study:
        return Study(
            {"x": {"type": "float", "low": 0.0, "high": 1.0}},
            {"loss": "minimize"},
            searcher=self.searcher,
            scheduler=self.scheduler,
            budget={"trials": self.trials},
            storage=storage,
            name=NAME,
            fidelity=(1, self.steps),
            queue=Path(self.folder) / "queue",
        )


class Meter:
    """Resident memory after every trial and CPU seconds of every decision."""

    def __init__(self, study: Study) -> None:
        self.memory: list[int] = []
        self.decisions: list[float] = []
        study.listeners.append(self._listen)
        suggest = study.searcher.suggest

        def timed(history: Any, n: int) -> Any:
            began = time.thread_time()
            found = suggest(history, n)
            self.decisions.append(time.thread_time() - began)
            return found

        study.searcher.suggest = timed  # type: ignore[method-assign]

    def _listen(self, event: str, *_: Any) -> None:
        if event == "finish":
            for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmRSS:"):
                    self.memory.append(1024 * int(line.split()[1]))

    def figures(self) -> dict[str, float]:
        """Bytes a trial after the first tenth, milliseconds of a decision around trial 100 and at the end."""
        tenth, last = self.memory[len(self.memory) // 10], self.memory[-1]
        trials = 0.9 * len(self.memory)
        early, late = self.decisions[50:150], self.decisions[-100:]
        return {
            "bytes_a_trial": (last - tenth) / trials,
            "ms_at_100": 1000 * statistics.median(early),
            "ms_at_end": 1000 * statistics.median(late),
        }


def main(spec: Spec) -> int:
    folder = Path(spec.folder)
    folder.mkdir(parents=True, exist_ok=True)
    tally = str(folder / "tally") if spec.tally else None
    work = Work(tally, spec.steps, spec.sleep, spec.size, reusable=spec.reusable)
    settings = RunSettings(output=folder, resources=Resources(parallel=spec.parallel), address=spec.address)
    try:
        with spec.study(spec.record) as study:
            meter = Meter(study) if spec.measure else None
            study.run(work, settings=settings)
            result = {"trials": len(study.history), **(meter.figures() if meter else {})}
    except StudyLockedError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except RecordError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Spec(**json.loads(sys.argv[1]))))
