"""Meta-training: the metanetwork learns to change networks so that they stay good and become easy to prune.

For a data model with parameters theta: theta' = from_graph(F(to_graph(theta))), and the loss is the mean loss of the
network with theta', in evaluation mode, plus the sparsity loss of its groups of channels.

Source: Liu et al. 2025, "Meta Pruning via Graph Metanetworks" (arXiv 2506.12041), its published code.
Differs from the published code: the sparsity loss is a scalar (its gradient is the published pseudo-gradient, with
gamma held constant); losses are means over batches, so `strength` 0.1 stands for its reg = 10 beside a sum over 100.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from autosearch.core.errors import OptionError
from autosearch.methods.metaprune.metanetwork import MetaNetwork
from autosearch.methods.metaprune.schema import GraphSchema, state_of
from autosearch.methods.metaprune.tracing import trace
from autosearch.methods.pruning import Groups, GroupSparsity, find_groups

Loss = Callable[[nn.Module, Any], torch.Tensor]


@dataclass(frozen=True, slots=True)
class DataModel:
    """A trained network that the metanetwork learns from.

    Attributes:
        model: a copy in evaluation mode, whose parameters take no gradient.
        schema: of its graph.
        groups: of its channels.
    """

    model: nn.Module
    schema: GraphSchema
    groups: Groups

    @classmethod
    def of(cls, model: nn.Module, example_inputs: torch.Tensor) -> "DataModel":
        """A copy of `model` with its graph and its groups traced.

        Raises:
            PruningError: the network cannot be traced.
        """
        model = copy.deepcopy(model).eval()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        return cls(model, trace(model, example_inputs), find_groups(model, example_inputs))


class _Judged(nn.Module):
    """Loss and sparsity loss of a network, as one module, so that both see the same replaced parameters."""

    def __init__(self, network: nn.Module, groups: Groups, loss: Loss, sparsity: GroupSparsity) -> None:
        super().__init__()
        self.network, self._groups, self._loss, self._sparsity = network, groups, loss, sparsity

    def forward(self, batches: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        losses = torch.stack([self._loss(self.network, batch) for batch in batches])
        return losses.mean(), self._sparsity(self.network, self._groups)


def meta_loss(
    metanetwork: MetaNetwork, data: DataModel, batches: Sequence[Any], loss: Loss, sparsity: GroupSparsity
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean loss and sparsity loss of a data model as the metanetwork changes it; both differentiable."""
    changed = data.schema.from_graph(metanetwork(data.schema.to_graph(state_of(data.model))))
    judged = _Judged(data.model, data.groups, loss, sparsity)
    found: tuple[torch.Tensor, torch.Tensor] = functional_call(
        judged, {f"network.{name}": value for name, value in changed.items()}, (batches,)
    )
    return found


class MetaTrainer:
    """AdamW on the meta-loss, one step for each data model in turn.

    Args:
        metanetwork: trained in place.
        loss: mean loss of a network on a batch.
        strength: of the sparsity loss beside the mean loss.
        alpha: of the sparsity loss.
        lr: learning rate.
        milestone: epoch from which it is a tenth; None for never.
        weight_decay: of AdamW.
    """

    def __init__(
        self,
        metanetwork: MetaNetwork,
        loss: Loss,
        *,
        strength: float = 0.1,
        alpha: float = 16.0,
        lr: float = 1e-3,
        milestone: int | None = None,
        weight_decay: float = 5e-4,
    ) -> None:
        if not lr > 0:
            raise OptionError(f"lr: above 0, got {lr}.", "lr")
        self.metanetwork, self._loss = metanetwork, loss
        self._sparsity = GroupSparsity(strength, alpha)
        self._lr, self._milestone = lr, milestone
        self.optimizer = torch.optim.AdamW(metanetwork.parameters(), lr=lr, weight_decay=weight_decay)
        self.epoch = 0

    def train_epoch(self, models: Sequence[DataModel], batches: Sequence[Any]) -> dict[str, float]:
        """One step for each data model; mean `loss` and `sparsity` before them.

        Raises:
            FloatingPointError: the meta-loss is no finite number.
        """
        late = self._milestone is not None and self.epoch >= self._milestone
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr * (0.1 if late else 1.0)
        totals = [0.0, 0.0]
        for data in models:
            quality, sparsity = meta_loss(self.metanetwork, data, batches, self._loss, self._sparsity)
            total = quality + sparsity
            if not math.isfinite(float(total.detach())):
                raise FloatingPointError(
                    f"meta-training: the loss is {float(total.detach())} in epoch {self.epoch}."
                )
            self.optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            totals[0] += float(quality.detach()) / len(models)
            totals[1] += float(sparsity.detach()) / len(models)
        self.epoch += 1
        return {"loss": totals[0], "sparsity": totals[1]}

    def state_dict(self) -> dict[str, Any]:
        """All state."""
        return {
            "epoch": self.epoch,
            "metanetwork": {k: v.clone() for k, v in self.metanetwork.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.epoch = state["epoch"]
        self.metanetwork.load_state_dict(state["metanetwork"])
        self.optimizer.load_state_dict(state["optimizer"])
