"""Training-free metrics of networks built and scored here: against the table's scores, and how long they take.

    python benchmarks/training_free/run.py quick|full [--part P] [--worker I/N] [--minutes M] [--seed S] [--table]

Needs `$AUTOSEARCH_DATA` with `nas/nasbench201.npz` and `cifar10_subset`. An interrupted run goes on.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import append, origin, read, table
from published import SIX

from autosearch.methods.robot.metrics import METRICS, PAPER_METRICS, rank_log_sum, score
from autosearch.tasks.datasets import load_images
from search_spaces.nasbench201 import decode
from search_spaces.networks.nasbench201 import NasBench201Network

RESULTS = Path(__file__).with_name("results.csv")
SIZES = {"quick": (100, 20), "full": (300, 50)}  # architectures for fidelity and for speed
BATCH = 64
NEWER = [
    "ntk_condition",
    "zico",
    "az_expressivity",
    "az_progressivity",
    "az_trainability",
]  # passes of their own
# The table has no scores for `meco` and `swap`, which cost next to nothing beside the others.
TABLED = [name for name in METRICS if name not in (*NEWER, "regularised_swap")]
SCORED = [*TABLED, *NEWER]
# The table's names for what is called otherwise here.
COLUMNS = {"jacob_cov": "jacov", "naswot": "nwot"}
AIMS = {"synflow": 0.97, "naswot": 0.9, "grad_norm": 0.8, "snip": 0.8, "flops": 0.999, "params": 0.999}
AZ = ("az_expressivity", "az_progressivity", "az_trainability", "flops")


def load_table() -> dict[str, np.ndarray]:
    with np.load(Path(os.environ["AUTOSEARCH_DATA"]) / "nas" / "nasbench201.npz") as file:
        return {name: file[name] for name in file.files}


def chosen(nas: dict[str, np.ndarray], seed: int, n: int) -> list[int]:
    """Random rows of the table that it has scores for."""
    rows = np.flatnonzero(nas["has_zc"] == 1)
    return [int(row) for row in np.random.default_rng(seed).choice(rows, n, replace=False)]


def network(nas: dict[str, np.ndarray], row: int, seed: int) -> nn.Module:
    torch.manual_seed(1_000_003 * seed + row)
    return NasBench201Network((3, 32, 32), 10, architecture=decode(nas["ops"][row].tolist()))


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_images("cifar10_subset").train
    order = np.random.default_rng(seed).permutation(len(images))[:BATCH]
    return images[order], labels[order]


def run(size: str, seed: int, minutes: float, only: str, worker: str) -> None:
    torch.set_num_threads(1)
    nas, (x, y) = load_table(), batch(seed)
    for_fidelity, for_speed = SIZES[size]
    rows = chosen(nas, seed, for_fidelity)
    done = {(r["part"], r["seed"], r["row"]) for r in read(RESULTS)}
    share, workers = map(int, worker.split("/"))
    end = time.monotonic() + 60 * minutes
    warm = network(nas, rows[0], seed)
    for metrics in SIX.values():
        metrics(warm, x[:8], y[:8])  # kernels are chosen at their first call
    score(warm, x[:8], y[:8], PAPER_METRICS)
    parts = {"fidelity": (fidelity, rows), "speed": (speed, rows[:for_speed]), "newer": (newer, rows)}
    for part, (measure, wanted) in parts.items():
        for row in wanted[share::workers] if only in ("", part) else ():
            if time.monotonic() > end:
                return
            if (part, str(seed), str(row)) not in done:
                measured = dict.fromkeys((*SCORED, *TIMES), "") | measure(network(nas, row, seed), x, y)
                append(RESULTS, [{**origin("torch"), "part": part, "seed": seed, "row": row, **measured}])


def fidelity(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
    return {name: f"{value:.8g}" for name, value in score(model, x, y, TABLED).items()}


def newer(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
    return {name: f"{value:.8g}" for name, value in score(model, x, y, NEWER).items()}


TIMES = ("together", "one_by_one", "published")


def speed(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
    """Seconds of one core for the paper's six metrics, in turns so that a busy machine is as busy for each."""

    def alone() -> None:
        for name in PAPER_METRICS:
            score(model, x, y, [name])

    def published() -> None:
        for metric in SIX.values():
            metric(model, x, y)

    ways = (lambda: score(model, x, y, PAPER_METRICS), alone, published)
    return {name: f"{seconds(way):.3f}" for name, way in zip(TIMES, ways, strict=True)}


def seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def show(seed: int) -> None:
    nas = load_table()
    found = [r for r in read(RESULTS) if r["seed"] == str(seed)]
    scored: dict[int, dict[str, float]] = {}
    for r in found:
        if r["part"] != "speed":
            values = {name: float(r[name]) for name in SCORED if r[name]}
            scored[int(r["row"])] = scored.get(int(r["row"]), {}) | values
    if scored:
        print(fidelity_table(nas, scored))
    timed = [r for r in found if r["part"] == "speed"]
    if timed:
        print("\n" + speed_table(timed))


def fidelity_table(nas: dict[str, np.ndarray], scored: dict[int, dict[str, float]]) -> str:
    at = np.array(list(scored))
    accuracy = nas["c10_test"][at]
    found = {name: np.array([scored[row].get(name, np.nan) for row in at]) for name in SCORED}
    lines = []
    for name in SCORED:
        column = f"c10_{COLUMNS.get(name, name)}"
        its = nas[column][at] if column in nas else None
        aim = f"{AIMS[name]:g}" if name in AIMS else ""
        lines.append([name, "" if its is None else agreement(found[name], its), aim, agreement(found[name], accuracy),
                      "" if its is None else agreement(its, accuracy)])  # fmt: skip
    whole = np.isfinite(found[AZ[0]])
    if whole.sum() > 2:
        az = np.full(len(at), np.nan)
        az[whole] = rank_log_sum(np.column_stack([found[name][whole] for name in AZ]))
        lines.append(["AZ-NAS, four terms", "", "", agreement(az, accuracy), ""])
    heads = ("metric", "with the table's", "aim", "with accuracy", "the table's with accuracy")
    return f"{len(scored)} architectures.\n\n" + table(heads, lines)


def agreement(a: np.ndarray, b: np.ndarray) -> str:
    """Spearman's correlation where both have values."""
    both = np.isfinite(a) & np.isfinite(b) & (b > -1e7)  # -1e8 marks a failed score in the table
    if both.sum() < 3:
        return ""
    rho = float(spearmanr(a[both], b[both]).statistic)
    return f"{rho:.3f}" + ("" if both.all() else f" ({int(both.sum())})")


def speed_table(timed: Sequence[dict[str, str]]) -> str:
    t = {name: np.array([float(r[name]) for r in timed]) for name in TIMES}
    rng = np.random.default_rng(0)
    lines = []
    for name in TIMES:
        per_minute = 60 * 2 * len(timed) / t[name].sum()
        draws = rng.integers(len(timed), size=(2000, len(timed)))
        ratios = t[name][draws].sum(1) / t["together"][draws].sum(1)
        low, high = np.quantile(ratios, [0.025, 0.975])
        ratio = t[name].sum() / t["together"].sum()
        lines.append([name.replace("_", " "), f"{per_minute:.0f}", "" if name == "together" else
                      f"{ratio:.2f} [{low:.2f}, {high:.2f}]"])  # fmt: skip
    heads = ("the six metrics", "architectures a minute on 2 cores", "times the time of together")
    return f"{len(timed)} architectures, batch of {BATCH}, by processor time.\n\n" + table(heads, lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=SIZES, nargs="?", default="quick")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=("fidelity", "speed", "newer"), default="", help="this one only")
    parser.add_argument("--worker", default="0/1", help="0/2 and 1/2 share the work of two processes")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table:
        run(arguments.size, arguments.seed, arguments.minutes, arguments.part, arguments.worker)
    show(arguments.seed)
    sys.exit(0)
