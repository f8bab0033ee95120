"""DepGraph: group importance after training with a penalty that makes whole groups small.

| symbol | meaning | shape |
|---|---|---|
| `I_k` | mean over members t of `||w_t[k]||_2^2`, divided by the group's largest | `(units,)` |
| `n_k` | `sqrt(I_k)` | `(units,)` |
| `gamma_k` | `alpha ** ((n_max - n_k) / (n_max - n_min))`, in [1, alpha] | `(units,)` |
"""

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.methods.pruning.criteria.base import normalised, norms
from autosearch.methods.pruning.criteria.magnitude import Magnitude
from autosearch.methods.pruning.groups import Groups


class GroupSparsity:
    """`L_sp = (strength / 2) * sum_g sum_t sum_k gamma_gk ||w_t[k]||^2` with gamma held constant.

    Its gradient is what Torch-Pruning's GroupNormPruner adds to gradients. Source: Fang et al. 2023, "DepGraph",
    section 4.2, with alpha = 16 = 2^4.

    Args:
        strength: weight of the penalty beside a mean loss.
        alpha: how much harder the smallest unit of a group is pulled than the largest.
    """

    def __init__(self, strength: float = 1e-4, alpha: float = 16.0) -> None:
        if not strength >= 0:
            raise OptionError(f"strength: at least 0, got {strength}.", "strength")
        if not alpha >= 1:
            raise OptionError(f"alpha: at least 1, got {alpha}.", "alpha")
        self.strength, self.alpha = strength, alpha

    def gamma(self, squares: torch.Tensor) -> torch.Tensor:
        """Pulls of the units of a group with importances `squares` (units,); 1 where all are equal."""
        n = normalised(squares).sqrt()
        spread = n.max() - n.min()
        if len(n) < 2 or float(spread) <= 1e-12:
            return torch.ones_like(n)
        return torch.pow(self.alpha, (n.max() - n) / spread)

    def __call__(self, model: nn.Module, groups: Groups) -> torch.Tensor:
        """The penalty, a scalar that can be differentiated."""
        total = torch.zeros((), device=next(model.parameters()).device)
        for group in groups.groups:
            squares = torch.stack(norms(model, group))
            gamma = self.gamma(squares.detach().mean(0))
            total = total + (gamma * squares.sum(0)).sum()
        return self.strength / 2 * total


class DepGraph(Magnitude):
    """Group magnitude, and the penalty of `GroupSparsity` for the phase of sparse learning before it.

    Args:
        strength: of the penalty.
        alpha: of the penalty.
    """

    def __init__(self, strength: float = 1e-4, alpha: float = 16.0) -> None:
        super().__init__(p=2)
        self.penalty = GroupSparsity(strength, alpha)
