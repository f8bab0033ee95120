"""Meta-training: the metanetwork learns to change networks so that little is lost when channels go.

For a data model with parameters theta: theta' = from_graph(F(to_graph(theta))), which a goal judges.

Source: Liu et al. 2025, "Meta Pruning via Graph Metanetworks" (arXiv 2506.12041), its published code.
Differs from the published code: the sparsity loss is a scalar (its gradient is the published pseudo-gradient, with
gamma held constant); losses are means over batches, so `strength` 0.1 stands for its reg = 10 beside a sum over 100.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from autosearch.core.errors import OptionError
from autosearch.core.seeds import derive_seed
from autosearch.methods.metaprune.goals import DataModel, Goal
from autosearch.methods.metaprune.metanetwork import MetaNetwork
from autosearch.methods.metaprune.schema import state_of


def meta_loss(
    metanetwork: MetaNetwork, data: DataModel, batches: Sequence[Any], goal: Goal, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Parts of the goal for a data model as the metanetwork changes it; differentiable."""
    changed = data.schema.from_graph(metanetwork(data.schema.to_graph(state_of(data.model))))
    return goal(data, changed, batches, seed)


class MetaTrainer:
    """AdamW on the meta-loss, one step for each data model in turn.

    Args:
        metanetwork: trained in place.
        goal: what is minimised.
        lr: learning rate.
        milestone: epoch from which it is a tenth; None for never.
        weight_decay: of AdamW.
    """

    def __init__(
        self,
        metanetwork: MetaNetwork,
        goal: Goal,
        *,
        lr: float = 1e-3,
        milestone: int | None = None,
        weight_decay: float = 5e-4,
    ) -> None:
        if not lr > 0:
            raise OptionError(f"lr: above 0, got {lr}.", "lr")
        self.metanetwork, self._goal = metanetwork, goal
        self._lr, self._milestone = lr, milestone
        self.optimizer = torch.optim.AdamW(metanetwork.parameters(), lr=lr, weight_decay=weight_decay)
        self.epoch = 0

    def train_epoch(
        self, models: Sequence[DataModel], batches: Sequence[Any], seed: int = 0
    ) -> dict[str, float]:
        """One step for each data model; the mean of each part of the goal before them.

        Raises:
            FloatingPointError: the meta-loss is no finite number.
        """
        late = self._milestone is not None and self.epoch >= self._milestone
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr * (0.1 if late else 1.0)
        means: dict[str, float] = {}
        for i, data in enumerate(models):
            parts = meta_loss(self.metanetwork, data, batches, self._goal, derive_seed(seed, i))
            total = torch.stack(list(parts.values())).sum()
            if not math.isfinite(float(total.detach())):
                raise FloatingPointError(
                    f"meta-training: the loss is {float(total.detach())} in epoch {self.epoch}."
                )
            self.optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            for name, part in parts.items():
                means[name] = means.get(name, 0.0) + float(part.detach()) / len(models)
        self.epoch += 1
        return means

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
