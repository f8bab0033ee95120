"""A PyTorch training process that can be stepped, adjusted, and rewound exactly."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.learning.averaging import WeightAverage
from autosearch.learning.checkpoints import CheckpointError, detached
from autosearch.learning.lr_schedules import Constant, LrSchedule
from autosearch.learning.random_state import RandomState
from autosearch.learning.streams import Batch, BatchStream
from autosearch.space import did_you_mean

Loss = Callable[[nn.Module, Batch], torch.Tensor]
Evaluation = Callable[[nn.Module], Mapping[str, float]]
Setter = Callable[[float], None]

# Looking at the loss makes a GPU wait; once in so many steps a divergence is still noticed early.
_CHECK_EVERY = 50


class Stateful(Protocol):
    """Anything with a state that a snapshot must hold."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How one optimizer step is made.

    Attributes:
        accumulate: parts into which each batch is cut; gradients are summed, so the step is that of the whole batch.
        clip_norm: largest norm of the whole gradient, None without limit.
        ema: decay of the average of the weights that is evaluated, in (0, 1); 0 for none.
        amp: `none`, or automatic mixed precision in `bf16` or `fp16` (with loss scaling).
        deterministic: refuse torch's non-deterministic algorithms while training.
    """

    accumulate: int = 1
    clip_norm: float | None = None
    ema: float = 0.0
    amp: Literal["none", "bf16", "fp16"] = "none"
    deterministic: bool = False

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise OptionError(f"accumulate: at least 1, got {self.accumulate}.", "accumulate")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise OptionError(f"clip_norm: above 0 or none, got {self.clip_norm}.", "clip_norm")
        if not 0 <= self.ema < 1:
            raise OptionError(f"ema: a decay in [0, 1), got {self.ema}.", "ema")
        if self.amp not in ("none", "bf16", "fp16"):
            raise OptionError(f"amp: none, bf16 or fp16, got {self.amp!r}.", "amp")


class TorchLearner:
    """Trains a network; `restore(snapshot())` is the identity, bit for bit on a CPU.

    A snapshot holds weights, buffers, optimizer, averaged weights, loss scale, adjusted values, step, place in the
    data, random state (python, numpy, torch) and `extra`. It consists of plain tensors and containers, shares no
    memory with the run, and may be restored any number of times. Global random state is the run's own inside
    `advance` and `evaluate` and the caller's outside.

    Args:
        model: network, in training mode; modules that the caller has put into eval mode stay there.
        batches: endless training batches.
        loss: mean loss of a batch, from network and batch.
        optimizer: over the network's parameters. Learning rates and weight decays of its groups keep their ratios;
            `decay_scale` in a group overrides its ratio.
        evaluation: validation metrics of a network in eval mode, computed without gradients.
        lr_schedule: factor of the learning rate at an optimizer step.
        options: how a step is made.
        seed: of dropout and all else that is random inside the network.
        settings: further values that `adjust` may set: name -> (present value, function that sets it).
        extra: objects whose state belongs to a snapshot as well.

    Attributes:
        step: optimizer steps made.
        values: what `adjust` may set, as it stands; `lr` before the lr schedule's factor.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: BatchStream,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        *,
        evaluation: Evaluation | None = None,
        lr_schedule: LrSchedule | None = None,
        options: StepOptions | None = None,
        seed: int = 0,
        settings: Mapping[str, tuple[float, Setter]] | None = None,
        extra: Mapping[str, Stateful] | None = None,
    ) -> None:
        self.model = model
        self.batches = batches
        self.loss = loss
        self.optimizer = optimizer
        self.evaluation = evaluation
        self.lr_schedule = lr_schedule or Constant()
        self.options = options or StepOptions()
        self.step = 0
        self.device = next(model.parameters()).device
        self.average = WeightAverage(model, self.options.ema) if self.options.ema else None
        self._random = RandomState(seed, self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.options.amp == "fp16")
        self._extra = dict(extra or {})
        self._lr_scales = _ratios(optimizer, "lr")
        self._decay_scales = _ratios(optimizer, "weight_decay")
        self._setters: dict[str, Setter] = {"lr": self._set_lr}
        self.values: dict[str, float] = {"lr": float(optimizer.param_groups[0]["lr"])}
        if "weight_decay" in optimizer.defaults:
            self._setters["weight_decay"] = self._set_weight_decay
            self.values["weight_decay"] = max(float(g["weight_decay"]) for g in optimizer.param_groups)
        if "momentum" in optimizer.defaults or "betas" in optimizer.defaults:
            self._setters["momentum"] = self._set_momentum
            first = optimizer.param_groups[0]
            self.values["momentum"] = float(first["momentum"] if "momentum" in first else first["betas"][0])
        for name, (value, setter) in (settings or {}).items():
            self._setters[name], self.values[name] = setter, float(value)

    # -- training ------------------------------------------------------------------------------------------

    def advance(self, steps: int) -> dict[str, float]:
        """Train for `steps` optimizer steps; returns `train_loss`, their mean, and `lr`, the last one used.

        Raises:
            FloatingPointError: if the loss is not finite.
        """
        if steps < 1:
            raise OptionError(f"advance: at least one step, got {steps}.", "steps")
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with self._random.active(), self._algorithms():
            for i in range(1, steps + 1):
                total += self.train_step(next(self.batches))
                if i % _CHECK_EVERY == 0 or i == steps:
                    self._refuse_divergence(total)
        return {"train_loss": float(total) / steps, "lr": self.lr}

    def train_step(self, batch: Batch) -> torch.Tensor:
        """One optimizer step on `batch`; returns its mean loss, detached."""
        self._set_lr(self.values["lr"])
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        if self.options.clip_norm is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.step += 1
        if self.average is not None:
            self.average.update(self.model)
        return loss

    def _backward(self, batch: Batch) -> torch.Tensor:
        if self.options.accumulate == 1:
            with self._autocast():
                loss = self.loss(self.model, batch)
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        size = len(batch[0])
        total = torch.zeros((), device=self.device)
        for part in zip(*(tensor.chunk(self.options.accumulate) for tensor in batch), strict=True):
            with self._autocast():
                loss = self.loss(self.model, part) * (len(part[0]) / size)
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.options.amp == "none":
            return nullcontext()
        return torch.autocast(
            self.device.type, torch.bfloat16 if self.options.amp == "bf16" else torch.float16
        )

    @contextmanager
    def _algorithms(self) -> Iterator[None]:
        if not self.options.deterministic:
            yield
            return
        before = torch.are_deterministic_algorithms_enabled()
        warn = torch.is_deterministic_algorithms_warn_only_enabled()
        tuned = torch.backends.cudnn.benchmark
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn)
            torch.backends.cudnn.benchmark = tuned

    def _refuse_divergence(self, total: torch.Tensor) -> None:
        if not torch.isfinite(total):
            values = ", ".join(f"{name}={value:g}" for name, value in self.values.items())
            raise FloatingPointError(
                f"training diverged: the loss is not finite at step {self.step} ({values})."
            )

    # -- evaluation ----------------------------------------------------------------------------------------

    @property
    def evaluated_model(self) -> nn.Module:
        """The network that is evaluated: the averaged one where there is an average."""
        return self.model if self.average is None else self.average.module

    def evaluate(self) -> dict[str, float]:
        """Validation metrics; changes no state that training depends on."""
        if self.evaluation is None:
            raise OptionError("evaluate: the learner was made without `evaluation`.", "evaluation")
        return self.measure(self.evaluation)

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """Metrics by another evaluation, such as one on test data; changes no state either."""
        model = self.evaluated_model
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            with self._random.preserved(), torch.no_grad():
                return dict(evaluation(model))
        finally:
            for module, training in modes:
                module.training = training

    # -- adjusting -----------------------------------------------------------------------------------------

    @property
    def lr(self) -> float:
        """Learning rate of the first parameter group in the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def adjust(self, values: Mapping[str, float]) -> None:
        """Set tunable values from the next step on: those in `values` of this learner.

        Raises:
            OptionError: for a name that cannot be set; nothing is set then.
        """
        for name in values:
            if name not in self._setters:
                hint = did_you_mean(name, self._setters)
                raise OptionError(
                    f"adjust: no value {name!r}.{hint} Known: {', '.join(self._setters)}.", name
                )
        for name, value in values.items():
            self.values[name] = float(value)
            self._setters[name](float(value))

    def _set_lr(self, lr: float) -> None:
        now = lr * self.lr_schedule(self.step)
        for group, scale in zip(self.optimizer.param_groups, self._lr_scales, strict=True):
            group["lr"] = now * scale

    def _set_weight_decay(self, weight_decay: float) -> None:
        for group, scale in zip(self.optimizer.param_groups, self._decay_scales, strict=True):
            group["weight_decay"] = weight_decay * scale

    def _set_momentum(self, momentum: float) -> None:
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    # -- rewinding -----------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All state, detached from later training; plain tensors and containers."""
        state = {
            "step": self.step,
            "values": self.values,
            "model": _model_state(self.model),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_kind": type(self.optimizer).__name__,
            "average": None,
            "scaler": self._scaler.state_dict(),
            "batches": self.batches.state_dict(),
            "random": self._random.state_dict(),
            "extra": {name: part.state_dict() for name, part in self._extra.items()},
        }
        if self.average is not None:
            state["average"] = {"model": _model_state(self.average.module), "updates": self.average.updates}
        copy: dict[str, Any] = detached(state)
        return copy

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to `snapshot`, of this learner or one built alike.

        Raises:
            CheckpointError: if the snapshot belongs to another network, optimizer or set-up.
        """
        if snapshot["optimizer_kind"] != type(self.optimizer).__name__:
            raise CheckpointError(
                f"the snapshot was trained by {snapshot['optimizer_kind']}, the learner has "
                f"{type(self.optimizer).__name__}."
            )
        if set(snapshot["extra"]) != set(self._extra):
            raise CheckpointError(f"the snapshot holds {set(snapshot['extra'])}, not {set(self._extra)}.")
        self._load_weights(snapshot)
        # A copy: torch keeps the tensors that it is given and would train inside the snapshot.
        self.optimizer.load_state_dict(detached(snapshot["optimizer"]))
        self._scaler.load_state_dict(dict(snapshot["scaler"]))
        self.batches.load_state_dict(snapshot["batches"])
        self._random.load_state_dict(snapshot["random"])
        for name, part in self._extra.items():
            part.load_state_dict(detached(snapshot["extra"][name]))
        # Values before the step: setting the lr would otherwise apply the factor of a later step.
        self.step = snapshot["step"]
        kept = [group["lr"] for group in self.optimizer.param_groups]
        self.adjust(snapshot["values"])
        for group, lr in zip(self.optimizer.param_groups, kept, strict=True):
            group["lr"] = lr

    def inherit(self, snapshot: Mapping[str, Any], epoch: int) -> None:
        """Go on from another run's weights with this run's own values, data order and random state.

        Statistics of the optimizer are taken over where both use the same one.

        Args:
            snapshot: of the other run; the network must have the same shapes.
            epoch: where the data and the lr schedule go on.

        Raises:
            CheckpointError: if the networks differ.
        """
        self._load_weights(snapshot)
        own = self.optimizer.state_dict()
        if snapshot["optimizer_kind"] == type(self.optimizer).__name__:
            self.optimizer.load_state_dict({**own, "state": detached(snapshot["optimizer"]["state"])})
        self.batches.seek(epoch)
        self.step = epoch * self.batches.batches_per_epoch

    def notes(self) -> dict[str, Any]:
        """JSON to keep with a trial that has ended: nothing of a plain learner's."""
        return {}

    def _load_weights(self, snapshot: Mapping[str, Any]) -> None:
        _load_model(self.model, snapshot["model"])
        if self.average is None:
            return
        averaged = snapshot["average"] or {"model": snapshot["model"], "updates": 0}
        _load_model(self.average.module, averaged["model"])
        self.average.updates = averaged["updates"]


def _ratios(optimizer: torch.optim.Optimizer, name: str) -> list[float]:
    """Each group's value relative to the one that is called the value: the first lr, the largest weight decay."""
    found = [float(group.get(name, 0.0)) for group in optimizer.param_groups]
    whole = found[0] if name == "lr" else max(found)
    ratios = [value / whole if whole else 1.0 for value in found]
    if name != "weight_decay":
        return ratios
    return [float(g.get("decay_scale", r)) for g, r in zip(optimizer.param_groups, ratios, strict=True)]


def _model_state(model: nn.Module) -> dict[str, Any]:
    """Parameters and every buffer, those that `state_dict` leaves out included: they may be running statistics."""
    state = model.state_dict()
    hidden = {name: buffer for name, buffer in model.named_buffers() if name not in state}
    return {"state": state, "hidden": hidden}


def _load_model(model: nn.Module, state: Mapping[str, Any]) -> None:
    try:
        model.load_state_dict(state["state"])
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint belongs to another network: {error}") from error
    buffers = dict(model.named_buffers())
    with torch.no_grad():
        for name, buffer in state["hidden"].items():
            buffers[name].copy_(buffer)
