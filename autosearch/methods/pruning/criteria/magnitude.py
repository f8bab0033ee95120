"""Size of the weights."""

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.methods.pruning.criteria.base import Context, normalised, norms
from autosearch.methods.pruning.groups import Groups


class Magnitude:
    """Mean over the members of a group of `||w_t[u]||_p^p`, divided by the group's largest.

    Source: Fang et al. 2023, "DepGraph", section 4.2 (group importance) with p = 2; Li et al. 2017, "Pruning Filters
    for Efficient ConvNets", with p = 1.

    Args:
        p: 1 or 2.
    """

    def __init__(self, p: int = 2) -> None:
        if p not in (1, 2):
            raise OptionError(f"p: 1 or 2, got {p}.", "p")
        self.p = p

    def scores(self, model: nn.Module, groups: Groups, context: Context) -> list[torch.Tensor]:  # noqa: ARG002
        """Importance of the units of each group, in [0, 1]."""
        with torch.no_grad():
            return [
                normalised(torch.stack(norms(model, group, self.p)).mean(0).cpu()) for group in groups.groups
            ]
