"""RoBoT against random search where architectures are really trained: small cells on Fashion-MNIST at 14x14.

    python benchmarks/robot/training.py quick|full [--only robot] [--seed S] [--table]

Both search for as many seconds of one core; RoBoT's go to the scoring of its pool and to its own fits too. Needs
`$AUTOSEARCH_DATA/fashion_mnist`.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from autosearch.core import Budget, Job, RunSettings, Study
from autosearch.methods.robot.searcher import RobotSearcher
from autosearch.space import nest
from autosearch.tasks.image_classification import ImageClassification
from benchmarks.common import append, origin, read, table
from benchmarks.robot.tables import SPACE

RESULTS = Path(__file__).with_name("training.csv")
SEEDS = range(5)
SECONDS = {"quick": 60.0, "full": 480.0}  # of one core, for each search
PARTS = (0.5, 1.0)  # of the time, at which the best so far is noted
AGAIN = 3  # fresh trainings of the winner: the best of noisy values is too good
TASK = {
    "dataset": "fashion_mnist",
    "image_size": 14,
    "train_size": 3000,
    "val_size": 2000,
    "model": "nasbench201",
    "width": 4,
    "depth": 1,
    "epochs": 2,
    "lr": 0.01,
}
SEARCHERS = {"robot": lambda: RobotSearcher(enumerate=0, pool=100, batch=32), "random": lambda: "random"}
METRIC = "val_accuracy"


def search(method: str, seed: int, seconds: float) -> dict[str, object]:
    """One search: what it found within shares of the time, and what its winner is worth when trained again."""
    task = ImageClassification(**TASK)
    study = Study(SPACE, {METRIC: "maximize"}, searcher=SEARCHERS[method](), budget={"trials": 1}, seed=seed)
    found: list[tuple[float, float]] = []
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        study.set_budget(Budget(trials=len(found) + 1))
        study.run(task, runner="inline", settings=RunSettings())
        found.append((time.process_time() - begun, study.best.metrics[METRIC]))
    done = [(at, value) for at, value in found if at <= seconds]
    winner = study.history[next(i for i, (_, value) in enumerate(found) if value == done[-1][1])].config
    again = [trained(task, winner, 1000 * (seed + 1) + i) for i in range(AGAIN)]
    best = {f"best{part:g}": max(v for at, v in done if at <= part * seconds) for part in PARTS}
    first = {"first_s": f"{done[0][0]:.1f}", "trials": len(done)}
    return {**first, **best, "again": f"{np.mean(again):.4f}", "arms": arms(study, len(done))}


def trained(task: ImageClassification, config: dict[str, object], seed: int) -> float:
    """Validation accuracy of an architecture from other weights and in another order of the examples."""
    reports = list(task.run(Job(0, nest(config), seed=seed)))
    return float(reports[-1].metrics[METRIC])


def arms(study: Study, trials: int) -> str:
    names = [str(trial.info.get("arm", "")) for trial in study.history[:trials]]
    return " ".join(f"{name}:{names.count(name)}" for name in sorted(set(names)) if name)


def run(size: str, only: str | None, seeds: range) -> None:
    torch.set_num_threads(1)
    done = {(r["size"], r["method"], int(r["seed"])) for r in read(RESULTS)}
    for seed in seeds:
        for method in SEARCHERS:
            if (size, method, seed) not in done and only in (None, method):
                row = {"size": size, "method": method, "seed": seed, **search(method, seed, SECONDS[size])}
                append(RESULTS, [{**row, **origin("torch")}])
                sys.stdout.write(f"{row}\n")
                sys.stdout.flush()


def report(size: str) -> str:
    rows = {
        (r["method"], int(r["seed"])): r
        for r in read(RESULTS)
        if r["size"] == size and int(r["seed"]) in SEEDS
    }
    names = [*(f"best{part:g}" for part in PARTS), "again"]
    lines: list[list[object]] = []
    for method in SEARCHERS:
        own = [r for (m, _), r in rows.items() if m == method]
        means = [f"{100 * np.mean([float(r[name]) for r in own]):.2f}" if own else "" for name in names]
        lines.append(
            [method, len(own), f"{np.mean([int(r['trials']) for r in own]):.0f}" if own else "", *means]
        )
    pairs = [seed for seed in SEEDS if all((method, seed) in rows for method in SEARCHERS)]
    gaps = []
    for name in names:
        gap = 100 * np.array([float(rows["robot", s][name]) - float(rows["random", s][name]) for s in pairs])
        # Student's t for five pairs; of fewer the difference alone.
        width = f" ± {2.776 * gap.std(ddof=1) / np.sqrt(5):.2f}" if len(gap) == 5 else ""
        gaps.append(f"{gap.mean():+.2f}{width} ({int((gap > 0).sum())} of {len(gap)})" if len(gap) else "")
    lines.append(["robot - random", len(pairs), "", *gaps])
    heads = ["", "n", "trials", "best at half the time", "best", "the winner trained again"]
    return f"{SECONDS[size]:g} s of one core each\n\n" + table(heads, lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=tuple(SECONDS))
    parser.add_argument("--only", choices=tuple(SEARCHERS))
    parser.add_argument("--seed", type=int, help="this one only; from 100 on for development")
    parser.add_argument("--table", action="store_true", help="print the table without running")
    given = parser.parse_args()
    if not given.table:
        run(given.size, given.only, SEEDS if given.seed is None else range(given.seed, given.seed + 1))
    sys.stdout.write(report(given.size))


if __name__ == "__main__":
    main()
