"""Searching the lr schedule's family against searching the peak of a cosine, at equal trials.

    python -m benchmarks.lr_schedules.run quick|full [--minutes M] [--table]

An interrupted run goes on with the next study.
"""

import argparse
import dataclasses
import math
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student

import search_spaces
from autosearch.core import Study
from autosearch.learning import build_lr_schedule
from autosearch.space import Float, Subspace
from autosearch.tasks.image_classification import ImageClassification
from autosearch.tasks.tabular import TabularClassification
from benchmarks.common import append, origin, read, table

RESULTS = Path(__file__).with_name("results.csv")
MEAN = "mean_log_lr"
LOW, HIGH = 1e-3, 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByMean(TabularClassification):
    """The task with the mean logarithm of the learning rate in place of its peak."""

    def with_config(self, config: Mapping[str, Any]) -> "ByMean":
        schedule = dict(config.get("lr_schedule", {}))
        if MEAN in schedule:
            mean = schedule.pop(MEAN)
            # Anything will do for the steps: factors are functions of the share of the run.
            factor = build_lr_schedule(schedule, 1000)
            logs = [math.log10(max(factor(step), 1e-12)) for step in range(1000)]
            schedule["peak"] = min(10 ** (mean - statistics.mean(logs)), 10 * HIGH)
        return super().with_config({**config, "lr_schedule": schedule} if schedule else config)


def by_mean() -> Subspace:
    """The family with the mean logarithm of the learning rate, over what cosines with peaks in [LOW, HIGH] have."""
    shape = search_spaces.lr_schedule(peak=False)
    ends = (math.log10(peak) - 2 * math.log10(2) for peak in (LOW, HIGH))
    return Subspace({MEAN: Float(*ends), **shape.parameters}, first=shape.first)


QUICK = {"digits": ByMean(dataset="digits", optimizer="sgd", epochs=20, device="cpu")}
FULL = {
    **QUICK,
    "fashion": ImageClassification(
        dataset="fashion_mnist", image_size=14, train_size=6000, optimizer="sgd", epochs=6, device="cpu"
    ),
}
SIZES = {"quick": (QUICK, 10, 40), "full": (FULL, 10, 40)}  # tasks, seeds, trials
# Seeds before these ran with an earlier version of the searcher: what is compared with one another must not span both.
FIRST_SEEDS = {"family by its mean logarithm": 5}
SPACES = {
    "peak of a cosine": {"lr": Float(LOW, HIGH, log=True)},
    "family": {"lr_schedule": search_spaces.lr_schedule(low=LOW, high=HIGH)},
    "knots": {"lr_schedule": search_spaces.lr_schedule(low=LOW, high=HIGH, knots=True)},
    "family by its mean logarithm": {"lr_schedule": by_mean()},
}


def run(size: str, minutes: float) -> None:
    torch.set_num_threads(1)
    tasks, seeds, trials = SIZES[size]
    done = {(r["task"], r["space"], r["seed"]) for r in read(RESULTS)}
    end = time.monotonic() + 60 * minutes
    for name, task in tasks.items():
        for seed in range(seeds):
            for label, space in SPACES.items():
                if (name, label, str(seed)) in done or seed < FIRST_SEEDS.get(label, 0):
                    continue
                if time.monotonic() > end:
                    return
                began = time.process_time()
                study = Study(space, {"val_loss": "minimize"}, budget={"trials": trials}, seed=seed)
                study.run(task, runner="inline")
                best = study.best
                top = sorted(t.values[0] for t in study.history.complete if t.values)
                shape = {k.removeprefix("lr_schedule."): v for k, v in best.config.items()}
                row = {
                    **origin("torch"), "task": name, "space": label, "seed": seed, "trials": trials,
                    "val_loss": f"{top[0]:.6f}", "third": f"{top[2]:.6f}", "best": str(shape),
                    "seconds": round(time.process_time() - began, 1),
                }  # fmt: skip
                append(RESULTS, [row])


def report(size: str) -> str:
    rows, (tasks, _, trials) = read(RESULTS), SIZES[size]
    found = {
        (task, label): {
            int(r["seed"]): float(r["val_loss"]) for r in rows if (r["task"], r["space"]) == (task, label)
        }
        for task in tasks
        for label in SPACES
    }
    lines = [[label, *(cell(found[task, label]) for task in tasks)] for label in SPACES]
    pairs = (
        ("family", "peak of a cosine"),
        ("knots", "peak of a cosine"),
        ("family by its mean logarithm", "family"),
    )
    ratios = [[f"{a} / {b}", *(ratio(found[t, a], found[t, b]) for t in tasks)] for a, b in pairs]
    return "\n".join(
        [
            f"Best validation loss of {trials} trials, mean ± standard deviation (n).",
            "",
            table(["searched", *tasks], lines),
            "",
            "Ratios, paired by seed: mean [95 % interval] (n). Below 1 the first is better.",
            "",
            table(["", *tasks], ratios),
        ]
    )


def cell(values: dict[int, float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values.values()):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values.values()):.4f}{spread} ({len(values)})"


def ratio(a: dict[int, float], b: dict[int, float]) -> str:
    logs = [math.log(a[s] / b[s]) for s in a if s in b]
    if len(logs) < 2:
        return ""
    half = student.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    mean = statistics.mean(logs)
    return f"{math.exp(mean):.3f} [{math.exp(mean - half):.3f}, {math.exp(mean + half):.3f}] ({len(logs)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no study after these")
    parser.add_argument("--table", action="store_true", help="print what is recorded, run nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        run(arguments.size, arguments.minutes)
    print(report(arguments.size))


if __name__ == "__main__":
    sys.exit(main())
