"""What each part of the flagship study adds, at equal CPU time, and what it costs others to come as far.

    python benchmarks/flagship/run.py quick|full [--method NAME …] [--seeds N …]
    python benchmarks/flagship/run.py quick|full --table

`quick`: one CPU minute a study, 2 seeds; `full`: three, 5 seeds. A study is `studies/flagship.yaml` on fewer examples
and smaller networks, in one process with one thread; its clock is that process's CPU time, scoring and surrogates
included. The second objective is `macs` in place of the latency, which a shared machine measures badly. Settings were
chosen on seeds from 100 on. An interrupted run goes on.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
import autosearch as asr
from autosearch.core import Decision, History, Job
from autosearch.core.ranking import hypervolume
from autosearch.core.seeds import derive_seed
from autosearch.core.stages import last_stages, winner
from autosearch.tasks.image_classification import ImageClassification
from benchmarks.common import ROOT, append, origin, read, table

RESULTS = Path(os.environ.get("FLAGSHIP_RESULTS", Path(__file__).with_name("results.csv")))
STUDY = ROOT / "studies" / "flagship.yaml"
SIZES = {"quick": (60.0, range(2)), "full": (180.0, range(5))}
COLUMNS = (
    "size", "method", "seed", "trials", "complete", "val_loss", "test_loss", "hypervolume",
    "last_loss", "last_macs", "found_at", "trace",
)  # fmt: skip

SMALL = (
    "run.train_size=2000", "run.val_size=1000", "run.batch_size=32", "run.epochs=6",
    "objectives={val_loss: minimize, macs: minimize}", "resources={runner: inline}",
    "finally={task: prune, target: {macs: 0.7}, epochs: 2}", "budget.trials=null",
    "scheduler={method: asha, min: 2}",
)  # fmt: skip
ARCHITECTURE = "architecture: {use: nasbench201}, width: {type: int, low: 4, high: 8}"
DECAY = "weight_decay: {type: float, low: 1.0e-5, high: 1.0e-2, log: true}"
LR = "lr: {type: float, low: 3.0e-3, high: 0.5, log: true}"
DROPOUT = "dropout: {type: float, low: 0.0, high: 0.8}"
SPACE = f"space={{{ARCHITECTURE}, {LR}, {DECAY}, {DROPOUT}}}"
SCORES = "metrics: [synflow, naswot, params, flops]"
ROBOT = f"{{method: robot, enumerate: 0, pool: 40, block: 20, batch: 32, {SCORES}}}"
SPLIT = f"searcher={{method: split, parts: {{architecture.*: {ROBOT}, '*': bayesian}}}}"
STN = "{method: stn, tune: {dropout: {low: 0, high: 0.8}}}"
AUTOLRS = "{method: autolrs, low: 0.003, high: 0.5}"
BAYESIAN = "searcher=bayesian"
METHODS: dict[str, tuple[str, ...]] = {
    "flagship": (),
    "flagship, one objective": ("objectives={val_loss: minimize}",),
    "without scores": (BAYESIAN,),
    "without a model": (f"searcher.parts={{architecture.*: {ROBOT}, '*': random}}",),
    "without a scheduler": ("scheduler=null",),
    "with lr schedules": (
        f"space={{{ARCHITECTURE}, {DECAY}, {DROPOUT}, lr_schedule: {{use: lr_schedule}}}}",
    ),
    "with AutoLRS": (f"training=[{AUTOLRS}]", f"space={{{ARCHITECTURE}, {DECAY}, {DROPOUT}}}"),
    "with self-tuning": (f"training=[{STN}]", f"space={{{ARCHITECTURE}, {LR}, {DECAY}}}"),
    "with both": (f"training=[{STN}, {AUTOLRS}]", f"space={{{ARCHITECTURE}, {DECAY}}}"),
    "bayesian alone": (BAYESIAN, "scheduler=null"),
    "robot alone": (f"searcher={ROBOT}", "scheduler=null"),
    "random": ("searcher=random", "scheduler=null"),
    "random and asha": ("searcher=random",),
}
EDGES = ("edge01", "edge02", "edge12", "edge03", "edge13", "edge23")
OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
RANGES = {"lr": (3e-3, 0.5, True), "weight_decay": (1e-5, 1e-2, True), "dropout": (0.0, 0.8, False)}
WIDTHS = (4, 8)
RIVALS = ("optuna tpe, hyperband", "ray asha")


class Clock:
    """CPU seconds of this process since it was made, and the best loss so far at each of them."""

    def __init__(self) -> None:
        self._begun = time.process_time()
        self.trace: list[tuple[float, float]] = []

    @property
    def seconds(self) -> float:
        return time.process_time() - self._begun

    def found(self, loss: float, at: float | None = None) -> None:
        if not self.trace or loss < self.trace[-1][1]:
            self.trace.append((round(self.seconds if at is None else at, 2), round(loss, 5)))


def volume(points: Sequence[tuple[float, float]]) -> float:
    """Hypervolume of (loss, macs) below loss 1.5 and two million, macs on a log scale, as a share of the box."""
    low, high = np.array([0.3, 4.0]), np.array([1.5, math.log10(2e6)])
    scaled = np.array([[loss, math.log10(macs)] for loss, macs in points])
    return hypervolume((scaled - low) / (high - low), np.ones(2)) if len(points) else 0.0


def ours(overrides: Sequence[str], seed: int, seconds: float) -> dict[str, Any]:
    """A study of ours."""
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        file = asr.load(
            STUDY,
            [*SMALL, SPACE, *overrides, f"seed={seed}", f"budget.minutes={seconds / 60}", f"output={folder}"],
        )
        study = file.open()
        study.use_clock(time.process_time, 0.0)

        def listen(event: str, trial: Any, text: str) -> None:  # noqa: ARG001
            if event == "finish" and study.history.complete:
                clock.found(min(t.metrics["val_loss"] for t in study.history.complete))

        file.run(study, listener=listen)
        history = file.read().history()
        history.stages = file.read().stages()
        return row_of(file, history, clock)


def row_of(file: Any, history: History, clock: Clock) -> dict[str, Any]:
    """What a finished study of ours has found."""
    complete = history.complete
    best = min(complete, key=lambda t: t.metrics["val_loss"])
    found = {
        "trials": len(history),
        "complete": len(complete),
        "val_loss": best.metrics["val_loss"],
        "hypervolume": volume([(t.metrics["val_loss"], t.metrics["macs"]) for t in complete]),
    }
    if best.checkpoint and Path(best.checkpoint).is_dir():
        job = Job(best.number, best.nested, 0, checkpoint=Path(best.checkpoint))
        found["test_loss"] = file.objective.finish(job)["test_loss"]
    last = [(number, winner(stage)) for number, stage in last_stages(history).items()]
    if last and last[0][1] is not None:
        start, pruned = history[last[0][0]], last[0][1]
        found["last_loss"] = pruned.metrics["val_loss"] / start.metrics["val_loss"]
        found["last_macs"] = pruned.metrics["macs"] / start.metrics["macs"]
    return found | finding(clock)


def finding(clock: Clock) -> dict[str, Any]:
    return {"found_at": clock.trace[-1][0], "trace": json.dumps(clock.trace)}


def task() -> ImageClassification:
    """The task of the study, without its training methods."""
    found = asr.load(STUDY, [*SMALL, "training=null", "budget.trials=1"]).objective
    return cast(ImageClassification, found)


def configured(draw: Callable[[str], Any]) -> dict[str, Any]:
    """The study's space for a rival: `draw` gives the value of a name."""
    edges = {name: draw(name) for name in EDGES}
    return {
        "architecture": {"space": "nasbench201", **edges},
        **{name: draw(name) for name in (*RANGES, "width")},
    }


def epochs(config: dict[str, Any], seed: int) -> Iterator[tuple[int, float, float]]:
    """(epoch, validation loss, macs) of a whole training run."""
    running = task().run(Job(0, config, seed))
    progress = next(running)
    while True:
        yield progress.step or 0, progress.metrics["val_loss"], progress.metrics["macs"]
        try:
            progress = running.send(Decision.CONTINUE)
        except StopIteration:
            return


def optuna_study(seed: int, seconds: float) -> dict[str, Any]:
    """Optuna's TPE with its Hyperband, on the validation loss alone: its pruners know one objective."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    clock = Clock()
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True),
        pruner=optuna.pruners.HyperbandPruner(min_resource=2, max_resource=task().epochs),
    )
    points: list[tuple[float, float]] = []

    def objective(trial: optuna.Trial) -> float:
        def draw(name: str) -> Any:
            if name in EDGES:
                return trial.suggest_categorical(name, OPERATIONS)
            if name == "width":
                return trial.suggest_int(name, *WIDTHS)
            low, high, log = RANGES[name]
            return trial.suggest_float(name, low, high, log=log)

        reached = math.inf, 0.0
        for epoch, *reached in epochs(configured(draw), derive_seed(seed, trial.number)):
            trial.report(reached[0], epoch)
            if clock.seconds > seconds:
                trial.study.stop()
                raise optuna.TrialPruned
            if trial.should_prune():
                raise optuna.TrialPruned
        clock.found(reached[0])
        points.append((reached[0], reached[1]))
        return reached[0]

    # A network that diverges is a failed trial, as in a study of ours.
    study.optimize(objective, catch=(FloatingPointError,))
    return rival(len(study.trials), points, clock)


def ray_study(seed: int, seconds: float) -> dict[str, Any]:
    """Ray Tune's ASHA over random configurations; only training counts, not Ray's own time."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    clock = Clock()
    points: list[tuple[float, float]] = []
    spent = [0.0, 0.0]  # seconds so far, trials

    def train(config: dict[str, Any]) -> None:
        begun = time.process_time()
        for epoch, loss, macs in epochs(configured(config.__getitem__), config["seed"]):
            now = time.process_time()
            tune.report({"val_loss": loss, "macs": macs, "epoch": epoch, "cpu_s": now - begun})
            begun = now

    class Spent(tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
            spent[0] += result["cpu_s"]
            if result["epoch"] == task().epochs and spent[0] <= seconds:
                clock.found(result["val_loss"], spent[0])
                points.append((result["val_loss"], result["macs"]))
            return spent[0] > seconds

        def stop_all(self) -> bool:
            return spent[0] > seconds

    space = {
        **{name: tune.choice(OPERATIONS) for name in EDGES},
        **{
            n: (tune.loguniform if log else tune.uniform)(low, high) for n, (low, high, log) in RANGES.items()
        },
        "width": tune.randint(WIDTHS[0], WIDTHS[1] + 1),
        "seed": tune.randint(0, 2**31),
    }
    with tempfile.TemporaryDirectory() as folder:
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
                 runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}})  # fmt: skip
        try:
            scheduler = ASHAScheduler(
                time_attr="epoch", max_t=task().epochs, grace_period=2, reduction_factor=3
            )
            drawn = tune.search.BasicVariantGenerator(random_state=seed, max_concurrent=1)
            tuner = tune.Tuner(
                train,
                param_space=space,
                tune_config=tune.TuneConfig(
                    metric="val_loss", mode="min", scheduler=scheduler, num_samples=-1, search_alg=drawn
                ),
                run_config=tune.RunConfig(stop=Spent(), storage_path=folder, verbose=0),
            )
            results = tuner.fit()
        finally:
            ray.shutdown()
    return rival(len(results), points, clock)


def rival(trials: int, points: list[tuple[float, float]], clock: Clock) -> dict[str, Any]:
    return {
        "trials": trials,
        "complete": len(points),
        "val_loss": min((loss for loss, _ in points), default=math.nan),
        "hypervolume": volume(points),
        **(finding(clock) if clock.trace else {}),
    }


def run(size: str, methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Every cell that is missing, method by method within a seed, so that a machine's moods meet all alike."""
    seconds = SIZES[size][0]
    done = {(row["size"], row["method"], row["seed"]) for row in read(RESULTS)}
    for seed in seeds:
        for method in methods:
            if (size, method, str(seed)) in done:
                continue
            if method in METHODS:
                found = ours(METHODS[method], seed, seconds)
            else:
                found = (optuna_study if method.startswith("optuna") else ray_study)(seed, seconds)
            row = {"size": size, "method": method, "seed": seed, **found}
            row = {name: row.get(name, "") for name in COLUMNS}
            append(RESULTS, [row | origin("numpy", "torch", "optuna", "ray", "botorch")])
            print(method, seed, {k: row[k] for k in COLUMNS[3:-1]}, flush=True)


# -- the table -----------------------------------------------------------------------------------------------


def reached(trace: str, loss: float) -> float:
    """CPU seconds at which a run came to `loss`; inf if it never did."""
    return next((at for at, best in json.loads(trace or "[]") if best <= loss), math.inf)


def interval(values: Sequence[float]) -> str:
    """Mean with the 95 % interval of Student's t; the mean alone of one value."""
    from scipy import stats

    if not values:
        return ""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3f} ± {half:.3f}"


def draw(size: str) -> str:
    """Differences to the flagship on the same seeds; and by how much less time the flagship needs."""
    rows = [row for row in read(RESULTS) if row["size"] == size]
    base = {row["seed"]: row for row in rows if row["method"] == "flagship"}
    lines = []
    for method in (*METHODS, *RIVALS):
        own = [row for row in rows if row["method"] == method and row["seed"] in base]
        if not own:
            lines.append([method, 0, "", "", "", "", ""])
            continue
        pairs = [(row, base[row["seed"]]) for row in own]
        others = method != "flagship"
        factors = [SIZES[size][0] / reached(b["trace"], float(r["val_loss"])) for r, b in pairs]
        losses = interval([float(r["val_loss"]) for r in own])
        differences = interval([float(r["val_loss"]) - float(b["val_loss"]) for r, b in pairs])
        counts = [statistics.mean(float(r[name]) for r in own) for name in ("complete", "trials")]
        lines.append(
            [
                method,
                len(own),
                f"{counts[0]:.0f} of {counts[1]:.0f}",
                losses,
                differences if others else "",
                interval([float(r["hypervolume"]) for r in own]),
                " ".join("never" if f == 0 else f"{f:.1f}" for f in factors) if others else "",
            ]
        )
    columns = (
        "study",
        "n",
        "complete trials",
        "val loss",
        "minus flagship's",
        "hypervolume",
        "flagship is faster by",
    )
    return table(columns, lines)


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--method", nargs="*", default=[*METHODS, *RIVALS])
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args(words)
    if asked.table:
        print(draw(asked.size))
        return
    run(asked.size, asked.method, SIZES[asked.size][1] if asked.seeds is None else asked.seeds)


if __name__ == "__main__":
    main(sys.argv[1:])
