"""AutoLRS for anybody's training loop: finds the learning rate while the network trains."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.learning import LrSchedule, RandomState, Recorded, Stateful
from autosearch.learning.checkpoints import detached
from autosearch.learning.lr_schedules import Cosine
from autosearch.methods.autolrs.controller import Controller
from autosearch.methods.autolrs.replay import Replay
from autosearch.methods.autolrs.settings import resolve

# Their step sizes come from elsewhere: what is written into `lr` is at most a factor of it.
_OWN_STEP_SIZE = ("prodigy", "dadapt", "schedulefree", "mechanic", "dog", "lbfgs", "rprop")


@dataclass(frozen=True, slots=True)
class StepInfo:
    """What `AutoLRS.step` did.

    Attributes:
        phase: of the step just made: warmup, range, search or train.
        counts_as_training: it was not, and will not be, rolled back for sure; drive loggers and averages by this.
        stage: from 0.
        lr: of the next step.
        steps: steps that the network has behind it.
        total_steps: steps made, search included.
    """

    phase: str
    counts_as_training: bool
    stage: int
    lr: float
    steps: int
    total_steps: int


class AutoLRS:
    """Searches the learning rate in short trials from one state, which it puts back itself.

        scheduler = AutoLRS(optimizer, model, total_steps=5000)
        for x, y in scheduler.batches(loader):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step(loss)

    `total_steps` counts every optimizer step, search included. Weights, buffers, optimizer, global random state and
    the place in `batches` are put back; whatever else changes in a step belongs into `extra_state`. Ratios between
    the learning rates of parameter groups are kept. Under torch.distributed the loss of rank 0 decides for all.

    Source: Jin et al. 2021, "AutoLRS: Automatic Learning-Rate Schedule by Bayesian Optimization on the Fly".
    `preset="paper"` is that algorithm without the faults of its code; `modern` differs as the method's README says.

    Args:
        optimizer: over the parameters of `model`.
        model: network.
        preset: modern or paper.
        total_steps: length of the run; the paper's search may go on without an end.
        lr_range: smallest and largest learning rate; None (modern): around the optimizer's.
        base: modern: factor of the learning rate at a step; None: a cosine over `total_steps`.
        val_loss: computes the validation loss; None: the training loss decides.
        extra_state: loss scaler, averaged weights and the like, each with `state_dict` and `load_state_dict`.
        seed: of the search.
        options: fields of `Settings`.

    Raises:
        OptionError: for an option that fits no run, or an optimizer that sets its own step size.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        *,
        preset: str = "modern",
        total_steps: int | None = None,
        lr_range: tuple[float, float] | None = None,
        base: LrSchedule | None = None,
        val_loss: Callable[[], float] | None = None,
        extra_state: Iterable[Stateful] = (),
        seed: int = 0,
        **options: Any,
    ) -> None:
        refuse_own_step_size(optimizer)
        self.optimizer = optimizer
        self.model = model
        self.val_loss = val_loss
        self._extra = list(extra_state)
        first = float(optimizer.param_groups[0]["lr"])
        if not first > 0:
            raise OptionError(f"lr: the first group's must be above 0, got {first}.", "lr")
        self._ratios = [float(group["lr"]) / first for group in optimizer.param_groups]
        settings = resolve(preset, lr=first, lr_range=lr_range, total_steps=total_steps, options=options)
        if preset == "modern" and base is None:
            base = Cosine(total_steps or 1)
        self.controller = Controller(settings, base, seed=seed, validates=val_loss is not None)
        self.device = next(model.parameters()).device
        self._snapshots: dict[str, Any] = {}
        self._replay = Replay()
        self._carry_out(self.controller.begin())
        self._set_lr()

    # -- training ------------------------------------------------------------------------------------------

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Batches of `loader`, epoch after epoch, until `total_steps` are spent; candidates see the same ones."""
        self._replay.attach(loader)
        total = self.controller.settings.total_steps
        while total is None or self.controller.spent < total:
            yield self._replay.next()

    def step(self, loss: torch.Tensor | float) -> StepInfo:
        """Call after each `optimizer.step()` with the loss that it was made for.

        Raises:
            FloatingPointError: if training diverges again and again.
        """
        controller = self.controller
        phase, stage = controller.state.phase, controller.state.stage
        value = self._agreed(float(loss.detach()) if isinstance(loss, torch.Tensor) else float(loss))
        validate = None if self.val_loss is None else self._validate
        self._carry_out(controller.observe(value, validate))
        self._set_lr()
        trained = phase in ("warmup", "train")
        return StepInfo(phase, trained, stage, controller.lr, controller.state.steps, controller.spent)

    def get_last_lr(self) -> list[float]:
        """Learning rate of each parameter group for the next step."""
        return [self.controller.lr * ratio for ratio in self._ratios]

    @property
    def history(self) -> list[tuple[int, float]]:
        """(step, learning rate) of the steps that the network has behind it, where it changed by over 1 %."""
        return list(self.controller.state.trace)

    @property
    def search_steps(self) -> int:
        """Steps that were rolled back."""
        return self.controller.state.lost

    def export_schedule(self) -> Recorded:
        """What was found, as factors of the largest learning rate, for `LambdaLR` or a study; costs no search.

        Its optimizer starts from `max(lr for _, lr in history)`.

        Raises:
            OptionError: before the first step.
        """
        return recorded(self.controller)

    def _set_lr(self) -> None:
        for group, lr in zip(self.optimizer.param_groups, self.get_last_lr(), strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def _validate(self) -> float:
        """The user's validation loss, with the network's modes and the random state as they were."""
        kept = RandomState.present(self.device)
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with torch.no_grad():
                value = float(self.val_loss()) if self.val_loss is not None else math.nan
        finally:
            for module, training in modes:
                module.training = training
            kept.apply()
        return self._agreed(value)

    def _agreed(self, value: float) -> float:
        """Rank 0's value on every rank, so that all decide alike."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(told, src=0)
        return float(told)

    # -- rewinding -----------------------------------------------------------------------------------------

    def _carry_out(self, actions: Iterable[tuple[str, str]]) -> None:
        for verb, name in actions:
            if verb == "store":
                self._snapshots[name] = self._snapshot()
            elif verb == "restore":
                self._restore(self._snapshots[name])
            else:
                self._snapshots.pop(name, None)
        marks = [snapshot["place"] for snapshot in self._snapshots.values()]
        self._replay.keep_from(min(marks, default=self._replay.place))

    def _snapshot(self) -> dict[str, Any]:
        state = {
            "model": self.model.state_dict(),
            "hidden": dict(self.model.named_buffers()),
            "optimizer": self.optimizer.state_dict(),
            "extra": [part.state_dict() for part in self._extra],
            "random": RandomState.present(self.device).state_dict(),
            "place": self._replay.place,
        }
        copy: dict[str, Any] = detached(state)
        return copy

    def _restore(self, snapshot: Mapping[str, Any]) -> None:
        self.model.load_state_dict(snapshot["model"])
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(snapshot["hidden"][name])
        # Copies: torch keeps the tensors that it is given and would train inside the snapshot.
        self.optimizer.load_state_dict(detached(snapshot["optimizer"]))
        for part, state in zip(self._extra, snapshot["extra"], strict=True):
            part.load_state_dict(detached(state))
        random = RandomState.present(self.device)
        random.load_state_dict(snapshot["random"])
        random.apply()
        self._replay.place = snapshot["place"]

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs besides model, optimizer and `extra_state`, random state included."""
        return {
            "controller": self.controller.state_dict(),
            "snapshots": detached(self._snapshots),
            "ratios": list(self._ratios),
            "random": RandomState.present(self.device).state_dict(),
            "replay": self._replay.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; load model, optimizer and `extra_state` before.

        A loader given to `batches` afterwards must repeat its order from the start: as many batches are skipped.
        """
        self.controller.load_state_dict(state["controller"])
        self._snapshots = detached(state["snapshots"])
        self._ratios = list(state["ratios"])
        self._replay.load_state_dict(state["replay"])
        random = RandomState.present(self.device)
        random.load_state_dict(state["random"])
        random.apply()
        self._set_lr()


def refuse_own_step_size(optimizer: torch.optim.Optimizer) -> None:
    """Raises OptionError for an optimizer on which a learning rate means nothing."""
    kind = f"{type(optimizer).__module__}.{type(optimizer).__name__}".lower()
    own = any(word in type(optimizer).__name__.lower() for word in _OWN_STEP_SIZE)
    relative = any(group.get("relative_step") for group in optimizer.param_groups)
    if own or relative or any("lr" not in group for group in optimizer.param_groups):
        raise OptionError(
            f"optimizer: {kind} sets its own step size, so there is no learning rate to search. Use sgd or adamw.",
            "optimizer",
        )


def recorded(controller: Controller) -> Recorded:
    """The learning rates of the steps that a network has behind it, as factors of the largest."""
    trace = controller.state.trace
    if not trace:
        raise OptionError("export_schedule: nothing has been trained yet.", "steps")
    peak = max(lr for _, lr in trace)
    return Recorded(controller.state.steps, tuple((step - trace[0][0], lr / peak) for step, lr in trace))
