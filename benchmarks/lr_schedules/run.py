"""Searching the lr schedule's family against searching the peak of a cosine, at equal trials.

    python benchmarks/lr_schedules/run.py quick|full [--minutes M] [--table]

An interrupted run goes on with the next study.
"""

import argparse
import math
import statistics
import sys
import time
from pathlib import Path

import torch
from scipy.stats import t as student

import search_spaces
from autosearch.core import Study
from autosearch.space import Float
from autosearch.tasks.image_classification import ImageClassification
from autosearch.tasks.tabular import TabularClassification
from benchmarks.common import append, origin, read, table

RESULTS = Path(__file__).with_name("results.csv")
QUICK = {"digits": TabularClassification(dataset="digits", optimizer="sgd", epochs=20, device="cpu")}
FULL = {
    **QUICK,
    "fashion": ImageClassification(
        dataset="fashion_mnist", image_size=14, train_size=6000, optimizer="sgd", epochs=6, device="cpu"
    ),
}
SIZES = {"quick": (QUICK, 5, 40), "full": (FULL, 10, 40)}  # tasks, seeds, trials
SPACES = {
    "peak of a cosine": {"lr": Float(1e-3, 1.0, log=True)},
    "family": {"lr_schedule": search_spaces.lr_schedule(low=1e-3, high=1.0)},
    "knots": {"lr_schedule": search_spaces.lr_schedule(low=1e-3, high=1.0, knots=True)},
}


def run(size: str, minutes: float) -> None:
    torch.set_num_threads(1)
    tasks, seeds, trials = SIZES[size]
    done = {(r["task"], r["space"], r["seed"]) for r in read(RESULTS)}
    end = time.monotonic() + 60 * minutes
    for name, task in tasks.items():
        for seed in range(seeds):
            for label, space in SPACES.items():
                if (name, label, str(seed)) in done:
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
    lines = []
    for label in SPACES:
        cells = []
        for task in tasks:
            values, base = found[task, label], found[task, "peak of a cosine"]
            logs = [math.log(values[s] / base[s]) for s in values if s in base]
            text = f"{statistics.mean(values.values()):.4f} ({len(values)})" if values else ""
            if len(logs) > 1 and label != "peak of a cosine":
                half = student.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
                mean = statistics.mean(logs)
                text += (
                    f", ratio {math.exp(mean):.3f} [{math.exp(mean - half):.3f}, {math.exp(mean + half):.3f}]"
                )
            cells.append(text)
        lines.append([label, *cells])
    head = f"Best validation loss of {trials} trials, mean (n); ratio to the first, paired by seed [95 % interval]."
    return f"{head}\n\n{table(['searched', *tasks], lines)}"


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
