"""What meta-training makes small: the published sparsity loss, or the loss of the network that a removal leaves.

| symbol | meaning |
|---|---|
| theta' | parameters as the metanetwork changes them |
| small(theta') | those of them that are left when channels go at a speed-up drawn at random |
| U | some epochs of the ordinary training, theta -> theta + movement |

`Sparse` minimises loss(theta') + sparsity(theta'); `Removed` minimises loss(U(small(theta'))).

Source: Liu et al. 2025, "Meta Pruning via Graph Metanetworks" (arXiv 2506.12041), for `Sparse`.
Differs from the paper: `Removed` is ours. Small weights are the paper's means; a good network after removal and
training is the end, so that is minimised itself. Its gradient takes the movement of U as constant, as first-order MAML
does (Finn et al. 2017, section 5.2), and does not pass through the ranking of channels.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from autosearch.core.seeds import derive_rng, derive_seed
from autosearch.methods.metaprune.schema import GraphSchema
from autosearch.methods.metaprune.tracing import trace
from autosearch.methods.pruning import Groups, GroupSparsity, PruneOptions, Pruner, Slot, find_groups, shrink
from autosearch.tasks.training import TrainingTask

Loss = Callable[[nn.Module, Any], torch.Tensor]
State = Mapping[str, torch.Tensor]

_EXAMPLES = 2  # that a network is traced with


@dataclass(frozen=True, slots=True)
class DataModel:
    """A trained network that the metanetwork learns from.

    Attributes:
        model: a copy in evaluation mode, whose parameters take no gradient.
        schema: of its graph.
        groups: of its channels.
        ignore: modules that stay whole.
    """

    model: nn.Module
    schema: GraphSchema
    groups: Groups
    ignore: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: nn.Module, example_inputs: torch.Tensor, ignore: tuple[str, ...] = ()) -> "DataModel":
        """A copy of `model` with its graph and its groups traced.

        Raises:
            PruningError: the network cannot be traced.
        """
        model = copy.deepcopy(model).eval()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        groups = find_groups(model, example_inputs, ignore=ignore)
        return cls(model, trace(model, example_inputs), groups, ignore)


class Goal(Protocol):
    """What a changed data model is judged by; the sum of its parts is minimised."""

    def __call__(
        self, data: DataModel, changed: State, batches: Sequence[Any], seed: int
    ) -> dict[str, torch.Tensor]:
        """`loss` and other parts for the parameters `changed`, differentiable by them.

        Args:
            data: stays as it is.
            changed: parameters by name.
            batches: of training data.
            seed: of what is drawn.
        """
        ...


class _With(nn.Module):
    """A function of a network as a module, so that it sees parameters that stand in for the network's own."""

    def __init__(self, network: nn.Module, function: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self.network, self._function = network, function

    def forward(self) -> Any:
        return self._function(self.network)


def _apply(network: nn.Module, values: State, function: Callable[[nn.Module], Any]) -> Any:
    names = {f"network.{name}": value for name, value in values.items()}
    return functional_call(_With(network, function), names, ())


class Sparse:
    """Mean loss in evaluation mode, plus the sparsity loss of the groups of channels.

    Args:
        loss: mean loss of a network on a batch.
        strength: of the sparsity loss.
        alpha: of the sparsity loss.
    """

    def __init__(self, loss: Loss, strength: float = 0.1, alpha: float = 16.0) -> None:
        self._loss, self._sparsity = loss, GroupSparsity(strength, alpha)

    def __call__(
        self,
        data: DataModel,
        changed: State,
        batches: Sequence[Any],
        seed: int,  # noqa: ARG002 - nothing is drawn
    ) -> dict[str, torch.Tensor]:
        """Parts `loss` and `sparsity`."""

        def judged(network: nn.Module) -> dict[str, torch.Tensor]:
            losses = torch.stack([self._loss(network, batch) for batch in batches])
            return {"loss": losses.mean(), "sparsity": self._sparsity(network, data.groups)}

        found: dict[str, torch.Tensor] = _apply(data.model, changed, judged)
        return found


class Removed:
    """Mean loss of the network that is left when channels go as they will, and that is then trained a little.

    Args:
        task: trains what is left, with its own optimizer and lr schedule.
        pruning: how channels go, but for the target.
        speed_ups: (lowest, highest); one is drawn log-uniformly each time.
        ahead: epochs of training after the removal; 0 for none.
    """

    def __init__(
        self, task: TrainingTask, pruning: PruneOptions, speed_ups: tuple[float, float], ahead: int
    ) -> None:
        self._task, self._pruning, self._ahead = task, pruning, ahead
        self._low, self._high = speed_ups
        self._loss = task.loss()

    def __call__(
        self, data: DataModel, changed: State, batches: Sequence[Any], seed: int
    ) -> dict[str, torch.Tensor]:
        """Part `loss`, with the statistics of each batch in batch normalisation, as after a recalibration."""
        drawn = derive_rng(seed, "speed-up").random()
        speed_up = self._low * (self._high / self._low) ** drawn
        options = dataclasses.replace(self._pruning, target={"macs": 1 / speed_up}, ratios={}, steps=1)
        whole = copy.deepcopy(data.model)
        with torch.no_grad():
            for name, parameter in whole.named_parameters():
                parameter.requires_grad_(True).copy_(changed[name])
        example = batches[0][0][:_EXAMPLES]
        drawn_by = derive_seed(seed, "criterion") % 2**31
        pruner = Pruner(whole, example, options, ignore=data.ignore, seed=drawn_by)
        pruner.step(1.0, batches, self._loss)
        left = remaining(data.model, changed, pruner.kept)
        network = pruner.model
        if self._ahead:
            left = self._trained(network, left, seed)
        network.eval()
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.train()

        def judged(network: nn.Module) -> torch.Tensor:
            return torch.stack([self._loss(network, batch) for batch in batches]).mean()

        return {"loss": _apply(network, left, judged)}

    def _trained(self, network: nn.Module, left: State, seed: int) -> dict[str, torch.Tensor]:
        """Values after training, whose gradient is that of the values before it; `network` is trained in place."""
        task = dataclasses.replace(self._task, epochs=self._ahead)
        learner = task.learner(derive_seed(seed, "ahead"), network=network.train())
        learner.advance(task.epochs * learner.batches.batches_per_epoch)
        after = dict(network.named_parameters())
        return {name: value + (after[name] - value).detach() for name, value in left.items()}


def remaining(model: nn.Module, values: State, kept: Mapping[Slot, Sequence[int]]) -> dict[str, torch.Tensor]:
    """What is left of parameters `values` of `model` when only the `kept` channels stay; differentiable.

    Equal to the parameters of `shrink(model, kept)` where `values` are the model's own.
    """
    numbered = copy.deepcopy(model).double()  # whose parameters say where they come from
    with torch.no_grad():
        for parameter in numbered.parameters():
            parameter.copy_(torch.arange(parameter.numel(), device=parameter.device).reshape(parameter.shape))
    return {
        name: values[name].flatten()[places.detach().long()]
        for name, places in shrink(numbered, kept).named_parameters()
    }
