"""Self-tuning inside a task: `training: [{method: stn, tune: {dropout: {low: 0, high: 0.9}}}]`."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from autosearch.core.errors import OptionError
from autosearch.core.seeds import derive_seed
from autosearch.learning import (
    Batch,
    BatchStream,
    CheckpointError,
    LearnerWrapper,
    LrSchedule,
    RandomState,
    TorchLearner,
    TrainingLearner,
)
from autosearch.methods.stn.augment import AUGMENTATIONS, IMAGES_ONLY, augment
from autosearch.methods.stn.binding import bind
from autosearch.methods.stn.hyper import check_ranges
from autosearch.methods.stn.penalties import PENALTIES
from autosearch.methods.stn.settings import resolve
from autosearch.methods.stn.tuner import DeltaSTN, Values
from autosearch.methods.stn.validation import warn_if_few
from autosearch.space import did_you_mean
from autosearch.tasks.classification import CrossEntropy
from autosearch.tasks.training import TrainingTask

_FROM_TASK = (
    "dropout",
    "weight_decay",
    "label_smoothing",
)  # arguments of tasks, whose values are where tuning starts
_KNOWN = (*_FROM_TASK, *PENALTIES, *AUGMENTATIONS)
_AUGMENTING = {"crop": 0, "flip": False, "cutout": 0, "mixup": 0.0, "label_smoothing": 0.0}
_NOTED = 200  # values of each hyperparameter that a trial keeps
_WARMUP = 0.05  # share of a run in which responses are learnt before hyperparameters move


class STNTraining:
    """Tunes dropout, weight decay and the like of a task's run while it trains; `epochs` count what a plain run costs.

    With `count: cost`, an epoch is as many steps as cost what a plain epoch does, so that a run of the same `epochs`
    costs the same with and without; with `count: steps` it is a pass over the data.

    Args:
        tune: dropout (all layers; `dropout.PATH` for one; `per_layer: true`), weight_decay, label_smoothing,
            activation_penalty, temporal_penalty, input_noise, input_scale, brightness, contrast, shift, cutout_length,
            cutout_holes -> `low`, `high`, `init`, `log`, `discrete`, `shared`, `sigma`.
        preset: modern (Delta-STN) or paper (STN).
        count: what an epoch is: cost or steps.
        warmup: share of the run before hyperparameters move, in [0, 1).
        exclude: paths of layers to leave without a response.
        unknown: what to do with trainable layers without a known response: refuse or plain.
        options: fields of `autosearch.methods.stn.settings.Settings`.
    """

    standalone = "autosearch.DeltaSTN"

    def __init__(
        self,
        tune: Mapping[str, Mapping[str, Any]],
        preset: str = "modern",
        *,
        count: Literal["cost", "steps"] = "cost",
        warmup: float = _WARMUP,
        exclude: tuple[str, ...] = (),
        unknown: Literal["refuse", "plain"] = "refuse",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        check_ranges(tune)
        for name in tune:
            if name not in _KNOWN and not name.startswith("dropout."):
                raise OptionError(
                    f"tune.{name}: unknown.{did_you_mean(name, _KNOWN)} Known: {', '.join(_KNOWN)}.", "tune"
                )
        if not 0 <= warmup < 1:
            raise OptionError(f"warmup: a share of the run in [0, 1), got {warmup}.", "warmup")
        self.tune = {name: dict(options) for name, options in tune.items()}
        self.preset, self.count, self.warmup = preset, count, warmup
        self.exclude, self.unknown = exclude, unknown
        self.options = dict(options or {})
        if "warmup" in self.options:
            raise OptionError("options.warmup: is given as a share, by `warmup` beside `options`.", "options")
        self.cost = resolve(preset, self.options).cost if count == "cost" else 1.0
        _rehearse(self.tune)

    @staticmethod
    def takes(options: Mapping[str, Any]) -> Collection[str]:
        """Arguments of tasks that are tuned."""
        tune = options.get("tune")
        names = {name.split(".")[0] for name in tune} if isinstance(tune, Mapping) else set()
        return names.intersection(_FROM_TASK)

    def apply(self, learner: TrainingLearner, task: TrainingTask, seed: int) -> TrainingLearner:
        """The learner with hyperparameters tuned."""
        if not isinstance(learner, TorchLearner):
            raise OptionError(
                "stn changes the network's own steps: list it before the other methods of `training`.",
                "training",
            )
        options = learner.options
        if options.amp == "fp16":
            raise OptionError(
                "amp: stn works with none and bf16; fp16 would need loss scales of its own.", "amp"
            )
        if options.ema and self.preset == "paper":
            raise OptionError(
                "ema: averaged weights have no responses, which the paper's networks evaluate with.", "ema"
            )
        data = task.load().to(task.torch_device)
        off: dict[str, Any] = {name: value for name, value in _AUGMENTING.items() if hasattr(task, name)}
        plain = dataclasses.replace(task, **off)
        held_out = dataclasses.replace(data, train=data.val)
        validation = BatchStream(
            plain.examples(held_out),
            task.batch_size,
            plain.fetch(held_out),
            seed=derive_seed(seed, "validation"),
            device=task.torch_device,
        )
        steps = round(task.epochs * learner.batches.batches_per_epoch / self.cost)
        tune = _started(self.tune, learner.values)
        warn_if_few(validation.size, len(tune))
        self._check_inputs(data.train[0])
        with RandomState(derive_seed(seed, "responses"), learner.device).active():
            tuner = DeltaSTN(
                learner.model,
                learner.optimizer,
                tune,
                loss=functools.partial(_training_loss, learner.loss),
                val_loss=plain.loss(),
                validation=validation,
                preset=self.preset,
                exclude=self.exclude,
                unknown=self.unknown,
                warmup=round(self.warmup * steps),
                **self.options,
            )
        _check_smoothing(tune, learner.loss)
        return STNLearner(learner, tuner, self.cost)

    def _check_inputs(self, inputs: torch.Tensor) -> None:
        asked = [name for name in self.tune if name in AUGMENTATIONS]
        images = [name for name in asked if name in IMAGES_ONLY]
        if asked and not inputs.is_floating_point():
            raise OptionError(
                f"tune.{asked[0]}: changes numbers, and the inputs of this task are tokens.", "tune"
            )
        if images and inputs.ndim != 4:
            raise OptionError(
                f"tune.{images[0]}: changes images, and the inputs of this task are none.", "tune"
            )


def _rehearse(tune: Mapping[str, Mapping[str, Any]]) -> None:
    """Judge the hyperparameters before any trial, with a network that has a dropout layer wherever one is named."""
    model = nn.Sequential(nn.Dropout(0.1))
    plain = {name.split(".")[0]: options for name, options in tune.items()}
    try:
        bind(model, torch.optim.SGD([torch.zeros(1)], lr=1.0), plain)
    except OptionError as error:
        raise OptionError(f"tune.{error}", "tune") from error


def _started(
    tune: Mapping[str, Mapping[str, Any]], values: Mapping[str, float]
) -> dict[str, Mapping[str, Any]]:
    """Hyperparameters that start where the task has them, if that is inside their range."""
    started: dict[str, Mapping[str, Any]] = {}
    for name, options in tune.items():
        value = values.get(name.split(".")[0])
        low, high = options.get("low"), options.get("high")
        inside = value is not None and (low is None or value > low) and (high is None or value < high)
        started[name] = {"init": value, **options} if inside else options
    return started


def _training_loss(plain: Any, model: Callable[..., Any], batch: Batch, values: Values) -> torch.Tensor:
    """The task's training loss with augmentation and label smoothing of a strength for each example."""
    if any(name in values for name in AUGMENTATIONS):
        batch = (augment(batch[0], values), *batch[1:])
    if "label_smoothing" not in values:
        loss: torch.Tensor = plain(model, batch)
        return loss
    logits = model(batch[0])
    share = values["label_smoothing"]
    hard = functional.cross_entropy(logits, batch[1], reduction="none")
    return ((1 - share) * hard - share * functional.log_softmax(logits, 1).mean(1)).mean()


def _check_smoothing(tune: Mapping[str, Any], loss: Any) -> None:
    if "label_smoothing" in tune and not isinstance(loss, CrossEntropy):
        raise OptionError("tune.label_smoothing: the task has no loss over classes.", "tune")


class STNLearner(LearnerWrapper):
    """A learner whose optimizer steps are followed by those of responses and hyperparameters.

    Args:
        inner: the learner that makes the steps.
        tuner: over its network.
        cost: of a step, in plain ones; an epoch has that many fewer.
    """

    def __init__(self, inner: TorchLearner, tuner: DeltaSTN, cost: float) -> None:
        super().__init__(inner)
        self.core = inner
        self.tuner = tuner
        self.cost = cost
        # Counts epochs for those who ask; the batches themselves come from the inner learner's own stream.
        self._counted = copy.copy(inner.batches)
        self._counted.batches_per_epoch = max(1, round(inner.batches.batches_per_epoch / cost))
        self._stretch = inner.batches.batches_per_epoch / self._counted.batches_per_epoch
        if self._stretch != 1:
            inner.lr_schedule = functools.partial(_stretched, inner.lr_schedule, self._stretch)
        self._plain_step = inner.train_step
        inner.loss = self._loss
        # `advance` of the inner learner then does all: random state, divergence, deterministic algorithms.
        inner.train_step = self._train_step  # type: ignore[method-assign]

    def _loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:  # noqa: ARG002 - the tuner has the network
        return self.tuner.loss(batch)

    def _train_step(self, batch: Batch) -> torch.Tensor:
        loss = self._plain_step(batch)
        with self._autocast():
            self.tuner.step(batch)
        return loss

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.core.options.amp == "none":
            return nullcontext()
        return torch.autocast(self.core.device.type, torch.bfloat16)

    @property
    def batches(self) -> BatchStream:
        """Counts epochs; an epoch is shorter by what a step costs more."""
        return self._counted

    def advance(self, steps: int) -> dict[str, float]:
        """Train for `steps` optimizer steps of the network; metrics hold the values as they stand then."""
        metrics = self.inner.advance(steps)
        values = {f"tuned_{name}": value for name, value in self.tuner.values.items()}
        scales = {f"tuned_{name}_sigma": value for name, value in self.tuner.sigma.items()}
        return {
            **metrics,
            **values,
            **scales,
            "response_norm": self.tuner.converted.response_norm(),
            "plain_steps": self.core.step * self.tuner.settings.cost,
        }

    def notes(self) -> dict[str, Any]:
        """The course of the hyperparameters, as `ScheduleReplay` takes it."""
        return {**self.inner.notes(), "tuned": self.tuner.schedule(_NOTED)}

    def snapshot(self) -> dict[str, Any]:
        """All state, the tuner's included."""
        return {"inner": self.inner.snapshot(), "tuner": self.tuner.own_state()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to `snapshot`."""
        self.inner.restore(_part(snapshot, "inner"))
        self.tuner.load_state_dict(snapshot["tuner"])

    def inherit(self, snapshot: Mapping[str, Any], epoch: int) -> None:
        """Go on from another run's weights, with its responses and the values that it had found."""
        self.inner.inherit(_part(snapshot, "inner"), epoch)
        self.core.step = epoch * self._counted.batches_per_epoch
        self.tuner.load_state_dict({k: v for k, v in snapshot["tuner"].items() if k != "validation"})


def _part(snapshot: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if "tuner" not in snapshot:
        raise CheckpointError("the checkpoint was not trained by stn: it has no responses.")
    part: Mapping[str, Any] = snapshot[name]
    return part


def _stretched(plain: LrSchedule, factor: float, step: int) -> float:
    return plain(round(step * factor))
