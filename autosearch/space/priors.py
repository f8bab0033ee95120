"""The density of the users' priors in the unit cube."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from autosearch.space.parameters import Categorical, Confidence, Prior, Searched

if TYPE_CHECKING:
    from autosearch.space.operators import Value
    from autosearch.space.search_space import SearchSpace

_SPREAD: dict[Confidence, float] = {"low": 0.4, "medium": 0.2, "high": 0.1}  # standard deviation in [0, 1]
_MASS: dict[Confidence, float] = {
    "low": 0.4,
    "medium": 0.6,
    "high": 0.8,
}  # extra mass on the preferred choice


def log_prior(space: SearchSpace, X: np.ndarray) -> np.ndarray:  # noqa: N803
    """Log density at encoded points `X`, shape `(n, d)`; result `(n,)`. Inactive parameters do not count."""
    total = np.zeros(len(X))
    wished = [
        (j, name) for j, name in enumerate(space.searched) if getattr(space.parameters[name], "prior", None)
    ]
    if not wished:
        return total
    conditional = any(name in space.conditions for _, name in wished)
    active = space.active(space.decode(X)) if conditional else np.ones(X.shape, dtype=bool)
    for j, name in wished:
        parameter = space.parameters[name]
        prior = getattr(parameter, "prior", None)
        if isinstance(parameter, Searched) and isinstance(prior, Prior):
            total += np.where(active[:, j], _density(parameter, prior, X[:, j]), 0.0)
    return total


def _density(parameter: Searched, prior: Prior, u: np.ndarray) -> np.ndarray:
    center: Value = prior.center
    if isinstance(parameter, Categorical):
        n, mass = parameter.n_values, _MASS[prior.confidence]
        # The rest is spread over all choices, the preferred one included, so that it stays the likeliest of two.
        other = (1 - mass) / n
        chosen = np.array([value == center for value in parameter.from_unit_array(u)])
        weight: np.ndarray = np.log(np.where(chosen, mass + other, other) * n)
        return weight
    mu, sd = parameter.to_unit(center), _SPREAD[prior.confidence]
    inside = _normal_cdf((1 - mu) / sd) - _normal_cdf(-mu / sd)
    height = math.log(sd * math.sqrt(2 * math.pi) * inside)
    density: np.ndarray = -0.5 * ((u - mu) / sd) ** 2 - height
    return density


def _normal_cdf(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))
