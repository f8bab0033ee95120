"""Searchers against each other: the best value found after each trial.

    python benchmarks/searchers/run.py quick|full|table [--problems a,b] [--searchers a,b] [--jobs 2]

Resumes: a (problem, searcher, seed, evaluations) that `results.csv` holds is not run again.
"""

import argparse
import math
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
from common import append, origin, read
from players import HOMES, ONE_OBJECTIVE, SEARCHERS, player
from problem import Problem
from problems import PROBLEMS, QUICK

RESULTS = Path(__file__).with_name("results.csv")
RIVALS = ("random", "tpe", "gp", "ngopt", "botorch loop")
SIZES: dict[str, tuple[int, int, Sequence[str], Sequence[str]]] = {  # seeds, evaluations, problems, searchers
    "quick": (10, 40, tuple(QUICK), ("bayesian", *RIVALS)),
    "full": (10, 100, tuple(PROBLEMS), ("bayesian", *RIVALS, "cma-es", "ax", "smac")),
}


def run(name: str, searcher: str, seed: int, evaluations: int, homes: Path = HOMES) -> dict[str, Any]:
    """One study; the row holds each improvement of the score (lower is better) and CPU seconds."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    begun = time.monotonic()
    problem = PROBLEMS[name]
    rng = np.random.default_rng(10_000 + seed)
    study = player(searcher, problem, seed, evaluations, homes)
    score = Score(problem)
    improvements: list[str] = []
    while len(score) < evaluations:
        configs = study.ask(min(problem.batch, evaluations - len(score)))
        if not configs:
            break  # the space is exhausted
        truths = [problem.truth(config, seed) for config in configs]
        measured = [
            None if truth is None else _measure(problem, config, truth, seed, rng)
            for config, truth in zip(configs, truths, strict=True)
        ]
        study.tell(measured)
        for truth, seen in zip(truths, measured, strict=True):
            if score.add(truth, seen):
                improvements.append(f"{len(score)}:{score.value:.10g}")
    study.close()
    return {
        "problem": name,
        "family": problem.family,
        "searcher": searcher,
        "seed": seed,
        "evaluations": evaluations,
        "score": f"{score.value:.10g}",
        "improvements": " ".join(improvements),
        "cpu_s": f"{study.cpu_s / evaluations:.5f}",
        "seconds": f"{time.monotonic() - begun:.1f}",
        "library": study.version,
        **origin("numpy", "torch", "botorch", "scikit-learn"),
    }


def _measure(
    problem: Problem, config: Any, truth: dict[str, float], seed: int, rng: np.random.Generator
) -> dict[str, float]:
    if problem.measure:
        return problem.measure(config, seed, rng)
    if problem.noise:
        return truth | {"loss": truth["loss"] + problem.noise * float(rng.standard_normal())}
    return truth


class Score:
    """What a user would have after each trial, the same for every searcher: the true value of the feasible
    configuration that was measured best, or minus the dominated volume. Infinite until one is feasible.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.value, self._best = problem, math.inf, math.inf
        self._points: list[list[float]] = []
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, truth: dict[str, float] | None, measured: dict[str, float] | None) -> bool:
        """Count a trial; whether the score changed (noise may make it worse)."""
        from autosearch.core.ranking import hypervolume

        self._n += 1
        if truth is None or measured is None or any(v > 0 for v in self.problem.violations(measured)):
            return False
        before = self.value
        if self.problem.reference:
            self._points.append([truth[name] for name in self.problem.objectives])
            self.value = -hypervolume(np.array(self._points), np.array(self.problem.reference))
        elif measured["loss"] < self._best:
            self._best, self.value = measured["loss"], truth["loss"]
        return self.value != before


def _job(task: tuple[str, str, int, int, Path]) -> dict[str, Any]:
    return run(*task)


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the workers start, which inherit it
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=[*SIZES, "table"])
    parser.add_argument("--problems", help="of these alone, divided by commas")
    parser.add_argument("--searchers", help=f"of {', '.join(SEARCHERS)}")
    parser.add_argument("--seeds", type=int, help="how many, from --first")
    parser.add_argument("--first", type=int, default=0, help="reported seeds are 0 and up, others 100 and up")
    parser.add_argument("--evaluations", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rivals", type=Path, default=HOMES, help="folder of the rivals' environments")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.size == "table":
        from report import show

        shown = arguments.searchers.split(",") if arguments.searchers else SEARCHERS
        rows = [row for row in read(arguments.results) if row["searcher"] in shown]
        print(show(rows, arguments.evaluations or SIZES["quick"][1]))
        return
    seeds, evaluations, problems, searchers = SIZES[arguments.size]
    evaluations = arguments.evaluations or evaluations
    problems = arguments.problems.split(",") if arguments.problems else problems
    searchers = arguments.searchers.split(",") if arguments.searchers else searchers
    data = Path(os.environ.get("AUTOSEARCH_DATA", ""))
    for name in [
        name for name in problems if PROBLEMS[name].data and not (data / str(PROBLEMS[name].data)).exists()
    ]:
        print(f"{name}: skipped, for $AUTOSEARCH_DATA holds no {PROBLEMS[name].data}", flush=True)
        problems = [other for other in problems if other != name]
    done = {
        (row["problem"], row["searcher"], int(row["seed"]), int(row["evaluations"]))
        for row in read(arguments.results)
    }
    tasks = [
        (*key, arguments.rivals)
        for seed in range(arguments.first, arguments.first + (arguments.seeds or seeds))
        for problem in problems
        for searcher in searchers
        if (key := (problem, searcher, seed, evaluations)) not in done
        and (searcher not in ONE_OBJECTIVE or len(PROBLEMS[problem].objectives) == 1)
    ]
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for row in pool.imap_unordered(_job, tasks):
            append(arguments.results, [row])
            print(row["problem"], row["searcher"], row["seed"], row["score"], row["cpu_s"], flush=True)


if __name__ == "__main__":
    main()
