"""What the Ray runner costs: time per no-op trial, files, and the driver's memory.

A trial reports once and ends; four run at a time on four declared CPUs. Beside ours, the same function goes through
plain Ray Tune, in turns: with a search algorithm behind a `ConcurrencyLimiter`, which is what one suggestion after
the other needs, as it comes (`plain`) and without the loggers that it adds by itself (`plain, no loggers`); and with
Tune's own random search, which knows all trials beforehand (`random search, no loggers`). Each cell is a process of
its own with a Ray session of its own. The time per trial is taken from the end of the tenth trial in a hundred to
the end of the last: starting Ray is not in it.

    python benchmarks/runner/run.py quick|full    # measure what results.csv lacks for this commit
    python benchmarks/runner/run.py table         # the tables of the README
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
import common

RESULTS = Path(__file__).with_name("results.csv")
PARALLEL = 4
PLAIN = ("plain", "plain, no loggers", "random search, no loggers")
RUNNERS = ("ours", *PLAIN)
# size -> trials with reused processes, with fresh ones, repetitions, trials of the memory run
SIZES = {"quick": (200, 24, 3, 2000), "full": (1000, 100, 5, 5000)}


def noop(config: dict[str, Any]) -> None:
    """The trial of plain Ray."""
    from ray import tune

    tune.report({"loss": config["x"]})


class Noop:
    """The trial of ours."""

    def __init__(self, *, reusable: bool) -> None:
        self.reusable = reusable

    def run(self, job: Any) -> Any:
        from autosearch.core import Progress

        yield Progress({"loss": job.config["x"]}, 1)


def run_ours(mode: str, trials: int, folder: Path) -> dict[str, Any]:
    from autosearch.core import Resources, RunSettings, Study

    ends: list[float] = []
    memory: list[int] = []

    def listen(event: str, *_: Any) -> None:
        if event == "finish":
            ends.append(time.perf_counter())
            memory.append(resident())

    space = {"x": {"type": "float", "low": 0.0, "high": 1.0}}
    with Study(
        space,
        {"loss": "minimize"},
        searcher="random",
        budget={"trials": trials},
        storage=folder / "study.journal",
    ) as study:
        study.listeners.append(listen)
        settings = RunSettings(output=folder, resources=Resources(parallel=PARALLEL))
        study.run(Noop(reusable=mode == "reused"), settings=settings)
    return {"ends": ends, "memory": memory}


def run_plain(mode: str, trials: int, folder: Path, kind: str) -> dict[str, Any]:
    if kind != "plain":
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64, RAY_USAGE_STATS_ENABLED="0")
    import ray
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter, Searcher

    ends: list[float] = []
    memory: list[int] = []

    class Watch(tune.Callback):
        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())
            memory.append(resident())

        def __reduce__(self) -> Any:
            return (object, ())

    class Draws(Searcher):
        def suggest(self, trial_id: str) -> dict[str, float]:  # noqa: ARG002
            return {"x": random.random()}

        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            return

        def save(self, *_: Any) -> None:
            return

        def restore(self, *_: Any) -> None:
            return

    algorithm = None if kind.startswith("random search") else ConcurrencyLimiter(Draws(), PARALLEL)
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as temp:
        ray.init(num_cpus=PARALLEL, include_dashboard=False, log_to_driver=False, _temp_dir=temp)
        tune.Tuner(
            tune.with_resources(noop, {"cpu": 1}),
            param_space=None if algorithm else {"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                num_samples=trials, reuse_actors=mode == "reused", search_alg=algorithm
            ),
            run_config=tune.RunConfig(storage_path=str(folder), name="plain", verbose=0, callbacks=[Watch()]),
        ).fit()
        ray.shutdown()
    return {"ends": ends, "memory": memory}


def resident() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def cell(runner: str, mode: str, trials: int) -> dict[str, Any]:
    """Measure in this process."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        ours = runner == "ours"
        found = run_ours(mode, trials, folder) if ours else run_plain(mode, trials, folder, runner)
        files = [path for path in folder.rglob("*") if path.is_file()]
        tenth = trials // 10
        ends, memory = found["ends"], found["memory"]
        return {
            "ms_per_trial": round(1000 * (ends[-1] - ends[tenth - 1]) / (len(ends) - tenth), 2),
            "files": len(files),
            "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 3),
            "growth_mb": round((memory[-1] - memory[min(99, tenth)]) / 1e6, 1),
        }


def measure(size: str) -> None:
    reused, fresh, repeats, many = SIZES[size]
    plan = [
        (runner, mode, trials, repeat)
        for mode, trials in (("reused", reused), ("fresh", fresh))
        for repeat in range(repeats)
        for runner in RUNNERS
    ]
    plan += [("ours", "reused", many, 0)]
    commit = common.origin()["commit"]
    done = {
        (row["commit"], row["runner"], row["mode"], row["trials"], row["seed"])
        for row in common.read(RESULTS)
    }
    for runner, mode, trials, repeat in plan:
        if (commit, runner, mode, str(trials), str(repeat)) in done:
            continue
        output = subprocess.run(
            [sys.executable, __file__, "cell", runner, mode, str(trials)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        found = json.loads(output.splitlines()[-1])
        row = {"size": size, "runner": runner, "mode": mode, "trials": trials, "seed": repeat, **found}
        print(row, flush=True)
        common.append(RESULTS, [{**row, **common.origin("ray")}])


def show() -> None:
    rows = common.read(RESULTS)
    lines = []
    for mode in ("reused", "fresh"):
        cells = {
            runner: [
                r for r in rows if (r["runner"], r["mode"]) == (runner, mode) and int(r["trials"]) < 2000
            ]
            for runner in RUNNERS
        }
        ours = {row["seed"]: float(row["ms_per_trial"]) for row in cells["ours"]}
        for runner, found in cells.items():
            if not found:
                continue
            n = int(found[0]["trials"])
            ratios = [ours[row["seed"]] / float(row["ms_per_trial"]) for row in found if row["seed"] in ours]
            lines.append(
                (
                    mode,
                    runner,
                    f"{median(found, 'ms_per_trial'):.0f}",
                    f"{statistics.median(ratios):.2f}",
                    f"{median(found, 'files') * 100 / n:.1f}",
                    f"{median(found, 'megabytes') * 100 / n:.2f}",
                    len(found),
                )
            )
    columns = ("processes", "runner", "ms a trial", "ours / it", "files per 100", "MB per 100", "n")
    print(common.table(columns, lines))
    print()
    many = [r for r in rows if r["runner"] == "ours" and int(r["trials"]) >= 2000]
    print(
        common.table(
            ("trials", "growth of the driver, MB", "files", "MB", "ms a trial"),
            [(r["trials"], r["growth_mb"], r["files"], r["megabytes"], r["ms_per_trial"]) for r in many],
        )
    )


def median(rows: list[dict[str, str]], column: str) -> float:
    return statistics.median(float(row[column]) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=[*SIZES, "table", "cell"])
    parser.add_argument("rest", nargs="*")
    arguments = parser.parse_args()
    if arguments.what == "cell":
        runner, mode, trials = arguments.rest
        print(json.dumps(cell(runner, mode, int(trials))))
    elif arguments.what == "table":
        show()
    else:
        measure(arguments.what)


if __name__ == "__main__":
    main()
