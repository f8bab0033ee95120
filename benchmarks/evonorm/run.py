"""EvoNorm: what the rejection tests turn away and cost, what the layers cost, and how they bear small batches.

    python benchmarks/evonorm/run.py quick|full [--part rejection|speed|batch_size] [--minutes M] [--table]

appends to a CSV file for each part and prints the tables of README.md; an interrupted run goes on. Times are of the
processor, so a busy machine makes less difference. Settings were chosen on seeds from 100 and frozen before the
reported seeds (0 and up) ran.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from autosearch.core.seeds import derive_rng
from autosearch.methods.evonorm import VARIANTS, EvoNorm2d
from autosearch.methods.evonorm.graphs import Graph, published, random_graph
from autosearch.methods.evonorm.rejection import (
    RejectedError,
    Rejection,
    check_quality,
    check_stability,
    check_static,
)
from autosearch.methods.evonorm.task import CHECKS, LayerSearch
from autosearch.tasks.image_classification import ImageClassification
from benchmarks.common import append, origin, read, table

HERE = Path(__file__).parent
LIBRARIES = ("torch", "numpy")
NODES = 10
SETTINGS = Rejection(quality_steps=100, stability_steps=50)
SHAPES = ((128, 16, 14, 14), (64, 64, 16, 16), (32, 32, 32, 32))
GRAPHS = {"quick": 400, "full": 2000}
KNOWN = ("batch_relu", "group_relu", "b0", "b1", "b2", "s0", "s1", "s2")

NORMS = ("batch", "evonorm_b0", "evonorm_s0")
SIZES = (128, 16, 4)
SEEDS = {"quick": 3, "full": 5}
IMAGES: dict[str, dict[str, Any]] = {
    "quick": {"dataset": "fashion_mnist", "image_size": 14, "train_size": 2000, "width": 8, "epochs": 3},
    "full": {"dataset": "cifar10_subset", "width": 16, "epochs": 20, "flip": True, "crop": 2},
}


# -- what is turned away -----------------------------------------------------------------------------------------


def rejection(size: str, seed: int) -> Iterator[dict[str, Any]]:
    """One row for each layer: the known ones, then random graphs; digits, checks on the residual anchor."""
    done = {row["layer"] for row in read(HERE / "rejection.csv") if row["seed"] == str(seed)}
    search = LayerSearch(anchors=("residual",), steps=SETTINGS.quality_steps)
    names: list[tuple[str, Graph]] = [(name, published(name)) for name in KNOWN]
    for i in range(GRAPHS[size]):
        graph = random_graph(derive_rng(seed, "benchmark graph", i), NODES, batch_statistics=True)
        names.append((f"random {i}", graph))
    for name, graph in names:
        if name not in done:
            row = checked(search, graph, seed)
            row["train_s"] = f"{train_seconds(graph, seed):.3f}" if name in KNOWN else ""
            yield {"layer": name, "seed": seed, **row, "graph": str(graph)}


def train_seconds(graph: Graph, seed: int) -> float:
    """Seconds to train all three anchors for as many steps as the check of quality takes."""
    search = LayerSearch(steps=SETTINGS.quality_steps)
    learners = [search.learner(anchor, graph, seed) for anchor in search.anchors]
    begun = time.process_time()
    for learner in learners:
        with contextlib.suppress(FloatingPointError):
            learner.advance(SETTINGS.quality_steps)
            learner.evaluate()
    return time.process_time() - begun


def checked(search: LayerSearch, graph: Graph, seed: int) -> dict[str, Any]:
    """Verdict, accuracy at the end of the check of quality, largest gradient, and seconds of each check."""
    row: dict[str, Any] = {"verdict": "passed", "reason": "", "accuracy": "", "largest_norm": ""}
    row |= {f"{check}_s": "" for check in CHECKS}
    learner = search.learner("residual", graph, seed)
    task = search.task("residual", graph)

    def quality() -> None:
        def accuracy() -> float:
            row["accuracy"] = found = learner.evaluate()["val_accuracy"]
            return found

        check_quality(learner, accuracy, task.load().classes, SETTINGS)

    def stability() -> None:
        fresh = task.learner(seed + 1)
        norms = check_stability(fresh.model, task.loss(), next(fresh.batches), SETTINGS)
        row["largest_norm"] = f"{max(norms):.4g}"

    checks: dict[str, Callable[[], None]] = {
        "static": lambda: check_static(graph),
        "stability": stability,
        "quality": quality,
    }
    for name, check in checks.items():
        begun = time.process_time()
        try:
            check()
        except RejectedError as error:
            row |= {"verdict": error.check, "reason": str(error)}
        row[f"{name}_s"] = f"{time.process_time() - begun:.4f}"
        if row["verdict"] != "passed":
            break
    return row


def rejection_table(seed: int) -> str:
    """Shares turned away, what each check costs, and layers a minute against training each as long."""
    rows = [r for r in read(HERE / "rejection.csv") if r["seed"] == str(seed)]
    random = [r for r in rows if r["layer"].startswith("random")]
    if not random:
        return "no rows"
    lines, left = [], len(random)
    for check in CHECKS:
        seconds = [float(r[f"{check}_s"]) for r in random if r[f"{check}_s"]]
        away = sum(r["verdict"] == check for r in random)
        share = f"{away / left:.1%}" if left else ""
        mean = f"{statistics.mean(seconds):.3f}" if seconds else ""
        lines.append([check, left, away, share, mean])
        left -= away
    spent = sum(float(r[f"{c}_s"]) for r in random for c in CHECKS if r[f"{c}_s"])
    each = statistics.mean(float(r["train_s"]) for r in rows if r["train_s"])
    steps = SETTINGS.quality_steps
    text = table(["check", "layers seen", "turned away", "share", "seconds a layer"], lines)
    text += f"\n\n{left} of {len(random)} random layers pass everything. "
    text += f"Checking takes {spent / len(random):.2f} s a layer, {60 * len(random) / spent:.0f} a minute on a core; "
    text += f"training three anchors for {steps} steps takes {each:.1f} s, "
    text += f"{each * len(random) / spent:.0f} times as long.\n\n"
    known = [
        [r["layer"], r["verdict"], r["accuracy"][:5], r["largest_norm"]] for r in rows if r["layer"] in KNOWN
    ]
    best = max(
        (r for r in random if r["verdict"] == "passed"), key=lambda r: float(r["accuracy"]), default=None
    )
    if best is not None:
        known.append([f"best random: {best['graph']}", "passed", best["accuracy"][:5], best["largest_norm"]])
    return text + table(
        ["layer", "verdict", "accuracy after 100 steps", "largest gradient in 50 ascent steps"], known
    )


# -- what a layer costs ------------------------------------------------------------------------------------------


def speed(seed: int) -> Iterator[dict[str, Any]]:
    """One row for each layer and shape: processor time of forward and backward, beside batch norm and ReLU."""
    done = {(row["layer"], row["shape"]) for row in read(HERE / "speed.csv") if row["seed"] == str(seed)}
    for shape in SHAPES:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        text = "x".join(map(str, shape))
        for variant in VARIANTS:
            for form in ("", ", plain", *((", compiled",) if shape == SHAPES[1] else ())):
                name = f"{variant}{form}"
                if (name, text) in done:
                    continue
                layer: torch.nn.Module = EvoNorm2d(shape[1], variant, group_size=8, fused=not form)
                if form == ", compiled":
                    torch._dynamo.reset()
                    layer = torch.compile(layer)
                rival = torch.nn.Sequential(torch.nn.BatchNorm2d(shape[1]), torch.nn.ReLU())
                # In turns, so that both meet the same neighbours on the machine.
                pairs = [(step_seconds(layer, x), step_seconds(rival, x)) for _ in range(33)][3:]
                ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
                ratio = statistics.median(a / b for a, b in pairs)
                yield {
                    "layer": name, "shape": text, "seed": seed, "ms": f"{1e3 * ours:.3f}",
                    "batch_relu_ms": f"{1e3 * theirs:.3f}", "ratio": f"{ratio:.2f}",
                    "arrays": kept_arrays(layer, x), "batch_relu_arrays": kept_arrays(rival, x),
                }  # fmt: skip


def step_seconds(layer: torch.nn.Module, x: torch.Tensor) -> float:
    seed = torch.ones_like(x)
    begun = time.process_time()
    layer(x).backward(seed)
    return time.process_time() - begun


def kept_arrays(layer: torch.nn.Module, x: torch.Tensor) -> int:
    """How many arrays of the features' size wait for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x)
    # The output is alive as well: the next layer keeps it.
    kept[y.untyped_storage().data_ptr()] = y.untyped_storage().nbytes()
    return sum(size >= x.numel() * x.element_size() for size in kept.values())


def speed_table(seed: int) -> str:
    """Ratios to batch norm and ReLU, and the arrays kept."""
    rows = [r for r in read(HERE / "speed.csv") if r["seed"] == str(seed)]
    shapes = list(dict.fromkeys(r["shape"] for r in rows))
    lines = []
    for name in dict.fromkeys(r["layer"] for r in rows):
        mine = {r["shape"]: r for r in rows if r["layer"] == name}
        kept = next(iter(mine.values()))
        cells = [mine[s]["ratio"] if s in mine else "" for s in shapes]
        lines.append([name, *cells, f"{kept['arrays']} / {kept['batch_relu_arrays']}"])
    return table(["layer", *shapes, "arrays kept: its / batch norm and ReLU"], lines)


# -- small batches -----------------------------------------------------------------------------------------------


def batch_size(size: str, seed: int) -> Iterator[dict[str, Any]]:
    """One row for each norm and batch size: a small ResNet, the learning rate in proportion to the batch."""
    done = {
        (row["norm"], row["batch_size"]) for row in read(HERE / "batch_size.csv")
        if (row["seed"], row["dataset"]) == (str(seed), IMAGES[size]["dataset"])
    }  # fmt: skip
    for batch in SIZES:
        for norm in NORMS:
            if (norm, str(batch)) in done:
                continue
            task = ImageClassification(
                model="preact_resnet",
                depth=8,
                batch_size=batch,
                lr=0.1 * batch / 128,
                optimizer="nesterov",
                weight_decay=1e-4,
                norm=norm,
                device="auto",
                **IMAGES[size],
            )
            begun = time.process_time()
            learner = task.learner(seed)
            try:
                learner.advance(task.epochs * learner.batches.batches_per_epoch)
                accuracy = learner.evaluate()["val_accuracy"]
            except FloatingPointError:
                accuracy = float("nan")
            yield {
                "dataset": task.dataset, "norm": norm, "batch_size": batch, "seed": seed, "accuracy": f"{accuracy:.4f}",
                "seconds": f"{time.process_time() - begun:.1f}",
            }  # fmt: skip


def batch_size_table(size: str) -> str:
    """Mean accuracy and standard deviation (n) by norm and batch size."""
    rows = [r for r in read(HERE / "batch_size.csv") if r["dataset"] == IMAGES[size]["dataset"]]
    lines = []
    for norm in NORMS:
        cells = []
        for batch in SIZES:
            values = [
                100 * float(r["accuracy"]) for r in rows if (r["norm"], r["batch_size"]) == (norm, str(batch))
            ]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread} ({len(values)})" if values else "")
        lines.append([norm, *cells])
    return table(["norm", *(f"batch {batch}" for batch in SIZES)], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=("quick", "full"))
    parser.add_argument("--part", choices=("rejection", "speed", "batch_size"))
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--seed", type=int, default=0, help="first seed; those from 100 are for development")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ends = time.monotonic() + 60 * options.minutes
    seeds = range(options.seed, options.seed + SEEDS[options.size])
    parts: dict[str, list[Iterator[dict[str, Any]]]] = {
        "rejection": [rejection(options.size, options.seed)],
        "speed": [speed(options.seed)],
        "batch_size": [batch_size(options.size, seed) for seed in seeds],
    }
    for part, streams in parts.items():
        if options.table or options.part not in (None, part):
            continue
        for row in (row for stream in streams for row in stream):
            append(HERE / f"{part}.csv", [{**row, **origin(*LIBRARIES)}])
            print({k: v for k, v in row.items() if k != "graph"}, flush=True)
            if time.monotonic() > ends:
                print("out of time; run it again to go on")
                sys.exit(0)
    print(
        rejection_table(options.seed), speed_table(options.seed), batch_size_table(options.size), sep="\n\n"
    )


if __name__ == "__main__":
    main()
