"""One self-tuning run against searches that are given the same compute; replays, starting points, cost of a step.

    python -m benchmarks.stn.run quick|full [--part NAME] [--task NAME] [--method NAME] [--seed N] [--table]

Parts: `cost` of a step beside a plain one; `compare` with random search, the Bayesian searcher and population-based
training, which have as many whole runs as cost more than the self-tuning one, with a replay of what was found in a
plain network; `merge`, five starting points; `text`, dropout of a language model against eight fixed rates. An
interrupted run goes on. Of every run the epoch with the lowest validation loss counts, its test loss with it; nothing
is chosen by test losses. Settings were chosen on seeds 100 to 102 and frozen before seeds 0 and up, which are reported,
ran.
"""

import argparse
import contextlib
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student

import autosearch as asr
from autosearch.core import RunSettings
from autosearch.learning import TrainingLearner
from autosearch.methods.stn import ScheduleReplay, Tuned
from autosearch.methods.stn.training import STNTraining
from autosearch.tasks.language_model import LanguageModel
from autosearch.tasks.training import TrainingTask
from benchmarks.common import append, origin, read, table
from benchmarks.stn.tasks import LIMIT, RANGES, SEEN, TASKS, Regularised

RESULTS = Path(__file__).with_name("results.csv")
COLUMNS = ("part", "task", "method", "seed", "runs", "epochs", "val_loss", "test_loss", "seconds", "note")
RIVALS = ("random", "bayesian", "pbt")
BY_RMSPROP = "stn by RMSprop"  # as in Delta-STN's published code
# Whole runs of a rival: the cost of a self-tuning run in theirs, rounded up; measured on seeds 100 to 102.
RUNS = {"digits": 5, "fashion": 4, "cifar": 4}
SEEDS = {"digits": 10, "fashion": 5, "cifar": 3}
STARTS = (0.05, 0.2, 0.4, 0.6, 0.8)  # of the way through each range
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
Row = dict[str, Any]


def followed(task: TrainingTask, learner: TrainingLearner, after: Callable[[], Any] | None = None) -> Row:
    """Trains to the end; the epoch with the lowest validation loss, and the seconds of CPU."""
    began, best = time.process_time(), {"val_loss": math.inf}
    per_epoch = learner.batches.batches_per_epoch
    for _ in range(task.epochs):
        if after is None:
            learner.advance(per_epoch)
        else:
            for _ in range(per_epoch):
                learner.advance(1)
                after()
        found = task.report(learner, {}, 0.0)
        if found["val_loss"] < best["val_loss"]:
            best = found
    return {
        "runs": 1, "epochs": task.epochs, "val_loss": f"{best['val_loss']:.6f}",
        "test_loss": f"{best.get('test_loss', math.nan):.6f}", "seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def tuning(tune: Mapping[str, Mapping[str, Any]], preset: str = "modern", **options: Any) -> STNTraining:
    """The method as shipped; an epoch is one of the network, so that its course has the steps of a plain run."""
    return STNTraining(tune, preset, count="steps", options=options)


def tuned_run(task: TrainingTask, seed: int, method: STNTraining) -> tuple[Row, dict[str, Any]]:
    """A self-tuning run, and its schedule."""
    learner: Any = task.trained_by([method]).trained_learner(seed)
    row = followed(task, learner)
    return row, learner.tuner.schedule()


# -- parts -------------------------------------------------------------------------------------------------


def cost_jobs(size: str) -> Iterator[tuple[str, str, int, Callable[[], list[Row]]]]:
    """Median of 5 rounds in turns, so that load on the machine is everybody's."""
    del size
    for name, make in {"cnn": small_cnn, "mlp": small_mlp}.items():
        yield name, "plain", 0, lambda name=name, make=make: measured(name, make)


def small_cnn() -> tuple[torch.nn.Module, torch.Tensor]:
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1), nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1), nn.Flatten(), nn.Linear(32 * 49, 256), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(256, 10),
    )  # fmt: skip
    return model, torch.randn(128, 1, 28, 28)


def small_mlp() -> tuple[torch.nn.Module, torch.Tensor]:
    nn = torch.nn
    layers = [nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.Linear(256, 10)), torch.randn(64, 64)


def measured(name: str, make: Callable[[], tuple[torch.nn.Module, torch.Tensor]]) -> list[Row]:
    kinds: dict[str, dict[str, Any] | None] = {
        "plain": None,
        "paper (STN)": {"preset": "paper"},
        "modern": {},
        "modern, responses every second step": {"response_every": 2},
        "modern, own response weights": {"tied": False},
        "the same, double backward": {"tied": False, "linearise": "double"},
    }
    steppers = {kind: stepper(make, options) for kind, options in kinds.items()}
    steps = 24 if name == "cnn" else 96
    rounds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(6):
        for kind, step in steppers.items():
            began = time.process_time()
            for _ in range(steps):
                step()
            if turn:  # the first one warms up
                rounds[kind].append((time.process_time() - began) / steps)
    plain = statistics.median(rounds["plain"])
    return [
        {"method": kind, "runs": len(times), "seconds": f"{statistics.median(times):.6f}",
         "note": f"{statistics.median(t / p for t, p in zip(times, rounds['plain'], strict=True)):.2f}"}
        for kind, times in rounds.items()
        if plain > 0
    ]  # fmt: skip


def stepper(
    make: Callable[[], tuple[torch.nn.Module, torch.Tensor]], options: dict[str, Any] | None
) -> Callable[[], None]:
    torch.manual_seed(0)
    model, x = make()
    batch = x, torch.randint(10, (len(x),))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)

    def loss(model: Any, batch: Any, values: Any = None) -> torch.Tensor:  # noqa: ARG001
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    if options is None:

        def plain() -> None:
            optimizer.zero_grad()
            loss(model, batch).backward()
            optimizer.step()

        return plain
    tune = {"dropout": {"low": 0.0, "high": 0.9, "per_layer": True}}
    tuner = asr.DeltaSTN(model, optimizer, tune, loss=loss, val_loss=loss, validation=[batch], **options)

    def tuned() -> None:
        optimizer.zero_grad()
        tuner.loss(batch).backward()
        optimizer.step()
        tuner.step(batch)

    return tuned


def start(share: float | None = None) -> dict[str, Any]:
    """Values of the hyperparameters at the default start, or so much of the way through each range."""
    found: dict[str, Any] = {}
    for name, options in RANGES.items():
        tuned = Tuned(name, **options)
        u = tuned.start if share is None else math.log(share / (1 - share))
        value = float(tuned.constrain(torch.tensor(u, dtype=torch.float64)))
        found[name] = int(value) if tuned.discrete else value
    return found


def space() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, o in RANGES.items():
        discrete = asr.Int(o["low"], o["high"]) if o.get("discrete") else None
        found[name] = discrete or asr.Float(o["low"], o["high"], log=o.get("log", False))
    return found


def searched(task: Regularised, name: str, seed: int, runs: int) -> Row:
    """The best epoch of a search with `runs` whole runs, the first of which starts where self-tuning does."""
    began = time.process_time()
    rungs = max(2, min(10, task.epochs // 3))
    scheduler = {
        "method": "pbt",
        "population": runs,
        "interval": max(1, task.epochs // rungs),
        "quantile": 1 / runs,
    }
    study = asr.Study(
        space(),
        {"val_loss": "minimize"},
        searcher="random" if name == "pbt" else name,
        scheduler=scheduler if name == "pbt" else None,
        seed=seed,
        fidelity=(None, task.epochs),
        name=f"{name}-{seed}",
    )
    study.enqueue(start())
    SEEN.clear()
    # A replacement is a trial of its own; it goes on where the one that it replaces stood.
    trials = runs + (rungs if name == "pbt" else 0)
    LIMIT[0] = runs * task.epochs
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        study.run(task, trials=trials, runner="inline", settings=RunSettings(output=Path(folder)))
    LIMIT[0] = 0
    best = min(SEEN, key=lambda metrics: metrics["val_loss"])
    return {
        "runs": runs, "epochs": len(SEEN), "val_loss": f"{best['val_loss']:.6f}",
        "test_loss": f"{best['test_loss']:.6f}", "seconds": round(time.process_time() - began, 1),
        "note": f"{len(study.history)} trials",
    }  # fmt: skip


def compare_jobs(size: str) -> Iterator[tuple[str, str, int, Callable[[], list[Row]]]]:
    names = [name for name in TASKS if size == "full" or name != "cifar"]
    for seed in range(max(SEEDS.values())):
        for name in names:
            if seed >= SEEDS[name]:
                continue
            task = TASKS[name](seed)
            yield name, "stn", seed, lambda n=name, t=task, s=seed: tuned_and_replayed(n, t, s)
            yield name, BY_RMSPROP, seed, lambda t=task, s=seed: [tuned_by_rmsprop(t, s)]
            for rival in RIVALS:
                yield (
                    name, rival, seed,
                    lambda t=task, r=rival, s=seed, n=name: [searched(t, r, s, RUNS[n])],
                )  # fmt: skip


def tuned_and_replayed(name: str, task: Regularised, seed: int) -> list[Row]:
    """A self-tuning run; on digits also its replay, and its last values held fixed, each in a plain network."""
    row, schedule = tuned_run(task, seed, tuning(RANGES))
    rows = [{"method": "stn", **row, "note": noted(schedule)}]
    if name != "digits":
        return rows
    plain = task.learner(seed)
    replay = ScheduleReplay(schedule, plain.model, plain.optimizer)

    def follow() -> None:
        values = replay.step()
        plain.adjust({key: values[key] for key in values if key != "dropout"})

    plain.adjust(replay.values)
    rows.append({"part": "replay", "method": "replayed", **followed(task, plain, follow)})
    last = task.learner(seed)
    last.adjust({key: values[-1] for key, values in schedule["values"].items()})
    rows.append({"part": "replay", "method": "final values fixed", **followed(task, last)})
    return rows


def tuned_by_rmsprop(task: Regularised, seed: int) -> Row:
    row, schedule = tuned_run(task, seed, tuning(RANGES, hyper_optimizer="rmsprop"))
    return {**row, "note": noted(schedule)}


def noted(schedule: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={values[-1]:.4g}" for name, values in schedule["values"].items())


def merge_jobs(size: str) -> Iterator[tuple[str, str, int, Callable[[], list[Row]]]]:
    del size
    for seed in range(3):
        for share in STARTS:
            task = TASKS["digits"](seed)
            tune = {name: {**o, "init": start(share)[name]} for name, o in RANGES.items()}

            def run(task: Any = task, seed: int = seed, tune: Any = tune) -> list[Row]:
                row, schedule = tuned_run(task, seed, tuning(tune))
                return [{**row, "note": noted(schedule)}]

            yield "digits", f"from {share:g}", seed, run


def text_jobs(size: str) -> Iterator[tuple[str, str, int, Callable[[], list[Row]]]]:
    del size

    def task(rate: float) -> LanguageModel:
        return LanguageModel(
            train_size=10_000, val_size=10_000, width=96, dropout=rate, optimizer="adamw", lr=3e-3, epochs=40,
            batch_size=16, device="cpu",
        )  # fmt: skip

    def tuned(seed: int) -> list[Row]:
        # The recurrent layer's fast kernel stays; what is dropped behind it is what the head answers to.
        method = STNTraining({"dropout": RANGES["dropout"]}, count="steps", exclude=("embedding", "layers.*"))
        row, schedule = tuned_run(task(0.2), seed, method)
        return [{**row, "note": noted(schedule)}]

    def fixed(rate: float, seed: int) -> list[Row]:
        return [followed(task(rate), task(rate).learner(seed))]

    for seed in range(3):
        yield "text", "stn", seed, lambda s=seed: tuned(s)
        for rate in RATES:
            yield "text", f"fixed {rate:g}", seed, lambda r=rate, s=seed: fixed(r, s)


PARTS = {"cost": cost_jobs, "compare": compare_jobs, "merge": merge_jobs, "text": text_jobs}


# -- running and reading -----------------------------------------------------------------------------------


def run(
    size: str,
    only: list[str] | None,
    task: str | None,
    methods: list[str] | None,
    seeds: list[int] | None,
    minutes: float,
) -> None:
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * minutes
    for part, jobs in PARTS.items():
        if only and part not in only:
            continue
        for name, method, seed, job in jobs(size):
            if (
                task not in (None, name)
                or (seeds and seed not in seeds)
                or (methods and method not in methods)
            ):
                continue
            done = {(r["part"], r["task"], r["method"], r["seed"]) for r in read(RESULTS)}
            if (part, name, method, str(seed)) in done:
                continue
            if time.monotonic() > end:
                return
            base = dict.fromkeys(COLUMNS, "") | {"part": part, "task": name, "method": method, "seed": seed}
            append(RESULTS, [{**base, **row, **origin("torch")} for row in job()])


def values(rows: list[dict[str, str]], part: str, task: str, method: str, column: str) -> dict[int, float]:
    return {
        int(r["seed"]): float(r[column])
        for r in rows
        if (r["part"], r["task"], r["method"]) == (part, task, method) and r[column]
    }


def cell(found: Mapping[int, float]) -> str:
    if not found:
        return ""
    numbers = list(found.values())
    spread = f" ± {statistics.stdev(numbers):.4f}" if len(numbers) > 1 else ""
    return f"{statistics.mean(numbers):.4f}{spread} ({len(numbers)})"


def ratio(a: Mapping[int, float], b: Mapping[int, float]) -> str:
    """Mean of paired ratios a / b with a 95 % interval, and in how many of them a is smaller."""
    logs = [math.log(a[s] / b[s]) for s in a if s in b]
    if len(logs) < 2:
        return ""
    half = student.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    mean, wins = statistics.mean(logs), sum(x < 0 for x in logs)
    return f"{math.exp(mean):.3f} [{math.exp(mean - half):.3f}, {math.exp(mean + half):.3f}], {wins} of {len(logs)}"


def report() -> str:
    rows = read(RESULTS)
    parts = [cost_table(rows), compare_table(rows), replay_table(rows), merge_table(rows), text_table(rows)]
    return "\n\n".join(parts)


def cost_table(rows: list[dict[str, str]]) -> str:
    found = [r for r in rows if r["part"] == "cost"]
    kinds = list(dict.fromkeys(r["method"] for r in found))
    ratios = {(r["task"], r["method"]): r["note"] for r in found}
    lines = [[kind, *(ratios.get((task, kind), "") for task in ("cnn", "mlp"))] for kind in kinds]
    head = ["", "small CNN, batch 128", "MLP 64-256-256-10, batch 64"]
    return "Time of a step, in plain ones.\n\n" + table(head, lines)


def compare_table(rows: list[dict[str, str]]) -> str:
    tasks = [t for t in ("digits", "fashion", "cifar") if any(r["task"] == t for r in rows)]
    head = ["", *(f"{t} {c}" for t in tasks for c in ("val", "test", "CPU s"))]
    lines = [
        [
            m,
            *(
                cell(values(rows, "compare", t, m, c))
                for t in tasks
                for c in ("val_loss", "test_loss", "seconds")
            ),
        ]
        for m in ("stn", BY_RMSPROP, *RIVALS)
    ]
    ratios = [
        [f"{a} / {b}", *(ratio(values(rows, "compare", t, a, c), values(rows, "compare", t, b, c))
                         for t in tasks for c in ("val_loss", "test_loss", "seconds"))]
        for a, b in (*(("stn", m) for m in RIVALS), (BY_RMSPROP, "random"), ("stn", BY_RMSPROP))
    ]  # fmt: skip
    return (
        "Best validation loss of one self-tuning run, and of searches with more compute; mean ± standard "
        "deviation (n).\n\n"
        + table(head, lines)
        + "\n\nPaired ratios: mean [95 % interval], seeds on which self-tuning is lower.\n\n"
        + table(head, ratios)
    )


def replay_table(rows: list[dict[str, str]]) -> str:
    replayed, fixed = (
        values(rows, "replay", "digits", m, "val_loss") for m in ("replayed", "final values fixed")
    )
    own = values(rows, "compare", "digits", "stn", "val_loss")
    lines = [["its own run", cell(own), ""], ["replayed in a plain network", cell(replayed), ratio(replayed, fixed)],
             ["its final values held fixed", cell(fixed), ""]]  # fmt: skip
    return "Digits, best validation loss.\n\n" + table(["", "loss", "replayed / fixed"], lines)


def merge_table(rows: list[dict[str, str]]) -> str:
    found = [r for r in rows if r["part"] == "merge"]
    seeds = sorted({r["seed"] for r in found})
    lines = []
    for name in RANGES:
        cells = []
        for seed in seeds:
            ends = [
                float(dict(p.split("=") for p in r["note"].split())[name]) for r in found if r["seed"] == seed
            ]
            starts = [start(share)[name] for share in STARTS]
            if RANGES[name].get("log"):
                ends, starts = [math.log(v) for v in ends], [math.log(v) for v in starts]
            cells.append(
                f"{statistics.stdev(ends) / statistics.stdev(starts):.2f}" if len(ends) == len(starts) else ""
            )
        lines.append([name, *cells])
    spread = []
    for seed in seeds:
        ends = [float(r["val_loss"]) for r in found if r["seed"] == seed]
        spread.append(f"{min(ends):.4f} to {max(ends):.4f}" if ends else "")
    lines.append(["best validation losses", *spread])
    title = (
        "Digits, five starting points: standard deviation of the ends, as a share of that of the starts.\n\n"
    )
    return title + table(["", *(f"seed {s}" for s in seeds)], lines)


def text_table(rows: list[dict[str, str]]) -> str:
    def perplexities(method: str) -> dict[int, float]:
        return {s: math.exp(v) for s, v in values(rows, "text", "text", method, "val_loss").items()}

    methods = ["stn", *(f"fixed {rate:g}" for rate in RATES)]
    seeds = sorted({s for m in methods for s in perplexities(m)})
    lines = [
        [m, *(f"{perplexities(m)[s]:.3f}" if s in perplexities(m) else "" for s in seeds)] for m in methods
    ]
    head = ["", *(f"seed {s}" for s in seeds)]
    return "Characters of Shakespeare, best validation perplexity.\n\n" + table(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("size", choices=("quick", "full"))
    parser.add_argument("--part", action="append", choices=PARTS, help="this one alone; may be repeated")
    parser.add_argument("--task", help="this one alone")
    parser.add_argument("--method", action="append", help="this one alone; may be repeated")
    parser.add_argument("--seed", action="append", type=int, help="this one alone; may be repeated")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no run after these")
    parser.add_argument("--table", action="store_true", help="print what is recorded, run nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        limits = arguments.part, arguments.task, arguments.method, arguments.seed, arguments.minutes
        run(arguments.size, *limits)
    print(report())


if __name__ == "__main__":
    sys.exit(main())
