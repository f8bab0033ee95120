"""CPU seconds of one suggestion after a given history, ours beside Optuna's GPSampler, by turns in one process.

    python benchmarks/searchers/speed.py quick|full|table

The history is the same for both: a half drawn at random, a half one change away from the best so far, as searches are.
Then each is asked three times and told what it asked; imports and a first suggestion on a small history do not count.
`full` adds 1,000 observations.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import append, origin, read, table
from problems import PROBLEMS

SPEEDS = Path(__file__).with_name("speed.csv")
SPACES = ("hartmann", "levy20", "training", "svm-like")
SIZES = {"quick": (50, 100, 200), "full": (50, 100, 200, 1000)}
_ASKED = 3
Answer = tuple[dict[str, Any], float]


def _space(name: str) -> tuple[dict[str, Any], Callable[[dict[str, Any]], float]]:
    """Parameters and a cheap loss; a stand-in where the model itself would take longer than the searcher."""
    if name == "svm-like":
        return dict(PROBLEMS["svm"].space), _svm_like
    truth = PROBLEMS[name].truth
    return dict(PROBLEMS[name].space), lambda config: (truth(config, 0) or {})["loss"]


def _svm_like(config: dict[str, Any]) -> float:
    loss = (np.log10(config["C"]) - 1) ** 2 / 9 + {"rbf": 0.0, "poly": 0.1, "linear": 0.3}[config["kernel"]]
    if "gamma" in config:
        loss += (np.log10(config["gamma"]) + 2) ** 2 / 9
    return float(loss + (config["components"] / 40 - 0.6) ** 2)


def history(name: str, n: int, seed: int) -> tuple[Any, list[dict[str, Any]], list[float]]:
    from autosearch.space import SearchSpace

    parameters, loss = _space(name)
    space, rng = SearchSpace(parameters), np.random.default_rng(seed)
    configs = list(space.sample(rng, n // 2))
    losses = [loss(config) for config in configs]
    while len(configs) < n:
        best = configs[int(np.argmin(losses))]
        configs += space.neighbours(best, rng, 1)
        losses.append(loss(configs[-1]))
    return space, configs, losses


def ours(name: str, n: int, seed: int) -> list[float]:
    """CPU seconds of each suggestion."""
    from autosearch.core import History, plugins

    _, loss = _space(name)
    space, configs, losses = history(name, n, seed)
    searcher = plugins.build("searchers", {"method": "bayesian", "initial": 2})
    found = []
    for _ in range(_ASKED):
        seen = History.of(space, configs, np.array(losses), seed=seed)
        begun = time.process_time()
        (suggestion,) = searcher.suggest(seen, 1)
        found.append(time.process_time() - begun)
        configs.append(space.complete(suggestion.config))
        losses.append(loss(configs[-1]))
    return found


def gp(name: str, n: int, seed: int) -> list[float]:
    """The same of Optuna's GPSampler with its defaults, in a study of its own."""
    import optuna
    from players import described

    sys.path.insert(0, str(Path(__file__).with_name("rivals")))
    from protocol import active
    from with_optuna import suggest

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parameters, loss = _space(name)
    _, configs, losses = history(name, n, seed)
    entries = described(parameters)
    study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=seed))
    for config, value in zip(configs, losses, strict=True):
        study.enqueue_trial(config)
        trial = study.ask()
        active(entries, lambda entry, trial=trial: suggest(trial, entry))
        study.tell(trial, value)
    found = []
    for _ in range(_ASKED):
        begun = time.process_time()
        trial = study.ask()
        config = active(entries, lambda entry, trial=trial: suggest(trial, entry))
        found.append(time.process_time() - begun)
        study.tell(trial, loss(config))
    return found


def show() -> str:
    rows = read(SPEEDS)
    body, ratios = [], []
    for name in SPACES:
        for n in SIZES["full"]:
            here = [row for row in rows if (row["space"], int(row["observations"])) == (name, n)]
            if not here:
                continue
            mine, theirs = (np.median([float(row[key]) for row in here]) for key in ("ours_s", "gp_s"))
            if n <= 200:
                ratios.append(mine / theirs)
            body.append([name, n, f"{mine:.3f}", f"{theirs:.3f}", f"{mine / theirs:.2f}", len(here)])
    if ratios:
        body.append(["median, 50 to 200", "", "", "", f"{np.median(ratios):.2f}", len(ratios)])
    return table(["space", "observations", "ours, CPU s", "GPSampler, CPU s", "ratio", "n"], body)


def main() -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=[*SIZES, "table"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.size == "table":
        print(show())
        return
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = {(row["space"], int(row["observations"]), int(row["seed"])) for row in read(SPEEDS)}
    for searcher in (ours, gp):
        searcher("training", 12, 0)
    for seed in range(arguments.seeds):
        for n in SIZES[arguments.size]:
            for name in SPACES:
                if (name, n, seed) in done:
                    continue
                times = {"ours_s": np.median(ours(name, n, seed)), "gp_s": np.median(gp(name, n, seed))}
                row = {"space": name, "observations": n, "seed": seed}
                row |= {key: f"{value:.4f}" for key, value in times.items()}
                append(SPEEDS, [row | origin("numpy", "torch", "botorch", "optuna")])
                print(row, flush=True)
    print(show())


if __name__ == "__main__":
    main()
