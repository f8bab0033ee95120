"""Searchers against each other: the best value found after each trial.

    python benchmarks/searchers/run.py quick|full|table [--problems a,b] [--searchers a,b] [--jobs 2]

Resumes: a (problem, searcher, seed) that `results.csv` holds is not run again.
"""

import argparse
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import append, origin, read, table
from problems import PROBLEMS, Problem

RESULTS = Path(__file__).with_name("results.csv")
SEARCHERS: dict[str, Any] = {
    "bayesian": "bayesian",
    "bayesian, plain kernel": {"method": "bayesian", "conditional": False},
    "random": "random",
    "tpe": {"method": "optuna", "sampler": "TPESampler"},
    "gp": {"method": "optuna", "sampler": "GPSampler"},
}
QUICK = ("bayesian", "random", "tpe", "gp")
SIZES = {"quick": (10, 40), "full": (10, 100)}  # seeds, evaluations
STEPS = (10, 20, 28, 40, 70, 100)


def run(name: str, searcher: str, seed: int, evaluations: int) -> dict[str, Any]:
    """One study; the row holds the score after some numbers of trials (lower is better) and CPU seconds."""
    import torch

    from autosearch.core import Study

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    problem = PROBLEMS[name]
    rng = np.random.default_rng(10_000 + seed)
    study = Study(
        problem.space,
        problem.objectives,
        constraints=problem.constraints,
        require=problem.require,
        searcher=SEARCHERS[searcher],
        budget={"trials": evaluations},
        seed=seed,
        workers=problem.batch,
    )
    truths: list[dict[str, float]] = []
    scores: list[float] = []
    spent = 0.0
    while len(study.history) < evaluations:
        begun = time.process_time()
        trials = study.ask(min(problem.batch, evaluations - len(study.history)))
        spent += time.process_time() - begun
        for trial in trials:
            truth = problem.truth(trial.config, seed)
            truths.append(truth)
            measured = dict(truth)
            if problem.noise:
                measured["loss"] += problem.noise * float(rng.standard_normal())
            study.tell(trial, measured)
            scores.append(_score(problem, study, truths))
    row: dict[str, Any] = {"problem": name, "searcher": searcher, "seed": seed, "evaluations": evaluations}
    row |= {f"at_{step}": f"{scores[step - 1]:.8g}" if step <= evaluations else "" for step in STEPS}
    return row | {"cpu_s": f"{spent / evaluations:.4f}", **origin("numpy", "torch", "botorch", "optuna")}


def _score(problem: Problem, study: Any, truths: Sequence[dict[str, float]]) -> float:
    """What a user would have: the incumbent's value without noise, or minus the dominated volume."""
    from autosearch.core.ranking import hypervolume

    if problem.reference:
        values = np.array([t.values for t in study.front]).reshape(-1, len(problem.reference))
        return -hypervolume(values, np.array(problem.reference))
    incumbent = study.history.incumbent
    return float("inf") if incumbent is None else truths[incumbent.number]["loss"]


def _job(task: tuple[str, str, int, int]) -> dict[str, Any]:
    return run(*task)


def show(evaluations: int) -> str:
    """Median score of each searcher on each problem with n, and mean ranks over problems and seeds."""
    rows = [row for row in read(RESULTS) if int(row["evaluations"]) == evaluations]
    names = [name for name in SEARCHERS if any(row["searcher"] == name for row in rows)]
    last = f"at_{evaluations}"
    cells, ranks = [], {name: [] for name in names}
    for problem in PROBLEMS:
        own = {
            name: {row["seed"]: row for row in rows if (row["problem"], row["searcher"]) == (problem, name)}
            for name in names
        }
        line = [problem]
        for name in names:
            values = [float(row[last]) for row in own[name].values()]
            line.append(f"{np.median(values):.4g} ({len(values)})" if values else "")
        cells.append(line)
        for seed in set.intersection(*(set(found) for found in own.values())) if names else ():
            values = np.array([float(own[name][seed][last]) for name in names])
            for i, name in enumerate(names):
                ranks[name].append(1 + (values < values[i]).sum() + ((values == values[i]).sum() - 1) / 2)
    cells.append(["mean rank", *(f"{np.mean(r):.2f} ({len(r)})" if r else "" for r in ranks.values())])
    cpu = [[float(row["cpu_s"]) for row in rows if row["searcher"] == name] for name in names]
    cells.append(["CPU s a trial", *(f"{np.median(values):.3f}" for values in cpu)])
    return table([f"after {evaluations} trials, median (n)", *names], cells)


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the workers start, which inherit it
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=[*SIZES, "table"])
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--searchers", default=",".join(QUICK))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    seeds, evaluations = SIZES.get(arguments.size, SIZES["quick"])
    if arguments.size != "table":
        done = {(r["problem"], r["searcher"], int(r["seed"]), int(r["evaluations"])) for r in read(RESULTS)}
        tasks = [
            (problem, searcher, seed, evaluations)
            for seed in range(arguments.seeds or seeds)
            for problem in arguments.problems.split(",")
            for searcher in arguments.searchers.split(",")
        ]
        tasks = [task for task in tasks if task not in done]
        with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
            for row in pool.imap_unordered(_job, tasks):
                append(RESULTS, [row])
                print(row["problem"], row["searcher"], row["seed"], row[f"at_{evaluations}"], flush=True)
    print(show(evaluations))


if __name__ == "__main__":
    main()
