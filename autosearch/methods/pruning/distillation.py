"""Learning from the unpruned network's answers."""

import copy

import torch
from torch import nn
from torch.nn import functional

from autosearch.learning import Batch
from autosearch.tasks.training import Loss


class _Answer(nn.Module):
    """Stands for a network whose answer is known already, so that a loss does not run it again."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self._output = output

    def forward(self, *_: torch.Tensor) -> torch.Tensor:
        return self._output


class Distilled:
    """`(1 - weight) * loss + weight * T^2 * KL(teacher || student)` at temperature T; for one output, squared distance.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.

    Args:
        loss: of the task.
        teacher: a copy of it answers, in evaluation mode.
        weight: of the teacher, in [0, 1].
        temperature: T.
    """

    def __init__(self, loss: Loss, teacher: nn.Module, weight: float, temperature: float) -> None:
        self._loss, self._weight, self._temperature = loss, weight, temperature
        self._teacher = copy.deepcopy(teacher).eval()

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        own = model(batch[0])
        with torch.no_grad():
            taught = self._teacher(batch[0])
        return (1 - self._weight) * self._loss(_Answer(own), batch) + self._weight * self._distance(
            own, taught
        )

    def _distance(self, own: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        if own.shape[-1] == 1:
            return functional.mse_loss(own, taught)
        t = self._temperature
        student = functional.log_softmax(own.flatten(0, -2) / t, dim=-1)
        teacher = functional.log_softmax(taught.flatten(0, -2) / t, dim=-1)
        return t**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
