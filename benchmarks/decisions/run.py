"""What one decision costs as a study grows: aim at most 50 ms more at 10,000 trials than at 100.

A study of synthetic curves (2 parameters, 9 steps) runs on the virtual clock, 4 workers, in-memory record. Around
each size, 64 further trials are timed: `ask` is one `Study.next` that began a trial (scheduler's proposals,
searcher, writing), `report` one `Study.report` at a rung (scheduler, writing), `decide` the scheduler's part of it
alone. `fresh` is the first answer of a new searcher and scheduler to the whole history: what continuing costs once.

    python benchmarks/decisions/run.py quick|full
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import append, origin, read

from autosearch.core import Budget, Decision, History, Resources, RunSettings, Study, Suggestion, Trial
from autosearch.core.plugins import build, load
from autosearch.space import Float

RESULTS = Path(__file__).with_name("results.csv")
STEPS = 9
EXTRA = 64
AIM_MS = 50.0
ONE, TWO = {"loss": "minimize"}, {"loss": "minimize", "size": "minimize"}
KINDS: dict[str, tuple[str | dict[str, Any], dict[str, str]]] = {
    "random": ("none", ONE),
    "asha": ("asha", ONE),
    "asha, pausing": ({"method": "asha", "pause": True}, ONE),
    "hyperband": ("hyperband", ONE),
    "hyperband, pausing": ({"method": "hyperband", "pause": True}, ONE),
    "median": ("median", ONE),
    "asha, 2 objectives": ("asha", TWO),
}
QUICK = ("random", "asha")
SEEDS = {"quick": range(1), "full": range(3)}
SIZES = {"quick": (100, 1_000, 10_000), "full": (100, 1_000, 10_000)}


class Stopwatch:
    """Seconds by name, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def time(self, name: str, call: Callable[..., Any], worth: Callable[[Any], bool]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            answer = call(*args, **options)
            if self.on and worth(answer):
                self.seconds[name].append(time.perf_counter() - begun)
            return answer

        return timed


class Watched:
    """A scheduler with its decisions timed."""

    def __init__(self, scheduler: Any, watch: Stopwatch) -> None:
        self._scheduler = scheduler
        self.decide: Callable[[History, Trial], Decision] = watch.time(
            "decide", scheduler.decide, lambda _: True
        )
        self.propose: Callable[[History, int], list[Suggestion]] = scheduler.propose

    def milestones(self, problem: Any) -> Any:
        return getattr(self._scheduler, "milestones", lambda _: ())(problem)


def grow(kind: str, seed: int, sizes: tuple[int, ...]) -> list[tuple[int, str, list[float]]]:
    """(trials, what, seconds of each call) for one study that passes through all sizes."""
    scheduler, objectives = KINDS[kind]
    watch = Stopwatch()
    study = Study(
        {"x": Float(0.0, 1.0), "rate": Float(0.05, 0.5)},
        objectives,  # type: ignore[arg-type]
        searcher="random",
        scheduler=Watched(build("schedulers", scheduler), watch),
        seed=seed,
        fidelity=(1, STEPS),
    )
    study.next = watch.time("ask", study.next, bool)  # type: ignore[method-assign]
    study.report = watch.time("report", study.report, lambda _: True)  # type: ignore[method-assign]
    objective = load("tasks", "synthetic_curves")(steps=STEPS, noise=0.02)
    runner = load("runners", "simulated")(RunSettings(resources=Resources(parallel=4)))
    rows = []
    for size in sizes:
        for until, timed in ((size, False), (size + EXTRA, True)):
            watch.on = timed
            study.set_budget(Budget(trials=until))
            runner.run(study, objective)
        rows += [(size, what, seconds) for what, seconds in watch.seconds.items()]
        watch.seconds.clear()
        rows.append((size, "fresh", [fresh(study, scheduler)]))
    return rows


def fresh(study: Study, scheduler: Any) -> float:
    """Seconds for a new searcher and scheduler to answer once."""
    searcher, scheduler = build("searchers", "random"), build("schedulers", scheduler)
    last = study.history[-1]
    begun = time.perf_counter()
    scheduler.decide(study.history, last)
    scheduler.propose(study.history, 1)
    searcher.suggest(study.history, 1)
    return time.perf_counter() - begun


def run(size: str) -> None:
    """Every (kind, seed) that the results do not hold yet."""
    done = {(row["size"], row["kind"], row["seed"]) for row in read(RESULTS)}
    about = origin("numpy", "optuna")
    for kind in QUICK if size == "quick" else KINDS:
        for seed in SEEDS[size]:
            if (size, kind, str(seed)) in done:
                continue
            begun = time.perf_counter()
            rows = []
            for trials, what, seconds in grow(kind, seed, SIZES[size]):
                ms = sorted(1000 * s for s in seconds)
                row = {"size": size, "seed": seed, "kind": kind, "trials": trials, "what": what, "n": len(ms)}
                p95 = ms[min(len(ms) - 1, int(0.95 * len(ms)))]
                rows.append(
                    {**about, **row, "median_ms": f"{statistics.median(ms):.3f}", "p95_ms": f"{p95:.3f}"}
                )
            append(RESULTS, rows)
            print(f"{kind}, seed {seed}: {time.perf_counter() - begun:.0f} s", flush=True)


def table() -> str:
    """Markdown: median over seeds of each cell, and what 10,000 trials cost more than 100."""
    cells: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in read(RESULTS):
        cells[row["kind"], row["what"], int(row["trials"])].append(float(row["median_ms"]))
    lines = [
        "| kind | what | ms at 100 | 1,000 | 10,000 | more at 10,000 | aim | n |",
        "|---|---|---:|---:|---:|---:|---|---:|",
    ]
    for kind in KINDS:
        for what in ("ask", "report", "decide", "fresh"):
            found = [cells.get((kind, what, trials), []) for trials in SIZES["quick"]]
            if not any(found):
                continue
            values = [statistics.median(cell) if cell else None for cell in found]
            shown = ["" if value is None else f"{value:.2f}" for value in values]
            more = None if values[0] is None or values[-1] is None else values[-1] - values[0]
            judged = "" if more is None or what == "fresh" else ("met" if more <= AIM_MS else "missed")
            shown.append("" if more is None else f"{more:+.2f}")
            lines.append(f"| {kind} | {what} | {' | '.join(shown)} | {judged} | {len(found[-1])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=[*SIZES, "table"])
    size = parser.parse_args().size
    if size != "table":
        run(size)
    print(table())


if __name__ == "__main__":
    main()
