"""Searchers with early stopping on the learning curves of TaskSet, at equal numbers of training steps.

    AUTOSEARCH_DATA=... python benchmarks/searchers/curves.py quick|full|table [--jobs 2]

A configuration trains as the nearest of the table's 1,000 did: 50 checkpoints, the validation loss after each. Every
searcher may spend as many checkpoints as 20 whole trainings take. What counts is the lowest validation loss that it
saw, as regret to the lowest in the table. `quick` takes 3 seeds, `full` 10.
"""

import argparse
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import append, origin, read, table
from tables import TASKSET, TASKSET_FILE, taskset_curves, taskset_row

CURVES = Path(__file__).with_name("curves.csv")
SIZES = {"quick": 3, "full": 10}
STEPS, WHOLE = 50, 20
TASKS = range(6)
Report = Callable[[float, int], bool]  # loss and step; whether to go on


class Budget:
    """Checkpoints spent and the lowest loss seen."""

    def __init__(self, task: int) -> None:
        self.left, self.best = STEPS * WHOLE, np.inf
        self._curves = taskset_curves(task)

    def train(self, config: dict[str, Any]) -> Iterator[float]:
        """The loss after each step that the budget allows; NaN once it has diverged."""
        row = taskset_row(config)
        for step in range(1, STEPS + 1):
            if not self.left:
                return
            self.left -= 1
            loss = float(self._curves[row, step])
            if loss < self.best:
                self.best = loss
            yield loss


def ours(searcher: Any, scheduler: Any) -> Callable[[int, int], float]:
    def play(task: int, seed: int) -> float:
        from autosearch.core import Decision, Job, Progress, RunSettings, Study
        from autosearch.runners.simulated import SimulatedRunner

        budget = Budget(task)

        class Training:
            max_step = STEPS

            def run(self, job: Job) -> Iterator[Progress]:
                for step, loss in enumerate(budget.train(dict(job.config)), 1):
                    decision = yield Progress({"loss": loss}, step, seconds=60.0)
                    if np.isnan(loss) or decision is not Decision.CONTINUE:
                        return

        study = Study(
            TASKSET,
            {"loss": "minimize"},
            searcher=searcher,
            scheduler=scheduler,
            budget={"minutes": STEPS * WHOLE},
            seed=seed,
            fidelity=(1, STEPS),
        )
        SimulatedRunner(RunSettings()).run(study, Training())
        return budget.best

    return play


def optunas(sampler: str, pruner: str, **options: Any) -> Callable[[int, int], float]:
    def play(task: int, seed: int) -> float:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        budget = Budget(task)
        study = optuna.create_study(
            sampler=getattr(optuna.samplers, sampler)(seed=seed),
            pruner=getattr(optuna.pruners, pruner)(**options),
        )
        while budget.left:
            trial = study.ask()
            ranges = {name: (p["low"], p["high"]) for name, p in TASKSET.items()}
            config = {name: trial.suggest_float(name, *ends, log=True) for name, ends in ranges.items()}
            pruned, last = False, np.nan
            for step, loss in enumerate(budget.train(config), 1):
                last = loss
                if np.isnan(last):
                    break
                trial.report(last, step)
                if pruned := trial.should_prune():
                    break
            if np.isnan(last):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            elif pruned:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(trial, last)
        return budget.best

    return play


PLAYERS = {
    "bayesian, asha": ours("bayesian", {"method": "asha", "max": STEPS}),
    "bayesian, no stopping": ours("bayesian", None),
    "random, asha": ours("random", {"method": "asha", "max": STEPS}),
    "tpe, hyperband": optunas("TPESampler", "HyperbandPruner", max_resource=STEPS, reduction_factor=3),
    "tpe, asha": optunas("TPESampler", "SuccessiveHalvingPruner", reduction_factor=3),
    "gp, asha": optunas("GPSampler", "SuccessiveHalvingPruner", reduction_factor=3),
    "gp, no stopping": optunas("GPSampler", "NopPruner"),
}


def _job(key: tuple[int, str, int]) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    task, name, seed = key
    best = PLAYERS[name](task, seed)
    regret = best - float(np.nanmin(taskset_curves(task)[:, 1:]))
    row = {"task": task, "searcher": name, "seed": seed, "whole_trainings": WHOLE, "regret": f"{regret:.6g}"}
    return row | origin("numpy", "torch", "optuna")


def show() -> str:
    found: dict[tuple[int, str], dict[int, float]] = {}
    for row in read(CURVES):
        found.setdefault((int(row["task"]), row["searcher"]), {})[int(row["seed"])] = float(row["regret"])
    names = [name for name in PLAYERS if any(key[1] == name for key in found)]
    body: list[list[Any]] = []
    ranks: dict[str, list[float]] = {name: [] for name in names}
    for task in TASKS:
        runs = {name: found.get((task, name), {}) for name in names}
        body.append(
            [task, *(f"{np.median([*r.values()]):.4f} ({len(r)})" if r else "" for r in runs.values())]
        )
        for seed in set.intersection(*(set(r) for r in runs.values())) if names else ():
            ends = np.array([r[seed] for r in runs.values()])
            for name, end in zip(names, ends, strict=True):
                ranks[name].append(1 + (ends < end).sum() + ((ends == end).sum() - 1) / 2)
    body.append(["mean rank", *(f"{np.mean(r):.2f} ({len(r)})" if r else "" for r in ranks.values())])
    return table(["task: regret, median (n)", *names], body)


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=[*SIZES, "table"])
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--searchers", default=";".join(PLAYERS), help="divided by semicolons")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.size != "table":
        if not Path(os.environ.get("AUTOSEARCH_DATA", ""), TASKSET_FILE).exists():
            raise SystemExit(f"$AUTOSEARCH_DATA holds no {TASKSET_FILE}: set it to the folder of the data.")
        done = {(int(row["task"]), row["searcher"], int(row["seed"])) for row in read(CURVES)}
        seeds = range(arguments.first, arguments.first + (arguments.seeds or SIZES[arguments.size]))
        keys = [
            (task, name, seed) for seed in seeds for task in TASKS for name in arguments.searchers.split(";")
        ]
        with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
            for row in pool.imap_unordered(_job, [key for key in keys if key not in done]):
                append(CURVES, [row])
                print(row["task"], row["searcher"], row["seed"], row["regret"], flush=True)
    print(show())


if __name__ == "__main__":
    main()
