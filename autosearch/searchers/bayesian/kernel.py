"""The covariance of two configurations: numbers, choices and conditional branches.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `X`, `Z` | points | `(…, n, D)`, `(…, k, D)` |
| `l` | lengthscales of numeric columns | `(numeric,)` |
| `w` | weights of categorical columns: correlation exp(-w) between two choices | `(choices,)` |
| `rho` | correlation left where one of two configurations lacks a group | `(groups,)` |
| `s2` | variance | scalar |

k(x, z) = s2 · M(x, z) · C(x, z) · product over groups g of G_g(x, z), with M a Matérn 5/2 over the numeric columns that
are always active, C = exp(-sum of w over differing choices), and for a conditional group

    G_g = 1                                 where both lack it: they do not differ in it
    G_g = rho                               where one lacks it
    G_g = rho² + (1 - rho²) · M_g · C_g     where both have it

which is positive definite for rho in [0, 1]: a constant feature that all share, and a part of its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from autosearch.searchers.bayesian.layout import Layout


@dataclass(frozen=True, slots=True)
class Hyper:
    """Hyperparameters in natural units.

    Attributes:
        lengths: (numeric,) lengthscales in the unit cube, all numeric columns in order.
        weights: (choices,) weights of categorical columns in order.
        rhos: (groups,).
        variance: s2.
        noise: variance of the observation noise, in units of z.
    """

    lengths: Tensor
    weights: Tensor
    rhos: Tensor
    variance: Tensor
    noise: Tensor


class _Matern(torch.autograd.Function):
    """Matérn 5/2 of a squared scaled distance; its slope is finite at 0, where that of the root is not."""

    @staticmethod
    def forward(ctx, squared: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        root = torch.sqrt(5.0 * squared)
        decay = torch.exp(-root)
        ctx.save_for_backward((-5.0 / 6.0) * (1.0 + root) * decay)
        return (1.0 + root + (5.0 / 3.0) * squared) * decay

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (slope,) = ctx.saved_tensors
        return gradient * slope  # type: ignore[no-any-return]


_matern = cast(Callable[[Tensor], Tensor], _Matern.apply)


@dataclass(frozen=True, slots=True)
class _Block:
    """Columns that form one Matérn-times-choices factor, with their places among lengths and weights."""

    numeric: tuple[int, ...]
    lengths: tuple[int, ...]
    choices: tuple[tuple[int, int], ...]
    weights: tuple[int, ...]
    flag: int | None


class MixedKernel:
    """The covariance above, for points of one layout.

    Attributes:
        numeric: numeric columns, in the order of `Hyper.lengths`.
        choices: categorical columns with their number of choices, in the order of `Hyper.weights`.
        groups: number of conditional groups.
    """

    def __init__(self, layout: Layout) -> None:
        sizes = dict(layout.choices)
        numeric = [j for j in range(layout.d) if j not in sizes]
        if layout.fidelity is not None:
            numeric.append(layout.fidelity)
        self.numeric: tuple[int, ...] = tuple(numeric)
        self.choices = layout.choices
        self.groups = len(layout.groups)
        grouped = {j for group in layout.groups for j in group.columns}
        always = [j for j in [*range(layout.d), *numeric] if j not in grouped]
        self._blocks = [self._block(tuple(dict.fromkeys(always)), None)]
        self._blocks += [self._block(group.columns, group.flag) for group in layout.groups]

    def _block(self, columns: tuple[int, ...], flag: int | None) -> _Block:
        position = {j: i for i, j in enumerate(self.numeric)}
        place = {j: i for i, (j, _) in enumerate(self.choices)}
        sizes = dict(self.choices)
        numeric = tuple(j for j in columns if j in position)
        chosen = tuple((j, sizes[j]) for j in columns if j in place)
        return _Block(
            numeric, tuple(position[j] for j in numeric), chosen, tuple(place[j] for j, _ in chosen), flag
        )

    def __call__(self, X: Tensor, Z: Tensor, hyper: Hyper) -> Tensor:
        """Covariance of the latent function at `X` and `Z`, (…, n, k)."""
        result = hyper.variance
        for i, block in enumerate(self._blocks):
            factor = _factor(block, X, Z, hyper)
            if block.flag is not None:
                rho = hyper.rhos[i - 1]
                a, b = X[..., block.flag, None], Z[..., block.flag].unsqueeze(-2)
                both = a * b
                inside = rho**2 if factor is None else rho**2 + (1 - rho**2) * factor
                factor = both * inside + rho * (a + b - 2 * both) + (1 - a) * (1 - b)
            if factor is not None:
                result = result * factor
        if result.dim() == 0:  # no column at all: every configuration is the same
            return result * torch.ones_like(X[..., :1]) @ torch.ones_like(Z[..., :1]).mT
        return result


def _factor(block: _Block, X: Tensor, Z: Tensor, hyper: Hyper) -> Tensor | None:
    factor: Tensor | None = None
    if block.numeric:
        lengths = hyper.lengths[list(block.lengths)]
        columns = list(block.numeric)
        # Centred first, which keeps the cancellation in |x|² + |z|² - 2xz small.
        A, B = (X[..., columns] - 0.5) / lengths, (Z[..., columns] - 0.5) / lengths
        squared = A.square().sum(-1, keepdim=True) + B.square().sum(-1).unsqueeze(-2) - 2 * A @ B.mT
        factor = _matern(squared.clamp_min(0.0))
    if block.choices:
        weights = hyper.weights[list(block.weights)]
        P, Q = _one_hot(block.choices, X), _one_hot(block.choices, Z)
        spread = torch.repeat_interleave(weights, torch.tensor([n for _, n in block.choices]))
        same = torch.exp((P * spread) @ Q.mT - weights.sum())
        factor = same if factor is None else factor * same
    return factor


def _one_hot(choices: tuple[tuple[int, int], ...], X: Tensor) -> Tensor:
    """(…, n, sum of numbers of choices) indicators; constant in X."""
    parts = []
    for j, n in choices:
        index = (X[..., j].detach() * n).long().clamp_(0, n - 1)
        parts.append(torch.nn.functional.one_hot(index, n))
    return torch.cat(parts, dim=-1).to(X.dtype)


def log_prior(hyper: Hyper, dimensions: int, *, noise_known: bool) -> Tensor:
    """Log density of the hyperparameters before any data, up to a constant.

    Lengthscales: log-normal whose location grows with the root of the dimension (Hvarfner et al. 2024, "Vanilla
    Bayesian Optimization Performs Great in High Dimensions", section 5), so that functions of many parameters are
    expected to be simple; but only up to a few dimensions: beyond, such long lengthscales carry trends far away
    from the few observations, where returning to the mean keeps the search near what was found good.

    Noise: log-normal, with a normal cut-off beyond a bound. A flat or noisy stretch of the objective is else soon
    explained as nothing but noise, and then nothing is left to search for.
    """
    location = LENGTH_LOCATION + 0.5 * math.log(min(max(dimensions, 1), LENGTH_GROWTH))
    total = _log_normal(hyper.lengths, location, LENGTH_SCALE)
    total = total + _log_normal(hyper.weights, 0.0, 1.0)
    # Mode 1/2: neither "the same but for the group" nor "unrelated".
    total = total + (hyper.rhos.log() + (1 - hyper.rhos).log()).sum()
    total = total + _log_normal(hyper.variance, 0.0, 1.0)
    if not noise_known:
        total = total + _log_normal(hyper.noise, NOISE_LOCATION, NOISE_SCALE)
        total = total - 0.5 * ((hyper.noise - NOISE_BOUND).clamp_min(0.0) / NOISE_BEYOND).square()
    return total


# Shorter and surer than the values of that paper (1.4, 1.7): with a few tens of observations those let a long
# lengthscale explain away structure that is there. Chosen on synthetic functions and two scikit-learn models.
LENGTH_LOCATION, LENGTH_SCALE = -0.5, 1.0
LENGTH_GROWTH = 6  # dimensions
# Most objectives are nearly deterministic beside their variation over the space; the data say so if not.
NOISE_LOCATION, NOISE_SCALE = -6.0, 2.0
NOISE_BOUND, NOISE_BEYOND = 0.05, 0.1  # variances of z


def _log_normal(x: Tensor, location: float, scale: float) -> Tensor:
    # Density of log x: the mode lies at the median, whatever the scale.
    return -0.5 * ((x.log() - location) / scale).square().sum()
