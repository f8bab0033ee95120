"""How long workers wait for suggestions: four of them through Ray, with trials that do nothing for five seconds.

A trial notes when it begins and ends. From the moment when all workers are busy for the first time to the begin of
the last trial, the idle share is the part of the workers' time in which no trial runs: whatever searcher and runner
take together. Beside the Bayesian searcher random search runs, whose suggestions cost nothing: what both have in
common is the runner's. Trials take 5 s, give or take a tenth, so that they do not end in step.

    python benchmarks/searchers/idle.py run [SEED ...]   # one run of each searcher for each seed
    python benchmarks/searchers/idle.py table
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
import common

RESULTS = Path(__file__).with_name("idle.csv")
WORKERS, TRIALS, SECONDS = 4, 60, 5.0
SEARCHERS = ("bayesian", "random")


class Sleep:
    """A trial that does nothing."""

    reusable = True

    def run(self, job: Any) -> Any:
        from autosearch.core import Progress

        began = time.time()
        time.sleep(SECONDS * (0.9 + 0.2 * (job.seed % 1000) / 1000))
        loss = sum((x - 0.3) ** 2 for x in job.config.values())
        yield Progress({"loss": loss, "began": began, "ended": time.time()}, 1)


def measure(searcher: str, seed: int) -> dict[str, Any]:
    """One study of six parameters."""
    from autosearch.core import Resources, RunSettings, Study

    space = {f"x{i}": {"type": "float", "low": 0.0, "high": 1.0} for i in range(6)}
    with tempfile.TemporaryDirectory() as folder:
        study = Study(space, {"loss": "minimize"}, searcher=searcher, seed=seed, budget={"trials": TRIALS})
        settings = RunSettings(resources=Resources(cpus=1, parallel=WORKERS), output=Path(folder))
        study.run(Sleep(), settings=settings)
    spans = sorted((t.metrics["began"], t.metrics["ended"]) for t in study.history.complete)
    first, last = spans[WORKERS - 1][0], spans[-1][0]
    busy = sum(max(0.0, min(end, last) - max(begin, first)) for begin, end in spans)
    stale = sum("stale" in str(trial.info) for trial in study.history)
    return {
        "searcher": searcher,
        "seed": seed,
        "trials": len(spans),
        "workers": WORKERS,
        "trial_seconds": round(statistics.median(end - begin for begin, end in spans), 3),
        "window_seconds": round(last - first, 2),
        "idle_share": round(1 - busy / (WORKERS * (last - first)), 5),
        "stale": stale,
        "best": f"{study.best.metrics['loss']:.3g}",
    }


def table() -> None:
    """The table of the README."""
    rows = []
    for searcher in SEARCHERS:
        cells = [row for row in common.read(RESULTS) if row["searcher"] == searcher]
        shares = [100 * float(row["idle_share"]) for row in cells]
        if shares:
            rows.append([searcher, len(cells), f"{statistics.median(shares):.2f}", f"{max(shares):.2f}"])
        else:
            rows.append([searcher, 0, "", ""])
    print(common.table(["searcher", "n", "idle share of 4 workers, median %", "most %"], rows))


def main() -> None:
    """Measure, or draw the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("run", "table"))
    parser.add_argument("seeds", nargs="*", type=int, default=[0])
    arguments = parser.parse_args()
    if arguments.action == "table":
        table()
        return
    done = {(row["searcher"], int(row["seed"])) for row in common.read(RESULTS)}
    for seed in arguments.seeds:
        for searcher in SEARCHERS:
            if (searcher, seed) not in done:
                common.append(RESULTS, [measure(searcher, seed) | common.origin("ray", "torch", "botorch")])


if __name__ == "__main__":
    main()
