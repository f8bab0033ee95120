"""Scales of batch normalisation."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from autosearch.methods.pruning.criteria.base import (
    Context,
    normalised,
    norms,
    scales,
    unit_weights,
)
from autosearch.methods.pruning.errors import PruningError
from autosearch.methods.pruning.groups import Groups


class BnScale:
    """`|gamma|` of the batch normalisations behind a group's outputs, on one scale for the whole network.

    Source: Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming", section 3.
    Differs from the paper: where several normalisations see a channel (a residual stream) their scales are averaged;
    groups that no batch normalisation sees are ranked by the size of their weights, matched to the network's scales.

    Args:
        strength: of the sparsity penalty on the scales, in a sparse phase of training.
    """

    def __init__(self, strength: float = 1e-4) -> None:
        self.strength = strength

    def scores(self, model: nn.Module, groups: Groups, context: Context) -> list[torch.Tensor]:  # noqa: ARG002
        """Mean scale of each unit.

        Raises:
            PruningError: no group has a batch normalisation.
        """
        found = [scales(model, group) for group in groups.groups]
        if not any(found):
            raise PruningError(
                "bn_scale: the network has no batch normalisation with scales; use another criterion."
            )
        own = [torch.stack(parts).mean(0).cpu() if parts else None for parts in found]
        typical = float(torch.cat([part for part in own if part is not None]).max())
        with torch.no_grad():
            return [
                typical * normalised(torch.stack(norms(model, group)).mean(0).cpu()) if part is None else part
                for part, group in zip(own, groups.groups, strict=True)
            ]

    def penalty(self, model: nn.Module, groups: Groups) -> torch.Tensor:
        """`strength * sum |gamma|` over the scales that may be pruned."""
        terms = [
            weights.abs().sum()
            for group in groups.groups
            for member, weights in unit_weights(model, group)
            if member.slot.axis == "channels"
            and isinstance(model.get_submodule(member.slot.module), _BatchNorm)
        ]
        return self.strength * torch.stack(terms).sum() if terms else torch.zeros(())
