"""One network on its way from dense to pruned and trained: the state of a trial of the task `prune`."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from autosearch.core.seeds import derive_seed
from autosearch.learning import CheckpointError, TrainingLearner
from autosearch.learning.costs import measure_latency
from autosearch.methods.pruning.distillation import Distilled
from autosearch.methods.pruning.pruning import Pruner
from autosearch.methods.pruning.recalibration import recalibrate
from autosearch.tasks.training import Loss

if TYPE_CHECKING:
    from autosearch.methods.pruning.task import PruneTask

_LATENCY_S = 0.05  # some hundred passes of a small network: the median is steady
_SCORED = 8  # batches that criteria and statistics of normalisation are measured on


def n2n_reward(accuracy: float, dense_accuracy: float, params_share: float) -> float:
    """`C (2 - C) * accuracy / dense accuracy` with compression `C = 1 - params_share`; -1 for a useless network.

    Source: Ashok et al. 2018, "N2N Learning: Network to Network Compression via Policy Gradient Reinforcement
    Learning", section 3.3.
    """
    compression = 1 - params_share
    if not 0 <= compression < 1 or dense_accuracy <= 0:
        return -1.0
    return compression * (2 - compression) * accuracy / dense_accuracy


class Compression:
    """One network on its way: the state of a trial.

    Args:
        task: with the trial's values.
        seed: of the trial.
    """

    def __init__(self, task: "PruneTask", seed: int) -> None:
        self.task, self._seed = task, seed
        dense, self._dense_metrics = task.dense_network(seed)
        self._job = first = task.fine_tuning(
            1
        )  # that measures; rounds train by their own, with their lengths
        data = first.load().to(first.torch_device)
        fetch = first.fetch(data)
        generator = torch.Generator().manual_seed(derive_seed(seed, "scored") % 2**63)
        order = torch.randperm(first.examples(data), generator=generator)
        self._batches = [fetch(part, generator) for part in torch.split(order, first.batch_size)[:_SCORED]]
        self._loss = first.loss()
        self._example = self._batches[0][0][:1]
        self._dense = dense
        self._pruner = Pruner(
            dense,
            self._batches[0][0],
            task.options,
            ignore=task.ignore,
            seed=derive_seed(seed, "criterion") % 2**31,
        )
        self._phases = self._lengths()
        self.epoch, self._phase, self._seconds = 0, -1, 0.0
        self._learner: TrainingLearner | None = None
        self._latency = 0.0

    def _lengths(self) -> list[tuple[int, int]]:
        """(round, epochs) of each phase; round 0 is the training before anything goes."""
        task = self.task
        share, more = divmod(task.epochs, task.steps)
        rounds = [(i, share + (i > task.steps - more)) for i in range(1, task.steps + 1)]
        before = task.max_step - task.epochs
        return [(0, before), *rounds] if before else rounds

    def advance(self) -> dict[str, float]:
        """Train an epoch, pruning first where a round begins; the metrics of a report."""
        began = time.perf_counter()
        begins = 0
        for phase, (number, epochs) in enumerate(self._phases):
            if begins <= self.epoch < begins + epochs and phase != self._phase:
                self._begin(phase, number, epochs)
            begins += epochs
        learner = self._learner
        if learner is None:
            raise CheckpointError("prune: all epochs are over.")
        trained = learner.advance(learner.batches.batches_per_epoch)
        self.epoch += 1
        self._seconds += time.perf_counter() - began
        return self._report(learner, trained)

    def _begin(self, phase: int, number: int, epochs: int) -> None:
        if number:
            self._pruner.step(number / self.task.steps, self._batches, self._loss)
            recalibrate(self._pruner.model, self._batches)
        self._set_up(phase, epochs)

    def _set_up(self, phase: int, epochs: int) -> None:
        self._phase = phase
        first = self._phases[phase][0] == 0
        task = self.task.training_before if first else self.task.fine_tuning(epochs)
        self._learner = task.trained_learner(
            derive_seed(self._seed, "phase", phase),
            network=self._pruner.model,
            around=self._sparse if first else self._taught,
        )
        self._latency = measure_latency(self._pruner.model, self._example, seconds=_LATENCY_S)

    def _taught(self, loss: Loss) -> Loss:
        if not self.task.distill:
            return loss
        return Distilled(loss, self._dense, self.task.distill, self.task.temperature)

    def _sparse(self, loss: Loss) -> Loss:
        groups, penalty = self._pruner.groups, getattr(self._pruner.criterion, "penalty", None)
        if penalty is None:
            return loss

        def with_penalty(model: nn.Module, batch: Any) -> torch.Tensor:
            total: torch.Tensor = loss(model, batch) + penalty(model, groups)
            return total

        return with_penalty

    def _report(self, learner: TrainingLearner, trained: Mapping[str, float]) -> dict[str, float]:
        began = time.perf_counter()
        metrics = self._job.report(learner, trained, self._seconds)
        result = self._pruner.result()
        share = result.after["params"] / result.before["params"]
        metrics |= {
            "macs": result.after["macs"],
            "macs_share": result.after["macs"] / result.before["macs"],
            "params_share": share,
            "latency_ms": 1000 * self._latency,
        }
        if "val_accuracy" in self._dense_metrics:
            metrics["n2n"] = n2n_reward(metrics["val_accuracy"], self._dense_metrics["val_accuracy"], share)
        self._seconds += time.perf_counter() - began
        return {**metrics, "seconds": self._seconds}

    def notes(self) -> dict[str, Any]:
        """Channels left of each group, and the dense network's metrics."""
        groups = self._pruner.groups.groups
        return {
            "widths": {group.name: len(group) for group in groups},
            "dense": dict(self._dense_metrics),
            **({} if self._learner is None else self._learner.notes()),
        }

    def snapshot(self) -> dict[str, Any]:
        """All state, plain values and tensors."""
        if self._learner is None:
            raise CheckpointError("prune: nothing has been trained yet.")
        return {
            "epoch": self.epoch,
            "phase": self._phase,
            "seconds": self._seconds,
            "alive": self._pruner.alive,
            "learner": self._learner.snapshot(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot of the same trial."""
        self.epoch, self._seconds = state["epoch"], state["seconds"]
        self._pruner.restore(state["alive"])
        self._set_up(state["phase"], self._phases[state["phase"]][1])
        if self._learner is not None:
            self._learner.restore(state["learner"])

    def save_network(self, folder: Path) -> None:
        """Write the pruned network as it is evaluated, for `autosearch.load_pruned`."""
        if self._learner is not None:
            self._learner.measure(lambda model: dict(self._save(model, folder)))

    def _save(self, model: nn.Module, folder: Path) -> Mapping[str, float]:
        dataclasses.replace(self._pruner.result(), model=model).save(folder)
        return {}

    def test_metrics(self) -> dict[str, float]:
        """Metrics on the test data."""
        if self._learner is None:
            raise CheckpointError("prune: nothing has been trained yet.")
        return self._job.test_metrics(self._learner)
