"""Random order: the control that every criterion must beat."""

import torch
from torch import nn

from autosearch.methods.pruning.criteria.base import Context
from autosearch.methods.pruning.groups import Groups


class Random:
    """Scores from the seed alone."""

    def scores(self, model: nn.Module, groups: Groups, context: Context) -> list[torch.Tensor]:  # noqa: ARG002
        """Uniform numbers; a unit keeps its number while others are removed."""
        found = []
        for i, group in enumerate(groups.groups):
            generator = torch.Generator().manual_seed((context.seed * 1_000_003 + i) % 2**63)
            numbers = torch.rand(max(group.ids) + 1, generator=generator)
            found.append(numbers[list(group.ids)])
        return found
