"""What comes before a metanetwork can be used: data models, meta-training, and the choice of one of its states."""

import copy
import dataclasses
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from autosearch.core import Decision, History, Job, Progress
from autosearch.core.seeds import derive_seed
from autosearch.learning import Batch, CheckpointError, load_checkpoint, save_checkpoint
from autosearch.methods.metaprune.goals import DataModel
from autosearch.methods.metaprune.meta_training import MetaTrainer
from autosearch.methods.metaprune.metanetwork import MetaNetwork
from autosearch.methods.metaprune.options import MetaOptions
from autosearch.methods.metaprune.tracing import trace
from autosearch.methods.pruning import PruneOptions, Pruner, load_pruned, recalibrate
from autosearch.methods.pruning.task import PruneTask
from autosearch.tasks.training import TrainingTask

METANETWORK = "metanetwork.pt"
_RECALIBRATED = 8  # batches


@dataclass(frozen=True, kw_only=True)
class DataModels(PruneTask):
    """Trains a network from scratch, prunes it a little, and trains what is left: one data model a trial."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "epochs_before", self.dense.epochs)

    @property
    def training_before(self) -> TrainingTask:
        return self.dense

    def dense_network(self, seed: int) -> tuple[nn.Module, dict[str, float]]:
        return self.dense.learner(derive_seed(seed, "data model")).model, {}


def load_data_models(task: TrainingTask, history: History) -> list[nn.Module]:
    """The networks that a finished stage of data models left, in order of their trials.

    Raises:
        CheckpointError: a trial left none.
    """
    found = []
    for trial in history.complete:
        if trial.checkpoint is None or not Path(trial.checkpoint).is_dir():
            raise CheckpointError(
                f"data model {trial.number} left no checkpoint; does the study have an output folder?"
            )
        found.append(load_pruned(task.learner(0).model, trial.checkpoint).eval())
    return found


def batches_of(task: TrainingTask, count: int, seed: int) -> list[Batch]:
    """So many training batches, drawn by the seed; fewer where an epoch has fewer."""
    data = task.load().to(task.torch_device)
    fetch, generator = task.fetch(data), torch.Generator().manual_seed(seed % 2**63)
    order = torch.randperm(task.examples(data), generator=generator)
    return [fetch(part, generator) for part in torch.split(order, task.batch_size)[:count]]


@dataclass(frozen=True)
class MetaTraining:
    """Trains a metanetwork on the data models but those held out; the step is the meta-epoch.

    Attributes:
        task: that trains what is left.
        options: of the metanetwork and its training.
        pruning: how channels go.
        ignore: modules that stay whole.
        histories: of finished stages.
    """

    task: TrainingTask
    options: MetaOptions
    pruning: PruneOptions = dataclasses.field(default_factory=PruneOptions)
    ignore: tuple[str, ...] = ()
    histories: Mapping[str, History] = dataclasses.field(default_factory=dict)

    reusable: ClassVar[bool] = True

    @property
    def max_step(self) -> int:
        """Meta-epochs."""
        return self.options.epochs

    def staged(self, histories: Mapping[str, History]) -> "MetaTraining":
        """With the data models."""
        return dataclasses.replace(self, histories=histories)

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        """Meta-train epoch by epoch; goes on from `job.checkpoint`."""
        networks = load_data_models(self.task, self.histories["data_models"])
        learnt = networks[: len(networks) - self.options.held_out]
        example = batches_of(self.task, 1, 0)[0][0]
        models = [DataModel.of(network, example, self.ignore) for network in learnt]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(job.seed, "metanetwork") % 2**63)
            metanetwork = self.options.build(_joined([model.schema.family for model in models]))
        trainer = MetaTrainer(
            metanetwork.to(self.task.torch_device),
            self.options.goal(self.task, self.pruning),
            lr=self.options.lr,
            milestone=self.options.milestone,
        )
        states: dict[int, Any] = {}
        if job.checkpoint is not None:
            saved = load_checkpoint(job.checkpoint)
            trainer.load_state_dict(saved["trainer"])
            states = saved["states"]
        end = self.max_step if job.until is None else min(self.max_step, job.until)
        while trainer.epoch < end:
            batches = batches_of(
                self.task, self.options.batches, derive_seed(job.seed, "batches", trainer.epoch)
            )
            metrics = trainer.train_epoch(models, batches, derive_seed(job.seed, "goal", trainer.epoch))
            if trainer.epoch in self.options.choices:
                states[trainer.epoch] = trainer.state_dict()["metanetwork"]
            saved = {"trainer": copy.deepcopy(trainer.state_dict()), "states": dict(states)}
            yield Progress(metrics, trainer.epoch, _saver({**saved, "family": metanetwork.family}))


def _saver(state: Mapping[str, Any]) -> Any:
    return lambda folder: save_checkpoint(folder, state)


def _joined(families: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One family that holds all."""
    kernels = sorted({k for family in families for k in family["kernels"]})
    return {"ports": max(family["ports"] for family in families), "kernels": kernels}


@dataclass(frozen=True)
class Choice:
    """How good a state of the metanetwork is: a held-out data model is changed, trained a little, pruned and measured.

    Reports `auc`, the area under validation quality over speed-up, and the quality at each.

    Attributes:
        task: that trains what is left.
        options: of the metanetwork and its training.
        pruning: how; the targets are the speed-ups.
        ignore: modules that stay whole.
        histories: of finished stages.
    """

    task: TrainingTask
    options: MetaOptions
    pruning: PruneOptions = dataclasses.field(default_factory=PruneOptions)
    ignore: tuple[str, ...] = ()
    histories: Mapping[str, History] = dataclasses.field(default_factory=dict)

    reusable: ClassVar[bool] = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a trial reports."""
        return ("auc", *(f"quality_{speed_up:g}" for speed_up in self.options.speed_ups))

    def staged(self, histories: Mapping[str, History]) -> "Choice":
        """With data models and the trained metanetwork."""
        return dataclasses.replace(self, histories=histories)

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        """One report."""
        metanetwork = self._metanetwork(int(job.config["epoch"]))
        networks = load_data_models(self.task, self.histories["data_models"])
        curves = []
        for i, network in enumerate(networks[len(networks) - self.options.held_out :]):
            curves.append(self._curve(network, metanetwork, derive_seed(job.seed, "held out", i)))
        curve = np.mean(curves, axis=0)
        area = float(
            np.trapezoid(curve, self.options.speed_ups)
            / (max(self.options.speed_ups) - min(self.options.speed_ups))
        )
        metrics = dict(zip(self.metrics, [area, *map(float, curve)], strict=True))
        yield Progress(metrics, 1, lambda folder: _keep(metanetwork, folder))

    def _metanetwork(self, epoch: int) -> MetaNetwork:
        trial = self.histories["meta_training"].complete[0]
        if trial.checkpoint is None:
            raise CheckpointError(
                "the stage meta_training left no checkpoint; does the study have an output folder?"
            )
        saved = load_checkpoint(Path(trial.checkpoint))
        metanetwork = self.options.build(saved["family"])
        metanetwork.load_state_dict(saved["states"][epoch])
        return metanetwork.to(self.task.torch_device)

    def _curve(self, network: nn.Module, metanetwork: MetaNetwork, seed: int) -> list[float]:
        scored = batches_of(self.task, _RECALIBRATED, seed)
        easier = metanetwork.easier(network, trace(network, scored[0][0])).train()
        for parameter in easier.parameters():
            parameter.requires_grad_(True)
        self._train(easier, self.options.settle, seed)
        found = []
        for speed_up in self.options.speed_ups:
            options = dataclasses.replace(self.pruning, target={"macs": 1 / speed_up}, ratios={}, steps=1)
            pruner = Pruner(easier, scored[0][0], options, ignore=self.ignore, seed=seed % 2**31)
            pruner.step(1.0, scored, self.task.loss())
            recalibrate(pruner.model, scored)
            found.append(self._train(pruner.model, 1, seed))
        return found

    def _train(self, network: nn.Module, epochs: int, seed: int) -> float:
        """Train in place; the validation quality afterwards, higher is better."""
        learner = dataclasses.replace(self.task, epochs=max(1, epochs)).learner(seed, network=network)
        if epochs:
            learner.advance(epochs * learner.batches.batches_per_epoch)
        measured = learner.evaluate()
        return measured.get("val_accuracy", -measured["val_loss"])


def _keep(metanetwork: MetaNetwork, folder: Path) -> None:
    metanetwork.save(folder / METANETWORK)
