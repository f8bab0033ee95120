"""What the learner costs over the loop that a person would write: the same network, optimizer and batch size.

The bare loop shuffles, indexes, computes the loss, steps, and adds up the losses; nothing else. The learner does its
usual work besides: lr schedule, a second parameter group without decay, seeds of every batch, its own random state,
looking for divergence. Both use the fused optimizer and take turns in short blocks on one thread, and process time is
measured, so that other programs of the machine fall on both.

    python benchmarks/learner/run.py quick|full
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import append, origin, read

from autosearch.learning import TorchLearner
from autosearch.tasks.datasets import Dataset
from autosearch.tasks.image_classification import ImageClassification

RESULTS = Path(__file__).with_name("results.csv")
BATCH = 64
EXAMPLES = 64 * 90  # 90 batches of one size
STEPS_A_BLOCK = 30
# size -> (seeds, blocks of each kind)
SIZES = {"quick": (10, 10), "full": (20, 40)}
CASES: dict[str, tuple[ImageClassification, int]] = {
    "cnn, 14x14": (ImageClassification(model="cnn", batch_size=BATCH), 14),
    "cnn, 8x8": (ImageClassification(model="cnn", batch_size=BATCH), 8),
    "mlp, 8x8": (ImageClassification(model="mlp", batch_size=BATCH), 8),
}


class Timed(ImageClassification):
    """The task on random images: how long a step takes does not depend on what they show."""

    def load(self) -> Dataset:
        generator = torch.Generator().manual_seed(0)
        side = self.image_size or 8
        images = torch.randn(EXAMPLES, 1, side, side, generator=generator)
        labels = torch.randint(10, (EXAMPLES,), generator=generator)
        return Dataset((images, labels), (images[:8], labels[:8]), (images[:8], labels[:8]), classes=10)


def make(case: str, seed: int) -> tuple[TorchLearner, Dataset]:
    task, side = CASES[case]
    timed = Timed(model=task.model, batch_size=task.batch_size, image_size=side, epochs=1000, device="cpu")
    return timed.learner(seed), timed.load()


def bare_loop(case: str, seed: int) -> Callable[[int], float]:
    """`run(steps)` of the loop that a person would write; goes through the data epoch by epoch."""
    learner, data = make(case, seed)
    model: nn.Module = learner.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    inputs, targets = data.train
    order: list[torch.Tensor] = []

    def run(steps: int) -> float:
        total = 0.0
        for _ in range(steps):
            if not order:
                order.extend(torch.randperm(len(inputs)).split(BATCH))
            indices = order.pop()
            loss = functional.cross_entropy(model(inputs[indices]), targets[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / steps

    return run


def seconds(action: Callable[[int], object]) -> float:
    began = time.process_time()
    action(STEPS_A_BLOCK)
    return time.process_time() - began


def measure(case: str, seed: int, blocks: int) -> tuple[float, float]:
    """Process seconds of the bare loop and of the learner, `blocks` blocks each: medians times their number."""
    bare = bare_loop(case, seed)
    learner, _ = make(case, seed)
    seconds(bare), seconds(learner.advance)  # warm-up
    times: tuple[list[float], list[float]] = ([], [])
    for block in range(blocks):
        # The order changes from block to block: neither side always follows the other.
        for side in (0, 1) if block % 2 else (1, 0):
            times[side].append(seconds((bare, learner.advance)[side]))
    return statistics.median(times[0]) * blocks, statistics.median(times[1]) * blocks


# -- results -----------------------------------------------------------------------------------------------


def run(size: str) -> None:
    """Every row that this commit does not have yet; an interrupted run goes on."""
    torch.set_num_threads(1)
    about = origin("torch")
    commit = about["commit"]
    seeds, blocks = SIZES[size]
    done = {(r["case"], r["seed"]) for r in read(RESULTS) if r["commit"] == commit and r["size"] == size}
    for seed in range(seeds):
        for case in CASES:
            if (case, str(seed)) in done:
                continue
            bare, learner = measure(case, seed, blocks)
            row = {"size": size, "case": case, "seed": seed, "steps": blocks * STEPS_A_BLOCK}
            times = {"bare_seconds": f"{bare:.4f}", "learner_seconds": f"{learner:.4f}"}
            append(RESULTS, [{**about, **row, **times, "ratio": f"{learner / bare:.4f}"}])


def table(size: str) -> str:
    """The newest commit's figures: time a step, and the mean ratio over seeds with a 95 % interval."""
    found = [row for row in read(RESULTS) if row["size"] == size]
    found = [row for row in found if row["commit"] == found[-1]["commit"]]
    lines = [
        "| network | bare, ms a step | learner, ms a step | learner / bare | n |",
        "|---|---|---|---|---|",
    ]
    for case in CASES:
        cell = [row for row in found if row["case"] == case]
        if not cell:
            lines.append(f"| {case} | | | | 0 |")
            continue
        ratios = [float(row["ratio"]) for row in cell]
        step = [
            1000 * statistics.median(float(row[name]) / int(row["steps"]) for row in cell)
            for name in ("bare_seconds", "learner_seconds")
        ]
        ratio = f"{statistics.mean(ratios):.3f}"
        if len(ratios) > 1:
            from scipy.stats import t

            half = t.ppf(0.975, len(ratios) - 1) * statistics.stdev(ratios) / len(ratios) ** 0.5
            ratio += f" ± {half:.3f}"
        lines.append(f"| {case} | {step[0]:.3f} | {step[1]:.3f} | {ratio} | {len(cell)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--table", action="store_true", help="print what is recorded, run nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        run(arguments.size)
    print(table(arguments.size))


if __name__ == "__main__":
    sys.exit(main())
