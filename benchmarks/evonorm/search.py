"""EvoNorm: evolution, random search and a surrogate at equal compute; the best layer on a network it was not found on.

    python benchmarks/evonorm/search.py quick|full [--part compare|transfer] [--seed S] [--table]

appends to `search.csv` and `transfer.csv` and prints the tables of README.md; an interrupted run goes on. A search has
so many seconds of the processor for everything: suggestions, the surrogate's fits, checks and training. Settings were
chosen on digits and on seeds from 100, and frozen before the reported seeds (0 and up) ran.
"""

import argparse
import itertools
import math
import statistics
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student

sys.path.insert(0, str(Path(__file__).parents[2]))
import autosearch as asr
from autosearch.core import Decision, Job, Progress, RunSettings
from autosearch.methods.evonorm import VARIANTS
from autosearch.methods.evonorm.anchors import anchor_arguments
from autosearch.methods.evonorm.features import identity
from autosearch.methods.evonorm.graph_layer import GraphFactory
from autosearch.methods.evonorm.graphs import Graph, published
from autosearch.methods.evonorm.rejection import RejectedError
from autosearch.methods.evonorm.searcher import EvoNormSearcher
from autosearch.methods.evonorm.task import LayerSearch
from autosearch.tasks.image_classification import ImageClassification
from benchmarks.common import append, origin, read, table

HERE = Path(__file__).parent
LIBRARIES = ("torch", "numpy", "botorch")
ANCHORS = ("plain", "residual")
HELD_OUT = "inverted"
STEPS = 60
REJECTION = {"quality_steps": 40, "stability_steps": 20}
DATA: dict[str, dict[str, Any]] = {
    "digits": {"dataset": "digits"},
    "fashion": {"dataset": "fashion_mnist", "image_size": 14, "train_size": 6000, "val_size": 1000},
}
SECONDS = {"quick": {"digits": 60, "fashion": 90}, "full": {"digits": 600, "fashion": 900}}
SEEDS = {"quick": 5, "full": 10}
POPULATION, TOURNAMENT, CHILDREN = 3, 3, 16
SHARES = (0.25, 0.5, 0.75, 1.0)
Row = dict[str, Any]

TRANSFER = {"quick": 5, "full": 10}
TRANSFER_STEPS = {64: 150, 4: 500}
RIVALS = ("batch norm, ReLU", *VARIANTS)


# -- searches at equal compute -----------------------------------------------------------------------------------


class Clocked:
    """The search's task, with the processor's time and the accuracies at the end of each trained layer.

    Attributes:
        trained: (seconds since the beginning, mean accuracy, layer) of each.
        away: layers turned away by each check.
        steps: training steps of all anchors together.
    """

    max_step = STEPS

    def __init__(self, search: LayerSearch) -> None:
        self.search, self.begun = search, time.process_time()
        self.trained: list[tuple[float, float, Graph]] = []
        self.away: dict[str, int] = dict.fromkeys(("static", "stability", "quality"), 0)
        self.steps = 0

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        try:
            for progress in self.search.run(job):
                if progress.step == STEPS:
                    self.steps += STEPS * len(ANCHORS)
                    seconds = time.process_time() - self.begun
                    graph = self.search.graph(job.config)
                    self.trained.append((seconds, progress.metrics["val_accuracy"], graph))
                yield progress
        except RejectedError as error:
            self.away[error.check] += 1
            self.steps += error.step if error.check == "quality" else 0
            raise


def searcher(name: str) -> Any:
    """All three never repeat a layer; random search is evolution that draws every child afresh."""
    children, fresh = (CHILDREN if name == "surrogate" else 1), (1.0 if name == "random" else 0.5)
    return EvoNormSearcher(population=POPULATION, tournament=TOURNAMENT, surrogate=children, fresh=fresh)


def compare(size: str, first: int) -> Iterator[Row]:
    """One row for each dataset, seed and searcher, which take turns."""
    done = {(r["dataset"], r["seed"], r["searcher"], r["seconds"]) for r in read(HERE / "search.csv")}
    seeds = range(first, first + SEEDS[size])
    for dataset, seed, name in itertools.product(DATA, seeds, ("random", "evolution", "surrogate")):
        seconds = SECONDS[size][dataset]
        if (dataset, str(seed), name, str(seconds)) not in done:
            yield {
                "dataset": dataset,
                "seed": seed,
                "searcher": name,
                **searched(name, dataset, seed, seconds),
            }


def searched(name: str, dataset: str, seed: int, seconds: float) -> Row:
    """One search: what it found by a quarter, half, three quarters and all of its time, and what that cost."""
    search = LayerSearch(
        anchors=ANCHORS, steps=STEPS, report_every=STEPS, rejection=REJECTION, device="cpu", **DATA[dataset]
    )
    search.learner(ANCHORS[0], published("s0"), 0).advance(
        1
    )  # data and kernels are loaded before the clock runs
    objectives = {f"val_accuracy_{anchor}": "maximize" for anchor in ANCHORS}
    study = asr.Study(
        {"layer": {"use": "evonorm"}}, objectives, searcher=searcher(name), seed=seed,
        budget={"minutes": seconds / 60}, clock=time.process_time,
    )  # fmt: skip
    clocked = Clocked(search)
    study.run(clocked, runner="inline", settings=RunSettings())
    trained = [found for found in clocked.trained if found[0] <= seconds]
    best = sorted(trained, key=lambda found: -found[1])
    row: Row = {"seconds": seconds, "trials": len(study.history), **clocked.away, "trained": len(trained)}
    row["steps"] = clocked.steps
    for share in SHARES:
        values = [accuracy for at, accuracy, _ in trained if at <= share * seconds]
        row[f"best_{share:.0%}"] = f"{max(values):.4f}" if values else ""
    row["again"] = f"{again(search, best[0][2], seed):.4f}" if best else ""
    row["layers"] = " | ".join(f"{accuracy:.4f} {graph}" for _, accuracy, graph in best[:5])
    return row


def again(search: LayerSearch, graph: Graph, seed: int) -> float:
    """Mean accuracy of the layer with two other seeds: what is left of the best of many noisy measurements."""
    found = []
    for other, anchor in itertools.product((seed + 1000, seed + 2000), ANCHORS):
        learner = search.learner(anchor, graph, other)
        learner.advance(STEPS)
        found.append(learner.evaluate()["val_accuracy"])
    return statistics.mean(found)


def compare_table(seconds: Mapping[str, float]) -> str:
    """Best accuracies, and paired differences to evolution with 95 % intervals."""
    lines = []
    for dataset, limit in seconds.items():
        rows = [r for r in read(HERE / "search.csv") if (r["dataset"], r["seconds"]) == (dataset, str(limit))]
        rows = [r for r in rows if int(r["seed"]) < 100]
        for name in ("random", "evolution", "surrogate"):
            mine = {r["seed"]: r for r in rows if r["searcher"] == name}
            plain = {r["seed"]: r for r in rows if r["searcher"] == "evolution"}
            if not mine:
                continue
            cells = [
                spread([float(r[c]) for r in mine.values() if r[c]])
                for c in ("best_50%", "best_100%", "again")
            ]
            pairs = [float(r["again"]) - float(plain[s]["again"]) for s, r in mine.items() if s in plain]
            gain = "" if name == "evolution" else interval(pairs)
            counts = [
                f"{statistics.mean(float(r[c]) for r in mine.values()):.0f}"
                for c in ("trials", "trained", "steps")
            ]
            lines.append([dataset, name, *cells, gain, *counts, len(mine)])
    columns = [
        "data",
        "searcher",
        "best at half",
        "best",
        "best, trained again",
        "to evolution",
        "layers",
        "trained",
    ]
    return table([*columns, "training steps", "n"], lines)


def spread(values: list[float]) -> str:
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{deviation}" if values else ""


def interval(differences: list[float]) -> str:
    """Mean and 95 % interval of paired differences, in points."""
    if len(differences) < 2:
        return ""
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half = float(student.ppf(0.975, len(differences) - 1)) * error
    return f"{100 * statistics.mean(differences):+.1f} ± {100 * half:.1f}"


# -- the best layer on another network ---------------------------------------------------------------------------


def candidates(dataset: str, seconds: float, count: int) -> list[Graph]:
    """The best layers of all evolutions on a dataset by their own measurement, each once."""
    found: dict[str, tuple[float, Graph]] = {}
    for row in read(HERE / "search.csv"):
        if row["dataset"] != dataset or row["seconds"] != str(seconds) or row["searcher"] == "random":
            continue
        if int(row["seed"]) >= 100:
            continue
        for text in filter(None, row["layers"].split(" | ")):
            accuracy, _, layer = text.partition(" ")
            graph = Graph.parse(layer)
            key = identity(graph)
            found[key] = max(found.get(key, (0.0, graph)), (float(accuracy), graph), key=lambda pair: pair[0])
    ranked = sorted(found.values(), key=lambda pair: -pair[0])
    return [graph for _, graph in ranked[:count]]


def chosen(dataset: str, seconds: float) -> Graph:
    """Of the ten best layers, the best after three times as many steps, on the anchors of the search alone."""
    search = LayerSearch(anchors=ANCHORS, steps=3 * STEPS, device="cpu", **DATA[dataset])
    scored = []
    for graph in candidates(dataset, seconds, 10):
        accuracies = []
        for anchor, seed in itertools.product(ANCHORS, (3000, 3001)):
            learner = search.learner(anchor, graph, seed)
            try:
                learner.advance(3 * STEPS)
                accuracies.append(learner.evaluate()["val_accuracy"])
            except FloatingPointError:
                accuracies.append(0.0)
        scored.append((statistics.mean(accuracies), graph))
        print(f"{scored[-1][0]:.4f} {graph}", flush=True)
    return max(scored, key=lambda pair: pair[0])[1]


def transfer(size: str, first: int) -> Iterator[Row]:
    """One row for each dataset, batch size, seed and layer, on the anchor that no search saw; test accuracy."""
    for dataset, seconds in SECONDS[size].items():
        rows = [r for r in read(HERE / "transfer.csv") if (r["dataset"], r["size"]) == (dataset, size)]
        done = {(r["batch_size"], r["seed"], r["layer"]) for r in rows}
        found = next((r["graph"] for r in rows if r["graph"]), None) or str(chosen(dataset, seconds))
        seeds = range(first, first + TRANSFER[size])
        for batch, seed, name in itertools.product(TRANSFER_STEPS, seeds, ("found", *RIVALS)):
            if (str(batch), str(seed), name) not in done:
                row = trained(dataset, name, found, batch, seed)
                yield {
                    "dataset": dataset,
                    "size": size,
                    "batch_size": batch,
                    "seed": seed,
                    "layer": name,
                    **row,
                }


def trained(dataset: str, name: str, found: str, batch: int, seed: int) -> Row:
    """Test accuracy of the held-out anchor; the learning rate in proportion to the batch."""
    norm: Any = {"found": GraphFactory(Graph.parse(found)), "batch norm, ReLU": "batch"}.get(
        name, f"evonorm_{name}"
    )
    task = ImageClassification(
        **anchor_arguments(HELD_OUT), **DATA[dataset], norm=norm, activation="relu", optimizer="nesterov",
        batch_size=batch, lr=0.1 * batch / 64, lr_schedule="constant", weight_decay=1e-4, device="cpu",
    )  # fmt: skip
    begun = time.process_time()
    learner = task.learner(seed)
    try:
        learner.advance(TRANSFER_STEPS[batch])
        data = task.load()
        accuracy = learner.measure(lambda model: task.measure(model, data.test, data))["accuracy"]
    except FloatingPointError:
        accuracy = 0.0
    return {
        "accuracy": f"{accuracy:.4f}", "cpu_s": f"{time.process_time() - begun:.1f}", "anchor": HELD_OUT,
        "graph": found if name == "found" else "",
    }  # fmt: skip


def transfer_table(size: str) -> str:
    """Test accuracies, mean and standard error."""
    rows = [r for r in read(HERE / "transfer.csv") if r["size"] == size and int(r["seed"]) < 100]
    cells: dict[str, list[str]] = {name: [] for name in ("found", *RIVALS)}
    columns = ["layer"]
    for dataset, batch in itertools.product(DATA, TRANSFER_STEPS):
        columns.append(f"{dataset}, batch {batch}")
        for name, line in cells.items():
            values = [
                100 * float(r["accuracy"]) for r in rows
                if (r["dataset"], r["batch_size"], r["layer"]) == (dataset, str(batch), name)
            ]  # fmt: skip
            error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.1f}" if len(values) > 1 else ""
            line.append(f"{statistics.mean(values):.1f}{error} ({len(values)})" if values else "")
    return table(columns, [[name, *line] for name, line in cells.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=("quick", "full"))
    parser.add_argument("--part", choices=("compare", "transfer"))
    parser.add_argument("--seed", type=int, default=0, help="first seed; those from 100 are for development")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for part, rows in {"compare": compare, "transfer": transfer}.items():
        if options.table or options.part not in (None, part):
            continue
        path = HERE / ("search.csv" if part == "compare" else "transfer.csv")
        for row in rows(options.size, options.seed):
            append(path, [{**row, **origin(*LIBRARIES)}])
            print(row, flush=True)
    print(compare_table(SECONDS[options.size]), transfer_table(options.size), sep="\n\n")


if __name__ == "__main__":
    main()
