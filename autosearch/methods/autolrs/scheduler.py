"""AutoLRS for anybody's training loop: finds the learning rate while the network trains."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from autosearch.core.errors import OptionError
from autosearch.learning import LrSchedule, RandomState, Recorded, Stateful
from autosearch.learning.checkpoints import detached
from autosearch.learning.lr_schedules import Cosine
from autosearch.learning.lr_torch import factors_of
from autosearch.methods.autolrs.controller import Controller
from autosearch.methods.autolrs.replay import Replay
from autosearch.methods.autolrs.rewinding import Rewind
from autosearch.methods.autolrs.settings import resolve
from autosearch.methods.autolrs.side_by_side import LoopJob, SideBySide, TrainStep, number, packed, unpacked

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
    the learning rates of parameter groups are kept. Under torch.distributed the first rank's losses decide for all.

    Source: Jin et al. 2021, "AutoLRS: Automatic Learning-Rate Schedule by Bayesian Optimization on the Fly".
    `preset="paper"` is that algorithm without the faults of its code; `modern` differs as the method's README says.

    Args:
        optimizer: over the parameters of `model`.
        model: network.
        preset: modern or paper.
        total_steps: length of the run; the paper's search may go on without an end.
        lr_range: smallest and largest learning rate; None (modern): around the optimizer's.
        base: modern: factor of the learning rate at a step, or a torch lr scheduler whose learning rates from here on
            are followed (its own `step` is not called); None: a cosine over `total_steps`.
        val_loss: computes the validation loss; None: the training loss decides.
        extra_state: loss scaler, averaged weights and the like, each with `state_dict` and `load_state_dict`.
        process_group: of torch.distributed, whose first rank decides; None for the default group.
        executor: of processes that try candidates side by side. `batches` then makes a search's steps itself, with
            `train_step`; model, optimizer, `extra_state`, `train_step` and `val_loss` must pickle, and the loader must
            draw from a generator of its own.
        train_step: makes one optimizer step, from model, optimizer and batch; returns the loss.
        seed: of the search.
        options: fields of `Settings`.

    Raises:
        OptionError: for an option that fits no run, or an optimizer that sets its own step size.
    """

    def __init__(  # noqa: PLR0913 - all but two are keywords that most loops leave out
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        *,
        preset: str = "modern",
        total_steps: int | None = None,
        lr_range: tuple[float, float] | None = None,
        base: LrSchedule | LRScheduler | None = None,
        val_loss: Callable[[], float] | None = None,
        extra_state: Iterable[Stateful] = (),
        process_group: torch.distributed.ProcessGroup | None = None,
        executor: Executor | None = None,
        train_step: TrainStep | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        refuse_own_step_size(optimizer)
        self.optimizer = optimizer
        self.model = model
        self.val_loss = val_loss
        first = next(model.parameters(), None)
        if first is None:
            raise OptionError("model: has no parameters, so there is nothing to train.", "model")
        self.device = first.device
        self._group = process_group
        peaks = [float(group["lr"]) for group in optimizer.param_groups]
        if isinstance(base, LRScheduler):
            if total_steps is None:
                raise OptionError("total_steps: needed to follow a torch lr scheduler.", "total_steps")
            base, peaks = factors_of(base, total_steps)
        elif preset == "modern" and base is None:
            base = Cosine(total_steps or 1)
        if not peaks[0] > 0:
            raise OptionError(f"lr: the first group's must be above 0, got {peaks[0]}.", "lr")
        self._ratios = [peak / peaks[0] for peak in peaks]
        settings = resolve(preset, lr=peaks[0], lr_range=lr_range, total_steps=total_steps, options=options)
        self.controller = Controller(settings, base, seed=seed, validates=val_loss is not None)
        self._rewind = Rewind(model, optimizer, extra_state)
        self._snapshots: dict[str, Any] = {}
        self._replay = Replay()
        self._train_step = train_step
        self._beside = None if executor is None else self._side_by_side(executor)
        self._carry_out(self.controller.begin())
        self._set_lr()

    def _side_by_side(self, executor: Executor) -> SideBySide:
        if self._train_step is None:
            raise OptionError(
                "train_step: with an executor, the function that makes one optimizer step.", "train_step"
            )
        if isinstance(executor, ThreadPoolExecutor):
            raise OptionError(
                "executor: threads share torch's random state; give a ProcessPoolExecutor that spawns.",
                "executor",
            )
        if self._distributed:
            raise OptionError("executor: not together with torch.distributed.", "executor")
        return SideBySide(executor, self.controller.settings.side_by_side)

    # -- training ------------------------------------------------------------------------------------------

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Batches of `loader`, epoch after epoch, until `total_steps` are spent; candidates see the same ones."""
        self._replay.attach(loader)
        if self.controller.spent == 0 and "stage" in self._snapshots:
            # Since the constructor somebody may have seeded, or drawn: the first candidate begins here like the others.
            self._snapshots["stage"] = self._snapshot()
        total = self.controller.settings.total_steps
        while total is None or self.controller.spent < total:
            if self._beside is not None and self.controller.state.phase == "search":
                self._try_elsewhere(self._beside)
            else:
                yield self._replay.next()

    def _try_elsewhere(self, beside: SideBySide) -> None:
        """One whole candidate, whose steps another process makes."""
        controller = self.controller
        outcome = beside.outcome(controller, self._job)
        place = self._snapshots["stage"]["place"]
        for step in range(len(outcome.losses)):
            self._replay.place = place + step + 1
            loss, validate = outcome.replayed(step)
            self._carry_out(controller.observe(loss, validate), outcome.end)
        self._set_lr()

    def _job(self) -> LoopJob:
        rewind = self._rewind
        count = self.controller.settings.probe(self.controller.state.tau)
        parts = (self.model, self.optimizer, rewind.extra, self._train_step, self.val_loss)
        start = (self._snapshots["stage"], self._replay.ahead(count))
        return LoopJob(packed(parts), packed(start), tuple(self._ratios))

    def step(self, loss: torch.Tensor | float) -> StepInfo:
        """Call after each `optimizer.step()` with the loss that it was made for.

        Raises:
            FloatingPointError: if training diverges again and again, or behind the last search.
            OptionError: if parameter groups have come to the optimizer.
        """
        controller = self.controller
        now, before = len(self.optimizer.param_groups), len(self._ratios)
        if now != before:
            raise OptionError(
                f"optimizer: has {now} parameter groups and had {before} at the start; no search could go back. "
                "Make all groups before, with frozen ones among them.",
                "optimizer",
            )
        phase, stage = controller.state.phase, controller.state.stage
        value = self._agreed(number(loss))
        validate = None if self.val_loss is None else self._validate
        self._carry_out(controller.observe(value, validate))
        self._set_lr()
        trained = phase in ("warmup", "train")
        return StepInfo(phase, trained, stage, controller.lr, controller.state.steps, controller.spent)

    def get_last_lr(self) -> list[float]:
        """Learning rate of each parameter group for the next step."""
        return [self.controller.lr * ratio for ratio in self._ratios]

    @property
    def found_lr(self) -> float | None:
        """Peak of the base schedule as the searches so far have found it; None before the first has ended.

        One may stop there and train from the start with a plain schedule of this peak.
        """
        state = self.controller.state
        return math.exp(state.x) if state.choices else None

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
        self._rewind.set_lrs(self.get_last_lr())

    def _validate(self) -> float:
        return self._agreed(self._rewind.evaluated(self.val_loss))

    @property
    def _distributed(self) -> bool:
        return torch.distributed.is_available() and torch.distributed.is_initialized()

    def _agreed(self, value: float) -> float:
        """The first rank's value on every rank, so that all decide alike."""
        if not self._distributed:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(told, group=self._group, group_src=0)
        return float(told)

    # -- rewinding -----------------------------------------------------------------------------------------

    def _carry_out(self, actions: Iterable[tuple[str, str]], end: bytes | None = None) -> None:
        """Do what the controller asks for; `end` is the state to store where another process has made the steps."""
        for verb, name in actions:
            if verb == "store":
                if name == "stage" and self._beside is not None:
                    self._beside.forget()
                self._snapshots[name] = self._snapshot() if end is None else unpacked(end)
                if end is not None:
                    self._snapshots[name]["place"] = self._replay.place
            elif verb == "restore":
                self._rewind.restore(self._snapshots[name])
                self._replay.place = self._snapshots[name]["place"]
            else:
                self._snapshots.pop(name, None)
        marks = [snapshot["place"] for snapshot in self._snapshots.values()]
        self._replay.keep_from(min(marks, default=self._replay.place))

    def _snapshot(self) -> dict[str, Any]:
        return {**self._rewind.snapshot(), "place": self._replay.place}

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
        self._rewind.seed(state["random"])
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
