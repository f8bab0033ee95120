"""What every built-in training task shares: its arguments, the loop over epochs, checkpoints, checks."""

import copy
import dataclasses
import functools
import inspect
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import nn

from autosearch.core import Decision, Job, OptionError, Problem, Progress, plugins
from autosearch.core.seeds import derive_seed
from autosearch.learning import (
    OPTIMIZERS,
    Batch,
    BatchStream,
    CheckpointError,
    RandomState,
    StepOptions,
    TorchLearner,
    TrainingLearner,
    build_lr_schedule,
    build_optimizer,
    load_checkpoint,
    peak_lr,
    save_checkpoint,
)
from autosearch.learning.costs import count_macs, measure_latency
from autosearch.space import SpaceError, did_you_mean
from autosearch.space.errors import report
from autosearch.tasks.datasets import Dataset
from autosearch.tasks.models import Builder, Layer, build_model, model_options
from autosearch.tasks.refusals import corners, metric_problems, parameter_problems

__all__ = ["Loss", "TrainingMethod", "TrainingTask", "corners", "metric_problems"]

_COSTS = ("macs", "latency_ms")
_LATENCY_S = 0.05  # some hundred passes of a small network: one is undisturbed, and a trial hardly longer

Loss = Callable[[nn.Module, Batch], torch.Tensor]
Rule = tuple[Callable[[Any], bool], str]


def _at_least(low: float) -> Rule:
    return lambda value: value >= low, f"at least {low}"


_SHARE: Rule = (lambda value: 0 <= value < 1, "in [0, 1)")
_POSITIVE: Rule = (lambda value: 0 < value < math.inf, "above 0 and finite")
_RULES: dict[str, Rule] = {
    "epochs": _at_least(1),
    "batch_size": _at_least(1),
    "lr": _POSITIVE,
    "weight_decay": _at_least(0),
    "momentum": _SHARE,
    "warmup": _SHARE,
    "dropout": _SHARE,
    "label_smoothing": _SHARE,
    "width": _at_least(1),
    "depth": _at_least(1),
    "layers": _at_least(1),
    "heads": _at_least(1),
    "context": _at_least(1),
    "train_size": _at_least(1),
    "val_size": _at_least(1),
}


class TrainingMethod(Protocol):
    """What acts inside a trial: a function from a learner to a learner."""

    def apply(self, learner: TrainingLearner, task: "TrainingTask", seed: int) -> TrainingLearner:
        """The learner that trains in place of `learner`, whose state its snapshots must hold.

        Args:
            learner: at its first step.
            task: with the trial's values; its epochs count every optimizer step that a method makes.
            seed: of the trial.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingTask(ABC):
    """An objective that trains one network and reports after each epoch; arguments are defaults of a configuration.

    Reports `train_loss`, `val_loss` and the task's own validation metric; `lr`, the last one used; `seconds` of
    training and validation so far; `params`, the number of trainable weights; `macs` and `latency_ms` of one example
    through the plain network; `peak_memory_mb`, on a CPU that of the process so far. The step is the epoch.

    Attributes:
        dataset: name of the data, or the user's own, `./file.py:name`; see the task.
        model: name of the network, or the user's own, `./file.py:name`: a function of the shape of an example and the
            number of outputs, with `architecture` and other of the options below as keywords where it takes them.
        epochs: passes over the training data; the lr schedule spans them.
        batch_size: examples in an optimizer step.
        optimizer: sgd, nesterov, adam, adamw or rmsprop.
        lr: peak learning rate, unless the lr schedule has a `peak`.
        weight_decay: of weight matrices; biases and norms do not decay.
        momentum: of sgd and rmsprop; first beta of adam and adamw.
        lr_schedule: constant, cosine, step, one_cycle, or `{method: NAME, …options}`, also of family (`LrFamily`),
            knots (`LrKnots`) and recorded (`Recorded`).
        warmup: share of the run in which the learning rate rises.
        accumulate: parts into which a batch is cut to save memory.
        clip_norm: largest norm of the gradient.
        ema: decay of the averaged weights that are evaluated, 0 for none.
        amp: none, bf16 or fp16.
        deterministic: refuse non-deterministic algorithms.
        width: units or channels of the network; None for its own default.
        depth: of convolutional networks.
        layers: of the others.
        dropout: probability.
        norm: normalisation, or a layer that normalises and activates; None for the network's default.
        activation: name; None for the network's default.
        architecture: what `model` builds, for those that take one; a space's parameters under `architecture`.
        train_size: examples to train on, None for all.
        val_size: examples to validate on, None for all.
        split_seed: which examples train, validate and test; the same for all trials.
        data_dir: folder of datasets, `$AUTOSEARCH_DATA` without it.
        folder: that files of the user's code are relative to, the directory of the process without it.
        device: cpu, cuda, or auto for the GPU that the trial sees, if any.
    """

    dataset: str
    model: str
    epochs: int = 20
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    lr_schedule: str | Mapping[str, Any] = "cosine"
    warmup: float = 0.0
    accumulate: int = 1
    clip_norm: float | None = None
    ema: float = 0.0
    amp: Literal["none", "bf16", "fp16"] = "none"
    deterministic: bool = False
    width: int | None = None
    depth: int | None = None
    layers: int | None = None
    dropout: float | None = None
    norm: str | Layer | None = None
    activation: str | None = None
    architecture: Mapping[str, Any] | None = None
    train_size: int | None = None
    val_size: int | None = None
    split_seed: int = 0
    data_dir: str | Path | None = None
    folder: str | Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    reusable: ClassVar[bool] = True
    models: ClassVar[Mapping[str, Builder]]
    model_arguments: ClassVar[tuple[str, ...]] = (
        "width", "depth", "layers", "dropout", "norm", "activation", "architecture",
    )  # fmt: skip
    own_metric: ClassVar[str]

    _methods: ClassVar[tuple[TrainingMethod, ...]] = ()  # of an instance: set by `trained_by`

    def __post_init__(self) -> None:
        for name, (holds, rule) in _RULES.items():
            value = getattr(self, name, None)
            if value is not None and not holds(value):
                raise OptionError(f"{name}: {rule}, got {value!r}.", name)
        taken = self.model_options(self.model)
        for name in self.model_arguments:
            if getattr(self, name) is not None and name not in taken:
                raise OptionError(
                    f"{name}: model {self.model!r} has no such option. It takes {', '.join(sorted(taken))}.",
                    name,
                )
        if self.optimizer not in OPTIMIZERS:
            hint = did_you_mean(self.optimizer, OPTIMIZERS)
            raise OptionError(
                f"unknown optimizer {self.optimizer!r}.{hint} Known: {', '.join(OPTIMIZERS)}.", "optimizer"
            )
        build_lr_schedule(self.lr_schedule, 1, self.warmup)
        self.step_options()

    # -- what a task fills in ------------------------------------------------------------------------------

    @abstractmethod
    def load(self) -> Dataset:
        """The data, on the CPU."""

    @abstractmethod
    def check_data(self) -> None:
        """Raises an AutosearchError if the data cannot be loaded; does not load it."""

    @abstractmethod
    def network(self, data: Dataset) -> nn.Module:
        """A fresh network for the data."""

    @abstractmethod
    def loss(self) -> Loss:
        """Mean training loss of a batch."""

    @abstractmethod
    def measure(self, model: nn.Module, split: Batch, data: Dataset) -> dict[str, float]:
        """`loss` and the task's own metric (without `val_` in front) of a network on one split."""

    def fetch(self, data: Dataset) -> Callable[[torch.Tensor, torch.Generator], Batch]:
        """Makes a training batch from indices."""
        inputs, targets = data.train

        def plain(indices: torch.Tensor, generator: torch.Generator) -> Batch:  # noqa: ARG001
            return inputs[indices], targets[indices]

        return plain

    def examples(self, data: Dataset) -> int:
        """Number of training examples in an epoch."""
        return len(data.train[0])

    def settings(self, model: nn.Module, loss: Any) -> dict[str, tuple[float, Callable[[float], None]]]:  # noqa: ARG002
        """What a training method may adjust besides the optimizer's values: name -> (value, setter)."""
        drops = [m for m in model.modules() if isinstance(m, nn.Dropout)]

        def set_dropout(p: float) -> None:
            for module in drops:
                module.p = p

        return {"dropout": (drops[0].p, set_dropout)} if drops else {}

    # -- the objective -------------------------------------------------------------------------------------

    @property
    def max_step(self) -> int:
        """Epochs of a whole trial."""
        return self.epochs

    def with_config(self, config: Mapping[str, Any]) -> Self:
        """The task with the values of a nested configuration in place of its arguments.

        Names that are no arguments are left alone: `check` has judged them (parameters that only expressions use).

        Raises:
            OptionError: for a value that an argument does not allow.
        """
        arguments = {f.name for f in dataclasses.fields(self)}
        values = {name: _whole(value) for name, value in config.items() if name in arguments}
        problems = plugins.check_options(type(self), {**_required(self), **values})
        if problems:
            raise OptionError(f"{problems[0].option}: {problems[0]}", problems[0].option)
        values = plugins.coerce_options(type(self), values)
        if values.get("model", self.model) != self.model:
            # Arguments meant for another network than this trial's do not bind it.
            taken = self.model_options(values["model"])
            values = {n: None for n in self.model_arguments if n not in taken} | values
        return dataclasses.replace(self, **values).trained_by(self._methods)

    def trained_by(self, methods: Sequence[TrainingMethod]) -> Self:
        """The same task whose learners pass through `methods`, the first one innermost."""
        task = copy.copy(self)
        object.__setattr__(task, "_methods", tuple(methods))  # no argument, so no field of the dataclass
        return task

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        """Train epoch by epoch; goes on from `job.checkpoint` where there is one."""
        task = self.with_config(job.config)
        if task.torch_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(task.torch_device)
        learner = task.trained_learner(job.seed)
        epoch, seconds, metrics = task.start(learner, job)
        end = task.epochs if job.until is None else min(task.epochs, job.until)
        # Measured once a trial, also of one that is resumed: an objective must not change between its reports.
        costs = {name: metrics[name] for name in _COSTS} if metrics else task.costs()
        if epoch >= end:
            # Nothing is left to train: an attempt was lost after its last epoch, or a parent's weights are the end.
            metrics = metrics or {**task.report(learner, {"lr": learner.lr}, seconds), **costs}
            yield Progress(metrics, step=epoch, save=task.saver(learner, job, epoch, seconds, metrics))
        while epoch < end:
            begun = time.perf_counter()
            trained = learner.advance(learner.batches.batches_per_epoch)
            metrics = {**task.report(learner, trained, seconds), **costs}
            epoch += 1
            seconds += time.perf_counter() - begun
            metrics["seconds"] = seconds  # validation included
            save = task.saver(learner, job, epoch, seconds, metrics)
            yield Progress(metrics, epoch, save, data=learner.notes() if epoch == end else {})

    def costs(self) -> dict[str, float]:
        """Multiply-accumulates and milliseconds of one example through the plain network on this device."""
        data = self.load().to(self.torch_device)
        with RandomState(0).active():
            model = self.network(data).to(self.torch_device)
        generator = torch.Generator()
        example = self.fetch(data)(torch.zeros(1, dtype=torch.int64, device=self.torch_device), generator)[0]
        latency = measure_latency(model, example, seconds=_LATENCY_S)
        return {"macs": count_macs(model, example), "latency_ms": 1000 * latency}

    def report(
        self, learner: TrainingLearner, trained: Mapping[str, float], seconds: float
    ) -> dict[str, float]:
        """What is reported: `trained`, validation metrics, and what the training costs."""
        params = sum(p.numel() for p in learner.model.parameters() if p.requires_grad)
        return {
            **trained,
            **learner.evaluate(),
            "seconds": seconds,
            "params": float(params),
            "peak_memory_mb": _peak_memory_mb(self.torch_device),
        }

    def learner(
        self, seed: int, *, network: nn.Module | None = None, around: Callable[[Loss], Loss] | None = None
    ) -> TorchLearner:
        """A fresh learner of this task; equal seeds give equal ones.

        Args:
            seed: of weights, data order and noise.
            network: trained in place, instead of a fresh one.
            around: makes the training loss from the task's own.
        """
        data = self.load().to(self.torch_device)
        with RandomState(derive_seed(seed, "weights")).active():
            model = self.network(data) if network is None else network
        model.to(self.torch_device)
        batches = BatchStream(
            self.examples(data),
            self.batch_size,
            self.fetch(data),
            seed=derive_seed(seed, "batches"),
            device=self.torch_device,
        )
        loss = self.loss()
        optimizer = build_optimizer(
            model,
            self.optimizer,
            lr=peak_lr(self.lr_schedule, self.lr),
            weight_decay=self.weight_decay,
            momentum=self.momentum,
        )
        steps = self.epochs * batches.batches_per_epoch
        return TorchLearner(
            model,
            batches,
            loss if around is None else around(loss),
            optimizer,
            evaluation=functools.partial(self._named, "val", data.val, data),
            lr_schedule=build_lr_schedule(self.lr_schedule, steps, self.warmup),
            options=self.step_options(),
            seed=derive_seed(seed, "training"),
            settings=self.settings(model, loss),
        )

    def trained_learner(
        self, seed: int, *, network: nn.Module | None = None, around: Callable[[Loss], Loss] | None = None
    ) -> TrainingLearner:
        """A fresh learner, as `learner` makes it, with the task's training methods around it."""
        learner: TrainingLearner = self.learner(seed, network=network, around=around)
        for i, method in enumerate(self._methods):
            learner = method.apply(learner, self, derive_seed(seed, "method", i))
        return learner

    def start(self, learner: TrainingLearner, job: Job) -> tuple[int, float, dict[str, float]]:
        """Epoch, seconds and metrics to go on from; loads the checkpoint, if any, into `learner`.

        The trial's own checkpoint is restored exactly; from another trial's only what that has learnt is taken.
        """
        if job.checkpoint is None:
            return 0, 0.0, {}
        state = load_checkpoint(job.checkpoint)
        if state.get("task") != type(self).__name__:
            raise CheckpointError(f"{job.checkpoint} holds no checkpoint of {type(self).__name__}.")
        if state["trial"] == job.number and state["seed"] == job.seed:
            learner.restore(state["learner"])
            return state["epoch"], state["seconds"], state["metrics"]
        learner.inherit(state["learner"], state["epoch"])
        return state["epoch"], 0.0, {}

    def saver(
        self, learner: TrainingLearner, job: Job, epoch: int, seconds: float, metrics: Mapping[str, float]
    ) -> Callable[[Path], None]:
        """Writes a checkpoint of this moment into a folder."""

        def save(folder: Path) -> None:
            save_checkpoint(
                folder,
                {
                    "task": type(self).__name__,
                    "trial": job.number,
                    "seed": job.seed,
                    "epoch": epoch,
                    "seconds": seconds,
                    "metrics": dict(metrics),
                    "learner": learner.snapshot(),
                },
            )

        return save

    def finish(self, job: Job) -> dict[str, float]:
        """Test metrics of the trial whose checkpoint stands in `job`; nothing is trained.

        Raises:
            CheckpointError: if the job has no checkpoint, or one of another network.
        """
        if job.checkpoint is None:
            raise CheckpointError(
                f"trial {job.number} has no checkpoint: test metrics need the trained weights."
            )
        task = self.with_config(job.config)
        learner = task.trained_learner(job.seed)
        learner.inherit(load_checkpoint(job.checkpoint)["learner"], 0)
        return task.test_metrics(learner)

    def test_metrics(self, learner: TrainingLearner) -> dict[str, float]:
        """Metrics of a learner's network on the test data."""
        data = self.load().to(self.torch_device)
        return learner.measure(functools.partial(self._named, "test", data.test, data))

    def _named(self, split: str, examples: Batch, data: Dataset, model: nn.Module) -> dict[str, float]:
        return {f"{split}_{name}": value for name, value in self.measure(model, examples, data).items()}

    @property
    def torch_device(self) -> torch.device:
        """Where the task trains."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def step_options(self) -> StepOptions:
        """How an optimizer step is made."""
        return StepOptions(self.accumulate, self.clip_norm, self.ema, self.amp, self.deterministic)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network named by `model` with this task's options."""
        options = {name: getattr(self, name) for name in self.model_arguments}
        return build_model(self.models, self.model, shape, outputs, options, self.code_folder)

    def model_options(self, model: str) -> Mapping[str, inspect.Parameter]:
        """The options that the network called `model` takes."""
        return model_options(self.models, model, self.code_folder)

    @property
    def code_folder(self) -> Path | None:
        """What files of the user's code are relative to; None for the directory of the process."""
        return None if self.folder is None else Path(self.folder)

    # -- checks --------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> tuple[str, ...]:
        """Everything that a report holds."""
        own = ("train_loss", "val_loss", f"val_{self.own_metric}")
        return (*own, "lr", "seconds", "params", *_COSTS, "peak_memory_mb")

    def check(self, problem: Problem) -> None:
        """Refuse a study that this task cannot run, with every reason and its place in the study file.

        Raises:
            SpaceError: for parameters, values or metrics that the task does not know.
            DataError: if data files are missing.
        """
        arguments = [f.name for f in dataclasses.fields(self)]
        lines = [*metric_problems(problem, self.metrics), *parameter_problems(self, problem, arguments)]
        if lines:
            places = (line.partition(": ") for line in lines)
            raise report([SpaceError(text, tuple(place.split(".", 1))) for place, _, text in places])
        datasets = problem.space.parameters.get("dataset")
        for name in [self.dataset] if datasets is None else corners(datasets):
            self.with_config({"dataset": name}).check_data()


def _whole(value: Any) -> Any:
    """Whole numbers that an expression computed as floats, as whole numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _required(task: TrainingTask) -> dict[str, Any]:
    """Arguments that have no default in the class."""
    return {
        f.name: getattr(task, f.name)
        for f in dataclasses.fields(task)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }


def _peak_memory_mb(device: torch.device) -> float:
    """Largest memory of the device used by torch since the trial began; on a CPU that of the process ever."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere
