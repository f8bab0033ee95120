"""State of a training loop that is nobody's but the user's: taken, and put back in place."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from autosearch.learning import RandomState, Stateful
from autosearch.learning.checkpoints import detached


class Rewind:
    """Snapshots of network, optimizer, global random state and whatever else changes in a step.

    Args:
        model: network; buffers that its `state_dict` leaves out are held too.
        optimizer: over its parameters.
        extra: loss scaler, averaged weights and the like.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, extra: Iterable[Stateful]) -> None:
        self.model = model
        self.optimizer = optimizer
        self.extra = list(extra)
        self.device = next(model.parameters()).device

    def snapshot(self) -> dict[str, Any]:
        """All state; shares no memory with the run."""
        state = {
            "model": self.model.state_dict(),
            "hidden": dict(self.model.named_buffers()),
            "optimizer": self.optimizer.state_dict(),
            "extra": [part.state_dict() for part in self.extra],
            "random": RandomState.present(self.device).state_dict(),
        }
        copy: dict[str, Any] = detached(state)
        return copy

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to `snapshot`, which may be used again."""
        self.model.load_state_dict(snapshot["model"])
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(snapshot["hidden"][name])
        # Copies: torch keeps the tensors that it is given and would train inside the snapshot.
        self.optimizer.load_state_dict(detached(snapshot["optimizer"]))
        for part, state in zip(self.extra, snapshot["extra"], strict=True):
            part.load_state_dict(detached(state))
        self.seed(snapshot["random"])

    def seed(self, state: Mapping[str, Any]) -> None:
        """Make the global generators go on from `state`."""
        random = RandomState.present(self.device)
        random.load_state_dict(state)
        random.apply()

    def set_lrs(self, lrs: Iterable[float]) -> None:
        """Give each parameter group its learning rate."""
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def evaluated(self, val_loss: Any) -> float:
        """What `val_loss()` returns in eval mode; the network's modes and the random state stay as they were."""
        kept = RandomState.present(self.device)
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with torch.no_grad():
                return float(val_loss())
        finally:
            for module, training in modes:
                module.training = training
            kept.apply()
