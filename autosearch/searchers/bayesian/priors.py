"""Users' beliefs about good values as a term of the acquisition that fades with evidence."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from autosearch.searchers.bayesian.layout import Layout
from autosearch.space import Categorical, SearchSpace

_CELLS = 256


class LogPrior:
    """The users' log density at points, differentiable, times a weight.

    The weight is beta / n after n observations (Hvarfner et al. 2022, "piBO: Augmenting Acquisition Functions with
    User Beliefs for Bayesian Optimization", section 4.1), so a wrong belief is overcome.

    Args:
        space: its parameters carry the priors.
        layout: of the points.
        weight: at least 0.
    """

    def __init__(self, space: SearchSpace, layout: Layout, weight: float) -> None:
        self.weight = weight
        flags = {j: group.flag for group in layout.groups for j in group.columns}
        self._tables: list[tuple[int, int | None, Tensor, bool]] = []
        for j, name in enumerate(space.searched):
            parameter = space.parameters[name]
            if getattr(parameter, "prior", None) is None:
                continue
            alone = SearchSpace({name: dataclasses.replace(parameter, when=None)})
            stepped = isinstance(parameter, Categorical)
            n = len(parameter.choices) if isinstance(parameter, Categorical) else _CELLS
            at = (np.arange(n) + 0.5) / n if stepped else np.linspace(0, 1, n + 1)
            table = torch.as_tensor(alone.log_prior(at[:, None]), dtype=torch.float64)
            self._tables.append((j, flags.get(j), table, stepped))

    def __bool__(self) -> bool:
        return bool(self._tables)

    def __call__(self, X: Tensor) -> Tensor:
        total = torch.zeros(len(X), dtype=X.dtype)
        for j, flag, table, stepped in self._tables:
            column = X[:, j]
            if stepped:
                term = table[(column.detach() * len(table)).long().clamp(0, len(table) - 1)]
            else:
                place = column * (len(table) - 1)
                low = place.detach().long().clamp(0, len(table) - 2)
                share = place - low
                term = (1 - share) * table[low] + share * table[low + 1]
            total = total + (term if flag is None else term * X[:, flag])
        return self.weight * total
