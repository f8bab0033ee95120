"""Candidates tried in other processes, each on a copy of the network: the same losses, sooner.

Every candidate begins at the stage's snapshot, random state and place in the data included, so where its steps are made
does not matter: the search decides as if they had been made one after the other. On a CPU it is equal bit for bit where
the other processes compute with as many threads as the caller.
"""

import functools
import io
import math
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from autosearch.learning.wrapping import LearnerWrapper
from autosearch.methods.autolrs.controller import Controller, Plan
from autosearch.methods.autolrs.rewinding import Rewind

TrainStep = Callable[[nn.Module, torch.optim.Optimizer, Any], torch.Tensor | float]


@dataclass(frozen=True)
class Outcome:
    """What a candidate's steps showed.

    Attributes:
        losses: of its steps; the last may be not finite, then no further ones were made.
        validations: validation loss by step, from 1.
        end: packed snapshot behind the last step.
    """

    losses: list[float]
    validations: dict[int, float]
    end: bytes

    def replayed(self, step: int) -> tuple[float, Callable[[], float]]:
        """Loss of a step, from 0, and what gives the validation loss behind it."""
        return self.losses[step], lambda: self.validations[step + 1]


@dataclass
class SideBySide:
    """The candidates of one stage that are being tried elsewhere.

    Attributes:
        executor: of processes.
        count: candidates begun at once.
        begun: what was handed out.
    """

    executor: Executor
    count: int
    begun: dict[Plan, Future[Outcome]] = field(default_factory=dict)

    def outcome(self, controller: Controller, job: Callable[[], Callable[[Plan], Outcome]]) -> Outcome:
        """Of the present candidate; waits for it. Begins those that may come next where it has not begun.

        Args:
            controller: at a candidate.
            job: makes what the processes run; must pickle.
        """
        if controller.plan not in self.begun:
            run = job()
            for plan in controller.prospects(self.count):
                if plan not in self.begun:
                    self.begun[plan] = self.executor.submit(run, plan)
        return self.begun[controller.plan].result()

    def forget(self) -> None:
        """The stage is over: nobody asks for what has not begun."""
        for future in self.begun.values():
            future.cancel()
        self.begun.clear()


def number(loss: torch.Tensor | float) -> float:
    """A loss, which may still hang on its graph."""
    return float(loss.detach()) if isinstance(loss, torch.Tensor) else float(loss)


def packed(tree: Any) -> bytes:
    """Bytes of anything that pickles; its parts keep referring to each other."""
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


def unpacked(data: bytes) -> Any:
    """What was packed; what was on a GPU, on the current one of this process."""
    return torch.load(io.BytesIO(data), map_location=_here, weights_only=False)


def _here(storage: Any, location: str) -> Any:
    return storage.cuda() if location.startswith("cuda") else storage


@dataclass(frozen=True)
class LoopJob:
    """Tries a candidate of a loop of one's own.

    Attributes:
        parts: packed (model, optimizer, extra state, train step, validation loss or None).
        start: packed (snapshot, batches).
        ratios: learning rate of each parameter group relative to the first.
    """

    parts: bytes
    start: bytes
    ratios: tuple[float, ...]

    def __call__(self, plan: Plan) -> Outcome:
        model, optimizer, extra, train_step, val_loss = unpacked(self.parts)
        snapshot, batches = unpacked(self.start)
        rewind = Rewind(model, optimizer, extra)
        rewind.restore(snapshot)

        def train(lr: float, step: int) -> float:
            rewind.set_lrs(ratio * lr for ratio in self.ratios)
            return number(train_step(model, optimizer, batches[step]))

        return _tried(plan, train, lambda: rewind.evaluated(val_loss), rewind.snapshot)


@dataclass(frozen=True)
class LearnerJob:
    """Tries a candidate of a task.

    Attributes:
        task: packed (task, seed of the trial).
        start: packed snapshot of the learner inside the method.
    """

    task: bytes
    start: bytes

    def __call__(self, plan: Plan) -> Outcome:
        inner = _built(self.task)
        inner.restore(unpacked(self.start))

        def train(lr: float, step: int) -> float:  # noqa: ARG001
            inner.lr_schedule = lambda _: lr
            try:
                return float(inner.advance(1)["train_loss"])
            except FloatingPointError:
                return math.nan

        return _tried(plan, train, lambda: float(inner.evaluate()["val_loss"]), inner.snapshot)


@functools.lru_cache(maxsize=1)
def _built(task: bytes) -> Any:
    """The learner that the method wraps, as the trial has built it; once per process and trial."""
    from autosearch.methods.autolrs.training import AutoLRSLearner

    own, seed = unpacked(task)
    learner = own.trained_learner(seed)
    while not isinstance(learner, AutoLRSLearner):
        if not isinstance(learner, LearnerWrapper):
            raise TypeError(f"the task's learner is not wrapped by autolrs: {type(learner).__name__}.")
        learner = learner.inner
    return learner.inner


def _tried(
    plan: Plan,
    train: Callable[[float, int], float],
    validate: Callable[[], float],
    snapshot: Callable[[], dict[str, Any]],
) -> Outcome:
    losses: list[float] = []
    validations: dict[int, float] = {}
    for step, lr in enumerate(plan.lrs):
        losses.append(train(lr, step))
        if not math.isfinite(losses[-1]):
            break
        if step + 1 in plan.validated:
            validations[step + 1] = validate()
    return Outcome(losses, validations, packed(snapshot()))
