"""Learners that wrap learners: how methods act inside training, several one around the other."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from autosearch.learning.learner import Evaluation
from autosearch.learning.lr_schedules import LrSchedule
from autosearch.learning.streams import BatchStream


class TrainingLearner(Protocol):
    """What a task and a training method need of a learner; `TorchLearner` and every wrapper has it.

    `values`, `adjust` and `lr_schedule` reach through wrappers to the learner that makes the steps.
    """

    lr_schedule: LrSchedule

    @property
    def model(self) -> nn.Module: ...

    @property
    def batches(self) -> BatchStream: ...

    @property
    def optimizer(self) -> torch.optim.Optimizer: ...

    @property
    def values(self) -> dict[str, float]: ...

    @property
    def step(self) -> int: ...

    @property
    def lr(self) -> float: ...

    def advance(self, steps: int) -> dict[str, float]: ...

    def evaluate(self) -> dict[str, float]: ...

    def measure(self, evaluation: Evaluation) -> dict[str, float]: ...

    def adjust(self, values: Mapping[str, float]) -> None: ...

    def snapshot(self) -> dict[str, Any]: ...

    def restore(self, snapshot: Mapping[str, Any]) -> None: ...

    def inherit(self, snapshot: Mapping[str, Any], epoch: int) -> None: ...

    def notes(self) -> dict[str, Any]: ...


class LearnerWrapper:
    """A learner that is another one but for what a subclass changes.

    Args:
        inner: the learner inside.
    """

    def __init__(self, inner: TrainingLearner) -> None:
        self.inner = inner

    @property
    def lr_schedule(self) -> LrSchedule:
        return self.inner.lr_schedule

    @lr_schedule.setter
    def lr_schedule(self, lr_schedule: LrSchedule) -> None:
        self.inner.lr_schedule = lr_schedule

    @property
    def model(self) -> nn.Module:
        return self.inner.model

    @property
    def batches(self) -> BatchStream:
        return self.inner.batches

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.inner.optimizer

    @property
    def values(self) -> dict[str, float]:
        return self.inner.values

    @property
    def step(self) -> int:
        return self.inner.step

    @property
    def lr(self) -> float:
        return self.inner.lr

    def advance(self, steps: int) -> dict[str, float]:
        """Train for `steps` optimizer steps."""
        return self.inner.advance(steps)

    def evaluate(self) -> dict[str, float]:
        """Validation metrics."""
        return self.inner.evaluate()

    def measure(self, evaluation: Evaluation) -> dict[str, float]:
        """Metrics by another evaluation."""
        return self.inner.measure(evaluation)

    def adjust(self, values: Mapping[str, float]) -> None:
        """Set tunable values."""
        self.inner.adjust(values)

    def snapshot(self) -> dict[str, Any]:
        """All state."""
        return self.inner.snapshot()

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to `snapshot`."""
        self.inner.restore(snapshot)

    def inherit(self, snapshot: Mapping[str, Any], epoch: int) -> None:
        """Go on from another run's weights."""
        self.inner.inherit(snapshot, epoch)

    def notes(self) -> dict[str, Any]:
        """JSON to keep with a trial that has ended, such as what was found."""
        return self.inner.notes()
