"""Which pruned networks are good, at equal training: criteria, Torch-Pruning's own pruner, meta pruning, a control.

    python benchmarks/pruning/run.py quick|full [--part NAME] [--minutes M]
    python benchmarks/pruning/run.py quick|full --table

Every form has the same training: `before` epochs, then the removal, then `after` epochs. The control is `magnitude`
with plain training before it; meta pruning is the same with the metanetwork's change in front. Networks `held out` are
never seen by meta-training or by the choice of its state; test accuracy is read once, from the last epoch. An
interrupted run goes on. Settings were chosen on networks and seeds from 100 on.
"""

import argparse
import dataclasses
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
import autosearch as asr
from autosearch.core import Job
from autosearch.core.seeds import derive_seed
from autosearch.methods.metaprune.task import MetaPruneTask
from autosearch.methods.pruning import count_macs, measure_latency, recalibrate
from autosearch.methods.pruning.costs import latency_share
from autosearch.methods.pruning.task import PruneTask
from benchmarks.common import append, origin, read
from benchmarks.pruning.settings import (
    AFTER,
    BEFORE,
    CAP,
    CONTROL,
    DEPGRAPH,
    EXTRA,
    META,
    REG,
    SHORT,
    SIZES,
)
from benchmarks.pruning.tables import RESULTS, tables

CACHE = Path(tempfile.gettempdir()) / "autosearch-benchmark-pruning"


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


def task_of(size: str, form: str, number: int, speed_up: float) -> PruneTask:
    """The task whose trial makes a form of a network.

    `meta WORD` is meta pruning with another metanetwork; `unsettled`: all training comes after the removal.
    """
    options: dict[str, Any] = {
        "network": SIZES[size]["network"], "checkpoint": dense(size, number), "target": {"macs": 1 / speed_up},
        "epochs": AFTER, "epochs_before": BEFORE,
    }  # fmt: skip
    name, *rest = form.split()
    if "unsettled" in rest:
        rest.remove("unsettled")
        options |= {"epochs_before": 0, "epochs": BEFORE + AFTER}
    if name == "meta":
        source: dict[str, Any] = {}
        for word in rest:
            if word.isdigit():
                source["depth"] = int(word)
            else:
                source["dataset"] = word
        return MetaPruneTask(metanetwork=metanetwork(size, **source), **options)
    if name == "layer":
        return PruneTask(scope="layer", **options)
    if name == "unfloored":
        return PruneTask(floor=0.0, **options)
    return PruneTask(criterion=DEPGRAPH if name == "depgraph" else name, **options)


def pruned(size: str, form: str, number: int, seed: int, speed_up: float) -> dict[str, float]:
    """Metrics of one form of one network."""
    if form.startswith("torch_pruning"):
        return torch_pruning_form(size, number, seed, speed_up, cap=CAP if form.endswith("capped") else 1.0)
    task = task_of(size, form, number, speed_up)
    begun = before(size, form, number, seed) if task.epochs_before else None
    return last(task, seed, begun)


def before(size: str, form: str, number: int, seed: int) -> Path:
    """Checkpoint of a trial at the end of its training before pruning, where those of all targets are still one."""
    kind = form if form in ("depgraph", "bn_scale") or form.startswith("meta") else "plain"
    folder = CACHE / size / "before" / f"{kind.replace(' ', '_')}_{number}_{seed}"
    if not folder.exists():
        task = task_of(size, CONTROL if kind == "plain" else form, number, 2.0)
        progress = list(task.run(Job(0, {}, seed, until=BEFORE)))[-1]
        with tempfile.TemporaryDirectory() as name:
            progress.save(Path(name) / "saved")
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(Path(name) / "saved", folder)
    return folder


def last(task: PruneTask, seed: int, begun: Path | None = None) -> dict[str, float]:
    """Metrics of a whole trial, test accuracy among them; it goes on from the checkpoint `begun`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress = list(task.run(Job(0, {}, seed, checkpoint=begun)))[-1]
        progress.save(folder)
        return {**progress.metrics, **task.finish(Job(0, {}, seed, checkpoint=folder))}


def torch_pruning_form(size: str, number: int, seed: int, speed_up: float, *, cap: float) -> dict[str, float]:
    """DepGraph as Torch-Pruning's example for CIFAR drives it: sparse learning, global, step by step.

    The example's `max_pruning_ratio`, here `cap`, is 1: a layer may lose all channels but one.
    """
    import torch_pruning as tp

    task = PruneTask(network=SIZES[size]["network"], checkpoint=dense(size, number))
    model, _ = task.dense_network(0)
    train = dataclasses.replace(task.dense, epochs=BEFORE)
    data = train.load().train[0]
    head = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    pruner = tp.pruner.GroupNormPruner(
        model, data[:1], importance=tp.importance.GroupMagnitudeImportance(p=2, normalizer="max"),
        global_pruning=True, pruning_ratio=1.0, iterative_steps=400, max_pruning_ratio=cap,
        ignored_layers=[head], reg=REG,
    )  # fmt: skip
    learnt = CACHE / size / "before" / f"torch_pruning_{number}_{seed}.pt"
    if learnt.exists():
        model.load_state_dict(torch.load(learnt, weights_only=True))
    else:
        learner = train.learner(derive_seed(seed, "phase", 0), network=model)
        # As in the example's loop: the regulariser's gradient is added between backward and step.
        learner.optimizer.register_step_pre_hook(lambda *_: pruner.regularize(model))
        learner.advance(BEFORE * learner.batches.batches_per_epoch)
        learnt.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), learnt)
    model.eval()
    base = count_macs(model, data[:1])
    while count_macs(model, data[:1]) > base / speed_up:
        if pruner.current_step == pruner.iterative_steps:
            raise RuntimeError(f"torch_pruning: {speed_up}x is not reached.")
        pruner.step()
    recalibrate(model, [(data[:512],)])
    seed = derive_seed(seed, "phase", 1)
    after = dataclasses.replace(task.dense, epochs=AFTER).learner(seed, network=model)
    after.advance(AFTER * after.batches.batches_per_epoch)
    share = count_macs(model, data[:1]) / base
    return {**after.evaluate(), **task.dense.test_metrics(after), "macs_share": share}


# -- parts ---------------------------------------------------------------------------------------------------


Rows = Iterator[tuple[dict[str, Any], Callable[[], dict[str, float]]]]


def main_rows(size: str, first: int) -> Rows:
    """Every form of every held-out network: what the claims rest on first, at the two most telling speed-ups."""
    forms, speed_ups = SIZES[size]["forms"], SIZES[size]["speed_ups"]
    for some, these in itertools.product((speed_ups[:2], speed_ups[2:]), (forms[:5], forms[5:])):
        yield from _forms(size, first, these, some)


def extra_rows(size: str, first: int) -> Rows:
    """Meta pruning without training after the metanetwork, and with metanetworks of other data and another depth."""
    yield from _forms(size, first, EXTRA, SIZES[size]["speed_ups"][:2])


def short_rows(size: str, first: int) -> Rows:
    """Meta pruning and its control with less training, all of it after the removal."""

    def trained(name: str, epochs: int, number: int, seed: int, speed_up: float) -> dict[str, float]:
        task = task_of(size, f"{name} unsettled", number, speed_up)
        return last(dataclasses.replace(task, epochs=epochs), seed)

    chosen = SIZES[size]
    seeds, numbers = range(chosen["seeds"]), range(first, first + chosen["networks"])
    for seed, number, speed_up, epochs, name in itertools.product(
        seeds, numbers, chosen["speed_ups"][:2], SHORT, (CONTROL, "meta")
    ):
        form = f"{name} {epochs}"
        key = {"part": "short", "form": form, "network": number, "seed": seed, "speed_up": speed_up}
        yield key, lambda arguments=(name, epochs, number, seed, speed_up): trained(*arguments)


def _forms(size: str, first: int, forms: Sequence[str], speed_ups: Sequence[float]) -> Rows:
    chosen = SIZES[size]
    seeds, numbers = range(chosen["seeds"]), range(first, first + chosen["networks"])
    for seed, number, speed_up, form in itertools.product(seeds, numbers, speed_ups, forms):
        key = {"part": "forms", "form": form, "network": number, "seed": seed, "speed_up": speed_up}
        yield key, lambda form=form, number=number, seed=seed, s=speed_up: pruned(size, form, number, seed, s)


def latency_rows(size: str, first: int) -> Rows:
    """Measured latency of pruned networks beside the dense one, in turns; medians."""

    def measured(number: int, speed_up: float, batch: int) -> dict[str, float]:
        task = PruneTask(network={**SIZES[size]["network"], "width": 32})
        model = task.dense.learner(number).model
        inputs = torch.randn(batch, *task.dense.load().shape)
        small = asr.prune(model, inputs[:2], target={"macs": 1 / speed_up}).model
        share = count_macs(small, inputs) / count_macs(model, inputs)
        dense = 1000 * measure_latency(model, inputs, seconds=2)
        times = latency_share(small, model, inputs, seconds=6)
        return {"macs_share": share, "latency_ms": dense * times, "latency_share": times}

    for number, speed_up, batch in itertools.product(range(first, first + 3), (2.0, 4.0), (1, 64)):
        key = {
            "part": "latency",
            "form": f"batch {batch}",
            "network": number,
            "seed": 0,
            "speed_up": speed_up,
        }
        yield key, lambda number=number, s=speed_up, batch=batch: measured(number, s, batch)


def study_rows(size: str, first: int) -> Rows:
    """A study of 30 trials against uniform ratios with the same training: share of the volume dominated."""

    def studied(seed: int) -> dict[str, float]:
        options = {
            "network": SIZES[size]["network"], "checkpoint": dense(size, first), "epochs": AFTER,
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
            task = PruneTask(scope="layer", target={"macs": float(share)}, **options)
            found = list(task.run(Job(0, {}, seed)))[-1].metrics
            uniform.append((found["val_accuracy"], found["macs_share"]))
        beaten = [any(a >= other[0] and m <= other[1] for a, m in ours) for other in uniform]
        return {
            "volume": volume(ours), "uniform_volume": volume(uniform), "dominated": statistics.mean(beaten),
        }  # fmt: skip

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


PARTS = {
    "forms": main_rows, "latency": latency_rows, "study": study_rows, "extra": extra_rows, "short": short_rows,
}  # fmt: skip
COLUMNS = (
    "val_accuracy",
    "test_accuracy",
    "macs_share",
    "params_share",
    "latency_ms",
    "latency_share",
    "volume",
    "uniform_volume",
    "dominated",
)


def run(size: str, parts: list[str], minutes: float, first: int, only: dict[str, list[Any]]) -> None:
    """Append the rows that are missing; `only` names values of their keys."""
    done = {_key(row) for row in read(RESULTS)}
    end = time.monotonic() + 60 * minutes
    torch.set_num_threads(1)
    for part in parts:
        for key, work in PARTS[part](size, first):
            key = {"size": size, **key}
            if any(values and key[name] not in values for name, values in only.items()):
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--first", type=int, default=0, help="number of the first held-out network")
    for name, kind in (("network", int), ("seed", int), ("form", str)):
        parser.add_argument(f"--{name}", action="append", type=kind, help="only this one, or these")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table:
        run(
            arguments.size,
            arguments.part or list(PARTS),
            arguments.minutes,
            arguments.first,
            {name: getattr(arguments, name) for name in ("network", "seed", "form")},
        )
    print(tables(arguments.size))


if __name__ == "__main__":
    main()
