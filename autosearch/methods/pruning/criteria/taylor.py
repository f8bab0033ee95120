"""What removing a channel does to the loss, to first order."""

import copy

import torch
from torch import nn

from autosearch.methods.pruning.criteria.base import Context, normalised, unit_weights
from autosearch.methods.pruning.errors import PruningError
from autosearch.methods.pruning.groups import Groups


class Taylor:
    """`(sum_m w_m * dL/dw_m)^2` of a unit in each coupled layer; the mean, on batches, divided by the group's largest.

    Source: Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", equation 8.
    Differs from the paper: all coupled layers count, not one layer or gate, each by itself, since each alone tells what
    the loss becomes without the unit; groups are put on one scale, since the first order tells little of how far a
    layer may be narrowed.
    """

    def scores(self, model: nn.Module, groups: Groups, context: Context) -> list[torch.Tensor]:
        """Squared first-order change of the loss, in [0, 1].

        Raises:
            PruningError: without batches or a loss.
        """
        if not context.batches or context.loss is None:
            raise PruningError("taylor: needs data; give batches of training data and a loss.")
        probe = copy.deepcopy(model).eval()
        for parameter in probe.parameters():
            parameter.requires_grad_(True)
        total = [torch.zeros(len(group)) for group in groups.groups]
        for batch in context.batches:
            parameters = list(probe.parameters())
            with torch.enable_grad():
                gradients = torch.autograd.grad(context.loss(probe, batch), parameters, allow_unused=True)
            products = copy.deepcopy(probe)
            with torch.no_grad():
                for target, weight, gradient in zip(
                    products.parameters(), parameters, gradients, strict=True
                ):
                    target.copy_(torch.zeros_like(weight) if gradient is None else weight * gradient)
                for scores, group in zip(total, groups.groups, strict=True):
                    changes = [w.sum(1).square() for _, w in unit_weights(products, group, biases=True)]
                    scores += torch.stack(changes).mean(0).cpu()
        return [normalised(scores) for scores in total]
