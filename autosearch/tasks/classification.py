"""What image and table classification share: loss with label smoothing, accuracy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from autosearch.learning import Batch
from autosearch.tasks.datasets import Dataset
from autosearch.tasks.training import TrainingTask

_EVALUATION_BATCH = 1000  # bounds the memory of an evaluation


class CrossEntropy:
    """Mean cross-entropy; targets are classes (n,) or shares (n, classes)."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        inputs, targets = batch
        return functional.cross_entropy(model(inputs), targets, label_smoothing=self.label_smoothing)

    def set_label_smoothing(self, value: float) -> None:
        """Change it from the next batch on."""
        self.label_smoothing = value


@dataclass(frozen=True, kw_only=True)
class Classification(TrainingTask):
    """A training task with classes.

    Attributes:
        label_smoothing: share of the target spread over all classes; validation loss is without it.
    """

    label_smoothing: float = 0.0

    own_metric: ClassVar[str] = "accuracy"

    def network(self, data: Dataset) -> nn.Module:
        return self.build(data.shape, data.classes)

    def loss(self) -> CrossEntropy:
        return CrossEntropy(self.label_smoothing)

    def settings(self, model: nn.Module, loss: Any) -> dict[str, tuple[float, Callable[[float], None]]]:
        smoothing = (loss.label_smoothing, loss.set_label_smoothing)
        return {**super().settings(model, loss), "label_smoothing": smoothing}

    def measure(self, model: nn.Module, split: Batch, data: Dataset) -> dict[str, float]:  # noqa: ARG002
        inputs, targets = split
        loss = torch.zeros((), dtype=torch.float64, device=inputs.device)
        right = torch.zeros((), dtype=torch.int64, device=inputs.device)
        for x, y in zip(
            torch.split(inputs, _EVALUATION_BATCH), torch.split(targets, _EVALUATION_BATCH), strict=True
        ):
            outputs = model(x)
            loss += functional.cross_entropy(outputs, y, reduction="sum")
            right += (outputs.argmax(dim=1) == y).sum()
        return {"loss": float(loss) / len(inputs), "accuracy": int(right) / len(inputs)}
