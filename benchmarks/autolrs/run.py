"""AutoLRS against lr schedules with a learning rate from a range test, sweeps and constants, at equal total steps.

Every optimizer step counts: those of a search, and those of a sweep's other runs. The range test of the cosine that it
serves is not counted, to that one's advantage. Claims of the README are read from `results.csv`, written by

    python -m benchmarks.autolrs.run quick|full [--task NAME] [--method NAME] [--minutes M] [--table]

An interrupted run goes on. Settings were chosen on seeds 100 to 109 of the same tasks and frozen before seeds 10 to 19,
which are reported, ran. Rows of seeds 0 to 9 come from an earlier choice, in which the noise of training losses kept a
poor learning rate from being replaced; they are kept and not reported.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student

from autosearch.core.seeds import derive_seed
from autosearch.learning import TrainingLearner, build_lr_schedule
from autosearch.methods.autolrs import range_test
from autosearch.methods.autolrs.training import AutoLRSTraining
from autosearch.tasks.image_classification import ImageClassification
from autosearch.tasks.language_model import LanguageModel
from autosearch.tasks.tabular import TabularClassification
from autosearch.tasks.training import TrainingTask
from benchmarks.autolrs.rivals import prodigy, schedule_free
from benchmarks.common import append, origin, read, table

RESULTS = Path(__file__).with_name("results.csv")
LOW, HIGH = 1e-4, 1.0
SWEEP = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FIRST_SEED = 10
SCHEDULES = ("cosine", "step", "one_cycle", "wsd", "constant")
SWEEPS = (*SCHEDULES, "schedulefree")
# Ten times as much for Schedule-Free SGD, whose steps no momentum of 0.9 makes ten times longer.
FREE_SGD = tuple(10 * lr for lr in SWEEP)
SHARES = {"modern": 1.0, "modern 0.8": 0.8, "modern 2.0": 2.0}
QUICK: dict[str, TrainingTask] = {
    "digits": TabularClassification(
        dataset="digits", optimizer="sgd", epochs=60, batch_size=64, device="cpu"
    ),
    "text": LanguageModel(
        train_size=100_000, width=48, optimizer="adamw", epochs=16, batch_size=16, device="cpu"
    ),
    "fashion": ImageClassification(
        dataset="fashion_mnist", image_size=14, train_size=6000, optimizer="sgd", epochs=12, device="cpu"
    ),
}
FULL = {
    **QUICK,
    "cifar": ImageClassification(
        dataset="cifar10_subset",
        model="resnet",
        depth=20,
        optimizer="sgd",
        epochs=6,
        flip=True,
        crop=2,
        device="cpu",
    ),
}
SIZES = {"quick": QUICK, "full": FULL}
SEEDS = {"digits": 10, "text": 10, "fashion": 10, "cifar": 1}
SWEEP_SEEDS = {"digits": 10, "text": 3, "fashion": 3, "cifar": 1}
ONLY = {"cifar": ("modern", "cosine, range test")}  # of what costs minutes a run


def total_steps(learner: TrainingLearner, task: TrainingTask) -> int:
    return task.epochs * learner.batches.batches_per_epoch


def advance(learner: TrainingLearner, steps: int) -> dict[str, float]:
    """Validation metrics after `steps` steps; a loss that is not finite is infinite."""
    try:
        learner.advance(steps)
    except FloatingPointError:
        return {"val_loss": math.inf}
    return learner.evaluate()


def range_test_lr(task: TrainingTask, seed: int) -> float:
    """The learning rate that a sweep of 100 steps from LOW to HIGH suggests."""
    learner = task.learner(seed)
    learner.lr_schedule = build_lr_schedule("constant", 100)
    lrs: list[float] = []
    losses: list[float] = []
    while len(lrs) < 100 and not (losses and range_test.is_over(losses, 100)):
        lrs.append(range_test.sweep(LOW, HIGH, 100, len(lrs)))
        learner.adjust({"lr": lrs[-1]})
        try:
            losses.append(learner.advance(1)["train_loss"])
        except FloatingPointError:
            losses.append(math.inf)
    return range_test.steepest(lrs, losses, 100)


def scheduled(task: TrainingTask, seed: int, schedule: Any, lr: float) -> tuple[dict[str, float], int, int]:
    learner = task.learner(seed)
    steps = total_steps(learner, task)
    learner.lr_schedule = build_lr_schedule(schedule, steps)
    learner.adjust({"lr": lr})
    return advance(learner, steps), steps, 0


def searched(
    task: TrainingTask, seed: int, method: AutoLRSTraining, share: float
) -> tuple[dict[str, float], int, int]:
    """A run by AutoLRS on `share` of the task's steps, search included."""
    plain = task.learner(seed)
    steps = round(share * total_steps(plain, task))

    plain.lr_schedule = build_lr_schedule("cosine", steps)
    learner = method.build(plain, steps, derive_seed(seed, "method", 0))
    return advance(learner, steps), steps, learner.controller.state.lost


def found_first(task: TrainingTask, seed: int, method: AutoLRSTraining) -> tuple[dict[str, float], int, int]:
    """A plain cosine at the learning rate of the first search, which is stopped there; its steps are counted too."""
    plain = task.learner(seed)
    steps = total_steps(plain, task)
    plain.lr_schedule = build_lr_schedule("cosine", steps)
    learner = method.build(plain, steps, derive_seed(seed, "method", 0))
    while not learner.controller.state.choices:
        learner.advance(1)
    metrics, _, _ = scheduled(task, seed, "cosine", math.exp(learner.controller.state.x))
    return metrics, steps + learner.controller.spent, learner.controller.spent


def paper(steps: int, **options: Any) -> AutoLRSTraining:
    """The published search, with its interval for CIFAR-10, in a short run: a candidate has 20 steps at least."""
    stages = {"tau": max(200, steps // 10), "tau_max": max(200, steps // 4), "validate_every": 5}
    return AutoLRSTraining("paper", 1e-3, 0.1, options={**stages, **options})


def jobs(task: TrainingTask) -> dict[str, Callable[[int], tuple[dict[str, float], int, int]]]:
    """What is run, by name; each takes a seed."""
    steps = total_steps(task.learner(0), task)
    modern = AutoLRSTraining("modern", LOW, HIGH)
    found: dict[str, Callable[[int], tuple[dict[str, float], int, int]]] = {
        "cosine, range test": lambda s: scheduled(task, s, "cosine", range_test_lr(task, s)),
        **{name: lambda s, f=share: searched(task, s, modern, f) for name, share in SHARES.items()},
        "modern's lr, cosine": lambda s: found_first(task, s, modern),
        "paper": lambda s: searched(task, s, paper(steps), 1.0),
        "paper, no forecast": lambda s: searched(task, s, paper(steps, score="last"), 1.0),
    }
    found["prodigy, cosine"] = lambda s: trained(lambda: prodigy(task, s, steps), steps)
    found["schedulefree, default"] = lambda s: trained(lambda: schedule_free(task, s, steps, None), steps)
    wsd = {"method": "family", "warmup": 0.03, "r0": 0.0, "d_rel": 0.2, "shape": "linear", "fin": 0.0}
    for name in SCHEDULES:
        for lr in SWEEP:
            schedule = wsd if name == "wsd" else name
            found[f"{name} {lr:g}"] = lambda s, c=schedule, r=lr: scheduled(task, s, c, r)
    for lr in swept("schedulefree", task):
        found[f"schedulefree {lr:g}"] = lambda s, r=lr: trained(
            lambda: schedule_free(task, s, steps, r), steps
        )
    return found


def swept(name: str, task: TrainingTask) -> tuple[float, ...]:
    """Learning rates of a sweep."""
    return FREE_SGD if name == "schedulefree" and task.optimizer == "sgd" else SWEEP


def trained(train: Callable[[], TrainingLearner], steps: int) -> tuple[dict[str, float], int, int]:
    """What a rival's run of `steps` steps ends with."""
    try:
        return train().evaluate(), steps, 0
    except FloatingPointError:
        return {"val_loss": math.inf}, steps, 0


# -- running and reading -----------------------------------------------------------------------------------


def run(size: str, only: str | None, methods: list[str] | None, limit: int, minutes: float) -> None:
    torch.set_num_threads(1)
    done = {(r["task"], r["method"], r["seed"]) for r in read(RESULTS)}
    end = time.monotonic() + 60 * minutes
    for name, task in SIZES[size].items():
        if only not in (None, name):
            continue
        todo = {m: job for m, job in jobs(task).items() if m in ONLY.get(name, (m,))}
        for seed in range(FIRST_SEED, FIRST_SEED + min(SEEDS[name], limit)):
            for method, job in todo.items():
                # The cosine's sweep, which an aim is measured against, has all seeds.
                few = is_swept(method) and not method.startswith("cosine")
                wanted = methods is None or any(method.startswith(m) for m in methods)
                if (
                    not wanted
                    or (name, method, str(seed)) in done
                    or (few and seed >= FIRST_SEED + SWEEP_SEEDS[name])
                ):
                    continue
                if time.monotonic() > end:
                    return
                began = time.process_time()
                metrics, steps, search = job(seed)
                row = {
                    **origin("torch"), "task": name, "method": method, "seed": seed, "steps": steps,
                    "search_steps": search, "val_loss": f"{metrics['val_loss']:.6f}",
                    "seconds": round(time.process_time() - began, 1),
                }  # fmt: skip
                append(RESULTS, [row])


def is_swept(method: str) -> bool:
    """Whether a method is one run of a sweep: its name and a learning rate."""
    name, _, lr = method.partition(" ")
    return name in SWEEPS and lr.replace(".", "").isdigit()


def losses(rows: list[dict[str, str]], task: str, method: str) -> dict[int, float]:
    return {int(r["seed"]): float(r["val_loss"]) for r in rows if (r["task"], r["method"]) == (task, method)}


def best_of_sweep(rows: list[dict[str, str]], task: str, name: str) -> dict[int, float]:
    """Each seed's best loss over the sweep; only seeds with all its runs."""
    runs = [losses(rows, task, f"{name} {lr:g}") for lr in swept(name, FULL[task])]
    seeds = set.intersection(*(set(r) for r in runs))
    return {seed: min(r[seed] for r in runs) for seed in sorted(seeds)}


def cell(values: dict[int, float]) -> str:
    if not values:
        return ""
    numbers = list(values.values())
    spread = f" ± {statistics.stdev(numbers):.4f}" if len(numbers) > 1 else ""
    return f"{statistics.mean(numbers):.4f}{spread} ({len(numbers)})"


def cost(rows: list[dict[str, str]], task: str, method: str) -> str:
    chosen = [r for r in rows if (r["task"], r["method"]) == (task, method)]
    if not chosen:
        return ""
    plain = {int(r["steps"]) for r in rows if (r["task"], r["method"]) == (task, "cosine, range test")}
    spent = statistics.mean(int(r["steps"]) for r in chosen)
    searched_steps = statistics.mean(int(r["search_steps"]) for r in chosen)
    return f"{spent / plain.pop():.2f} ({searched_steps / spent:.0%})"


def ratio(a: dict[int, float], b: dict[int, float]) -> str:
    """Mean of paired ratios a / b, with a 95 % interval."""
    logs = [math.log(a[s] / b[s]) for s in a if s in b and math.isfinite(a[s]) and math.isfinite(b[s])]
    if len(logs) < 2:
        return ""
    half = student.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    mean = statistics.mean(logs)
    return f"{math.exp(mean):.3f} [{math.exp(mean - half):.3f}, {math.exp(mean + half):.3f}] ({len(logs)})"


def report(size: str) -> str:
    rows = [row for row in read(RESULTS) if int(row["seed"]) >= FIRST_SEED]
    tasks = list(SIZES[size])
    single = [
        "modern", "modern 0.8", "modern 2.0", "modern's lr, cosine", "paper", "paper, no forecast",
        "cosine, range test", "prodigy, cosine",
        "schedulefree, default",
    ]  # fmt: skip
    lines = [[m, *(cell(losses(rows, t, m)) for t in tasks)] for m in single]
    lines += [[f"best of 6 {n}", *(cell(best_of_sweep(rows, t, n)) for t in tasks)] for n in SWEEPS]
    text = [
        "Final validation loss, mean ± standard deviation (n).",
        "",
        table(["", *tasks], lines),
        "",
        "Ratios of final validation losses, paired by seed: mean [95 % interval] (n). Below 1 the first is better.",
        "",
    ]

    def compared(first: str, second: Callable[[str], dict[int, float]]) -> list[str]:
        return [ratio(losses(rows, t, first), second(t)) for t in tasks]

    claims = [
        ("modern / cosine with range test (aim 3: at most 1.02)", "modern", "cosine, range test"),
        ("modern at 0.8 of the steps / the same (aim 1: at most 1)", "modern 0.8", "cosine, range test"),
        ("modern / prodigy with cosine", "modern", "prodigy, cosine"),
        ("modern / schedulefree with its default", "modern", "schedulefree, default"),
        ("paper: forecast / no forecast (L1)", "paper", "paper, no forecast"),
    ]
    body = [[title, *compared(a, lambda t, b=b: losses(rows, t, b))] for title, a, b in claims]
    for title, a, sweep in (
        ("modern / best of 6 cosines, at a sixth of their steps (aim 2: at most 1.02)", "modern", "cosine"),
        (
            "a cosine at modern's lr / the same, at a fifth (aim 2: at most 1.02)",
            "modern's lr, cosine",
            "cosine",
        ),
        ("modern, twice as long / the same, at a third", "modern 2.0", "cosine"),
        ("modern / best of 6 constants", "modern", "constant"),
        ("paper / best of 6 constants (L2)", "paper", "constant"),
        ("modern / best of 6 schedulefree", "modern", "schedulefree"),
    ):
        body.append([title, *compared(a, lambda t, n=sweep: best_of_sweep(rows, t, n))])
    costs = [[m, *(cost(rows, t, m) for t in tasks)] for m in single if m.startswith(("modern", "paper"))]
    tail = [
        "",
        "What a run costs: its steps, search included, over those of a plain run (and the share that is search). A",
        "sweep costs 6 (L5: at most half of that).",
        "",
    ]
    return "\n".join([*text, table(["", *tasks], body), *tail, table(["", *tasks], costs)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--task", help="this one alone")
    parser.add_argument("--method", action="append", help="beginning of a method's name; may be repeated")
    parser.add_argument("--seeds", type=int, default=1000, help="no more than these")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no run after these")
    parser.add_argument("--table", action="store_true", help="print what is recorded, run nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        run(arguments.size, arguments.task, arguments.method, arguments.seeds, arguments.minutes)
    print(report(arguments.size))


if __name__ == "__main__":
    sys.exit(main())
