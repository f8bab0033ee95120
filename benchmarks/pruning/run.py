"""Which pruned networks are good, at equal training: criteria, Torch-Pruning's own pruner, meta pruning, a control.

    python benchmarks/pruning/run.py quick|full [--part NAME] [--minutes M]
    python benchmarks/pruning/run.py quick|full --table

Every form has the same training: `before` epochs, then the removal, then `after` epochs. The control is `magnitude`
with plain training before it; meta pruning is the same with the metanetwork's change in front. Networks `held out` are
never seen by meta-training or by the choice of its state; test accuracy is read once, from the last epoch. An
interrupted run goes on. Settings were chosen on networks and seeds from 100 on.
"""

import argparse
import copy
import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import autosearch as asr
from autosearch.core import Job
from autosearch.core.seeds import derive_seed
from autosearch.methods.metaprune.task import MetaPruneTask
from autosearch.methods.pruning import count_macs, measure_latency, recalibrate
from autosearch.methods.pruning.task import PruneTask
from benchmarks.common import append, origin, read, table

RESULTS = Path(__file__).with_name("results.csv")
CACHE = Path(tempfile.gettempdir()) / "autosearch-benchmark-pruning"
BEFORE, AFTER = 2, 5
META = {"data_models": 6, "held_out": 1, "epochs": 40, "residual": 0.01, "batches": 4, "settle": 2}
CRITERIA = ("magnitude", "random", "bn_scale", "taylor", "depgraph", "layer")

FASHION = {
    "task": "image_classification",
    "dataset": "fashion_mnist",
    "image_size": 14,
    "train_size": 6000,
    "model": "resnet",
    "width": 8,
    "depth": 8,
    "epochs": 12,
    "lr": 3e-3,
    "device": "cpu",
}
CIFAR = {
    **FASHION,
    "dataset": "cifar10_subset",
    "image_size": None,
    "train_size": None,
    "depth": 20,
    "epochs": 30,
}
SIZES: dict[str, dict[str, Any]] = {
    "quick": {
        "network": FASHION,
        "speed_ups": (2.0, 3.0, 4.0, 6.0),
        "networks": 5,
        "seeds": 3,
        "forms": CRITERIA,
    },
    "full": {
        "network": CIFAR,
        "speed_ups": (3.0, 6.0),
        "networks": 3,
        "seeds": 2,
        "forms": ("magnitude", "taylor", "depgraph"),
    },
}


# -- networks ------------------------------------------------------------------------------------------------


def dense(size: str, number: int) -> Path:
    """A file with the weights of held-out network `number`; trained at the first call."""
    path = CACHE / size / f"dense_{number}.pt"
    if not path.exists():
        task = PruneTask(network=SIZES[size]["network"]).dense
        learner = task.learner(derive_seed(number, "held out"))
        learner.advance(task.epochs * learner.batches.batches_per_epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(learner.model.state_dict(), path)
    return path


def metanetwork(size: str, *, dataset: str | None = None, depth: int | None = None) -> Path:
    """A trained metanetwork, from a study of one trial; made at the first call."""
    network = dict(SIZES[size]["network"])
    network |= {} if dataset is None else {"dataset": dataset}
    network |= {} if depth is None else {"depth": depth}
    folder = CACHE / size / f"meta_{network['dataset']}_{network['depth']}"
    done = folder / "metanetwork.pt"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        task = MetaPruneTask(network=network, epochs=AFTER, epochs_before=BEFORE, meta=META)
        study = asr.Study(
            {"target.macs": asr.Float(0.3, 0.5)}, {"val_accuracy": "maximize"}, budget={"trials": 1}, seed=100,
            searcher="random", storage=str(folder / "study.journal"),
        )  # fmt: skip
        from autosearch.core.settings import RunSettings

        with study:
            study.run(task, runner="inline", settings=RunSettings(output=folder))
        best = study.history.stages["choice"].incumbent
        done.write_bytes((Path(best.checkpoint) / "metanetwork.pt").read_bytes())
    return done


# -- forms ---------------------------------------------------------------------------------------------------


def last(task: PruneTask, seed: int) -> dict[str, float]:
    """Metrics of a whole trial, test accuracy among them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress = list(task.run(Job(0, {}, seed)))[-1]
        progress.save(folder)
        return {**progress.metrics, **task.finish(Job(0, {}, seed, checkpoint=folder))}


def pruned(size: str, form: str, number: int, seed: int, speed_up: float) -> dict[str, float]:
    """Metrics of one form of one network."""
    options: dict[str, Any] = {
        "network": SIZES[size]["network"], "checkpoint": dense(size, number), "target": {"macs": 1 / speed_up},
        "epochs": AFTER, "epochs_before": BEFORE,
    }  # fmt: skip
    if form == "layer":
        return last(PruneTask(scope="layer", **options), seed)
    if form == "torch_pruning":
        return torch_pruning_form(size, number, seed, speed_up)
    if form.startswith("meta"):
        _, *rest = form.split()
        source: dict[str, Any] = {}
        for word in rest:
            if word == "unsettled":
                options |= {"epochs_before": 0, "epochs": BEFORE + AFTER}
            elif word.isdigit():
                source["depth"] = int(word)
            else:
                source["dataset"] = word
        return last(MetaPruneTask(metanetwork=metanetwork(size, **source), **options), seed)
    if form == "depgraph":
        return last(PruneTask(criterion={"method": "depgraph", "strength": 5e-3}, **options), seed)
    return last(PruneTask(criterion=form, **options), seed)


def torch_pruning_form(size: str, number: int, seed: int, speed_up: float) -> dict[str, float]:
    """DepGraph as Torch-Pruning's example for CIFAR drives it: sparse learning, global, step by step."""
    import torch_pruning as tp

    task = PruneTask(network=SIZES[size]["network"], checkpoint=dense(size, number))
    model, _ = task.dense_network(0)
    train = dataclasses.replace(task.dense, epochs=BEFORE)
    learner = train.learner(derive_seed(seed, "phase", 0), network=model)
    example = next(iter(train.load().train))[:1]
    head = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    pruner = tp.pruner.GroupNormPruner(
        model, example, importance=tp.importance.GroupMagnitudeImportance(normalizer="max"), global_pruning=True,
        pruning_ratio=1.0, iterative_steps=400, ignored_layers=[head], reg=5e-3,
    )  # fmt: skip

    class Regularised:
        """The example's loop adds the regulariser's gradient between backward and step."""

        def __call__(self, *_: Any, **__: Any) -> None:
            pruner.regularize(model)

    pruner.update_regularizer()
    learner.optimizer.register_step_pre_hook(Regularised())
    learner.advance(BEFORE * learner.batches.batches_per_epoch)
    base = count_macs(model, example)
    while count_macs(model, example) > base / speed_up:
        pruner.step()
    recalibrate(model, [(train.load().train[0][:512],)])
    after = dataclasses.replace(task.dense, epochs=AFTER).learner(
        derive_seed(seed, "phase", 1), network=model
    )
    after.advance(AFTER * after.batches.batches_per_epoch)
    return {
        **after.evaluate(),
        **task.dense.test_metrics(after),
        "macs_share": count_macs(model, example) / base,
    }


# -- parts ---------------------------------------------------------------------------------------------------


def main_rows(size: str, first: int) -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, float]]]]:
    """Every form of every held-out network, seed by seed."""
    chosen = SIZES[size]
    forms = (*chosen["forms"], "meta", "torch_pruning")
    extra = ("meta unsettled", "meta mnist", "meta 14") if size == "quick" else ()
    numbers, seeds = range(first, first + chosen["networks"]), range(chosen["seeds"])
    for seed, number, speed_up, form in itertools.product(
        seeds, numbers, chosen["speed_ups"], (*forms, *extra)
    ):
        key = {"part": "forms", "form": form, "network": number, "seed": seed, "speed_up": speed_up}
        yield key, lambda form=form, number=number, seed=seed, s=speed_up: pruned(size, form, number, seed, s)


def latency_rows(size: str, first: int) -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, float]]]]:
    """Measured latency of dense and pruned networks, a batch of 64, median of the time given."""

    def measured(number: int, speed_up: float) -> dict[str, float]:
        task = PruneTask(network={**SIZES[size]["network"], "width": 32}, checkpoint=None)
        model = task.dense.learner(number).model
        inputs = torch.randn(64, *task.dense.load().shape)
        small = model if speed_up == 1 else asr.prune(model, inputs[:2], target={"macs": 1 / speed_up}).model
        share = count_macs(small, inputs) / count_macs(model, inputs)
        with torch.no_grad():
            return {
                "macs_share": share,
                "latency_ms": 1000 * measure_latency(copy.deepcopy(small), inputs, seconds=3),
            }

    for number, speed_up in itertools.product(range(first, first + 3), (1.0, 2.0, 4.0)):
        key = {"part": "latency", "form": "magnitude", "network": number, "seed": 0, "speed_up": speed_up}
        yield key, lambda number=number, s=speed_up: measured(number, s)


def study_rows(size: str, first: int) -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, float]]]]:
    """A study of 30 trials against uniform ratios with the same training: share of the volume dominated."""

    def studied(seed: int) -> dict[str, float]:
        options = {
            "network": SIZES[size]["network"], "checkpoint": dense(size, first), "epochs": AFTER,
            "epochs_before": BEFORE,
        }  # fmt: skip
        space = {
            "target.macs": asr.Float(0.1, 0.8, log=True),
            "criterion": asr.Categorical(["magnitude", "taylor", "bn_scale"]),
            "scope": asr.Categorical(["global", "layer"]),
            "train.lr": asr.Float(1e-3, 1e-2, log=True),
        }
        goals = {"val_accuracy": "maximize", "macs_share": "minimize"}
        study = asr.Study(space, goals, budget={"trials": 30}, seed=seed)
        study.run(PruneTask(**options), runner="inline")
        ours = [(t.metrics["val_accuracy"], t.metrics["macs_share"]) for t in study.front]
        uniform = []
        for share in np.geomspace(0.1, 0.8, 30):
            found = last(PruneTask(scope="layer", target={"macs": float(share)}, **options), seed)
            uniform.append((found["val_accuracy"], found["macs_share"]))
        return {"volume": volume(ours), "uniform_volume": volume(uniform)}

    for seed in range(SIZES[size]["seeds"]):
        yield (
            {"part": "study", "form": "study", "network": first, "seed": seed, "speed_up": 0},
            lambda seed=seed: studied(seed),
        )


def volume(points: list[tuple[float, float]]) -> float:
    """Area dominated beyond accuracy 0.5 and the full cost."""
    area, best = 0.0, 0.5
    for accuracy, share in sorted(points, key=lambda p: p[1]):
        if accuracy > best:
            area += (accuracy - best) * (1 - share)
            best = accuracy
    return area


PARTS = {"forms": main_rows, "latency": latency_rows, "study": study_rows}
COLUMNS = (
    "val_accuracy",
    "test_accuracy",
    "macs_share",
    "params_share",
    "latency_ms",
    "volume",
    "uniform_volume",
)


def run(size: str, parts: list[str], minutes: float, first: int, network: int | None) -> None:
    done = {_key(row) for row in read(RESULTS)}
    end = time.monotonic() + 60 * minutes
    torch.set_num_threads(1)
    for part in parts:
        for key, work in PARTS[part](size, first):
            key = {"size": size, **key}
            if network is not None and key["network"] != network:
                continue
            if _key(key) in done or time.monotonic() > end:
                continue
            begun = time.perf_counter()
            found = work()
            seconds = time.perf_counter() - begun
            row = {**key, **{name: found.get(name, "") for name in COLUMNS}, "seconds": round(seconds, 2)}
            append(RESULTS, [{**row, **origin("torch", "torch-pruning")}])
            print({k: v for k, v in row.items() if v != ""}, flush=True)


def _key(row: Any) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("size", "part", "form", "network", "seed", "speed_up"))


# -- tables --------------------------------------------------------------------------------------------------


def interval(values: list[float]) -> str:
    """Mean and its 95 % interval by resampling."""
    if not values:
        return ""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{100 * statistics.mean(values):+.2f} [{100 * low:+.2f}, {100 * high:+.2f}] ({len(values)})"


@cache
def rows_of(size: str) -> list[dict[str, str]]:
    return [row for row in read(RESULTS) if row["size"] == size and int(row["network"]) < 100]


def tables(size: str) -> str:
    rows = [row for row in rows_of(size) if row["part"] == "forms"]
    speed_ups = [str(s) for s in SIZES[size]["speed_ups"]]
    forms = list(dict.fromkeys(row["form"] for row in rows))
    accuracy = {(r["form"], r["network"], r["seed"], r["speed_up"]): float(r["test_accuracy"]) for r in rows}
    lines = []
    for form in forms:
        cells = []
        for speed_up in speed_ups:
            own = [value for key, value in accuracy.items() if key[0] == form and key[3] == speed_up]
            cells.append(f"{100 * statistics.mean(own):.2f} ({len(own)})" if own else "")
        lines.append([form, *cells])
    text = [table(["test accuracy, % (n)", *(f"{float(s):g}x" for s in speed_ups)], lines)]
    lines = []
    for form in forms:
        if form == "magnitude":
            continue
        cells = []
        for speed_up in speed_ups:
            pairs = [
                value - accuracy[("magnitude", *key[1:])]
                for key, value in accuracy.items()
                if key[0] == form and key[3] == speed_up and ("magnitude", *key[1:]) in accuracy
            ]
            cells.append(interval(pairs))
        lines.append([form, *cells])
    text.append(table(["against the control, points (n)", *(f"{float(s):g}x" for s in speed_ups)], lines))
    latency = [row for row in rows_of(size) if row["part"] == "latency"]
    by = {s: [float(r["latency_ms"]) for r in latency if r["speed_up"] == s] for s in ("1.0", "2.0", "4.0")}
    if all(by.values()):
        base = statistics.mean(by["1.0"])
        cells = [
            [f"{float(s):g}x", f"{statistics.mean(v):.2f}", f"{base / statistics.mean(v):.2f}x"]
            for s, v in by.items()
        ]
        text.append(table(["MACs", "ms a batch of 64", "faster"], cells))
    studies = [row for row in rows_of(size) if row["part"] == "study"]
    if studies:
        cells = [[r["seed"], r["volume"][:6], r["uniform_volume"][:6]] for r in studies]
        text.append(table(["seed", "volume of 30 trials", "of 30 uniform ratios"], cells))
    return "\n\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--first", type=int, default=0, help="number of the first held-out network")
    parser.add_argument("--network", type=int, help="only this one, for runs side by side")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table:
        run(
            arguments.size,
            arguments.part or list(PARTS),
            arguments.minutes,
            arguments.first,
            arguments.network,
        )
    print(tables(arguments.size))


if __name__ == "__main__":
    main()
