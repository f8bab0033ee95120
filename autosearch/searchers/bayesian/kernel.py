"""The covariance of two configurations: numbers, choices and conditional branches.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `X`, `Z` | points | `(…, n, D)`, `(…, k, D)` |
| `A`, `B` | numeric columns of `X` and `Z` in lengthscales | `(…, n, a)`, `(…, k, a)` |
| `P`, `Q` | indicators of their choices | `(…, n, c)`, `(…, k, c)` |
| `l` | lengthscales of numeric columns | `(numeric,)` |
| `w` | weights of categorical columns: correlation exp(-w) between two choices | `(choices,)` |
| `rho` | correlation left where one of two configurations lacks a group | `(groups,)` |
| `s2` | variance | scalar |
| `V` | slope of some number by the covariances | `(…, n, k)` |

k(x, z) = s2 · M(x, z) · C(x, z) · product over groups g of G_g(x, z), with M a Matérn 5/2 over the numeric columns that
are always active, C = exp(-sum of w over differing choices), and for a conditional group

    G_g = 1                                 where both lack it: they do not differ in it
    G_g = rho                               where one lacks it
    G_g = rho² + (1 - rho²) · M_g · C_g     where both have it

which is positive definite for rho in [0, 1]: a constant feature that all share, and a part of its own.

Slopes are written out: at a few hundred observations automatic differentiation took most of the time of a fit.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
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


class _Block:
    """Columns that form one Matérn-times-choices factor, with their places among lengths and weights."""

    def __init__(
        self, numeric: dict[int, int], choices: dict[int, tuple[int, int]], flag: int | None
    ) -> None:
        self.numeric, self.lengths = list(numeric), list(numeric.values())
        self.choices, self.weights = list(choices), [place for place, _ in choices.values()]
        sizes = [size for _, size in choices.values()]
        self.flag = flag
        self.sizes = torch.tensor(sizes, dtype=torch.float64)
        self.offsets = torch.tensor([0, *np.cumsum(sizes)[:-1]] if sizes else [], dtype=torch.int64)
        self.column = torch.repeat_interleave(
            torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.int64)
        )

    def scaled(self, X: Tensor, hyper: Hyper) -> Tensor:
        # Centred first, which keeps the cancellation in |x|² + |z|² - 2xz small.
        return (X[..., self.numeric] - 0.5) / hyper.lengths[self.lengths]

    def indicators(self, X: Tensor) -> Tensor:
        place = (X[..., self.choices] * self.sizes).long()
        place = torch.minimum(place, self.sizes.long() - 1) + self.offsets
        hot = torch.zeros(*X.shape[:-1], len(self.column), dtype=X.dtype)
        return hot.scatter_(-1, place, 1.0)


@dataclass(slots=True)
class _Part:
    """One block between two sets of points: what its slopes are made of."""

    block: _Block
    A: Tensor | None = None
    B: Tensor | None = None
    P: Tensor | None = None
    root: Tensor | None = None  # square root of five times the squared distance
    decay: Tensor | None = None  # exp(-root)
    same: Tensor | None = None  # C
    inside: Tensor | None = None  # M · C, None where the block has no column
    rho: Tensor | None = None
    both: Tensor | None = None  # whether both have the group
    one: Tensor | None = None  # whether one alone has it
    factor: Tensor | None = None  # what the covariance is multiplied by

    def slope_of_inside(self, V: Tensor) -> Tensor:
        """Slopes by M · C, given those by the factor."""
        return V if self.both is None or self.rho is None else V * self.both * (1 - self.rho**2)

    def slope_of_squared(self, V: Tensor) -> Tensor:
        """Slopes by the squared distances, given those by M · C; finite at 0, where that of the root is not."""
        slope = (-5.0 / 6.0) * (1.0 + _there(self.root)) * _there(self.decay)
        return V * slope if self.same is None else V * slope * self.same


def _evaluate(block: _Block, X: Tensor, Z: Tensor, hyper: Hyper, rho: Tensor | None) -> _Part:
    part = _Part(block)
    if block.numeric:
        A = block.scaled(X, hyper)
        B = A if Z is X else block.scaled(Z, hyper)
        squared = torch.matmul(A, B.mT).mul_(-2.0)
        squared += A.square().sum(-1, keepdim=True)
        squared += B.square().sum(-1).unsqueeze(-2)
        squared.clamp_min_(0.0)
        part.A, part.B = A, B
        part.root = (5.0 * squared).sqrt_()
        part.decay = torch.exp(-part.root)
        part.inside = squared.mul_(5.0 / 3.0).add_(part.root).add_(1.0).mul_(part.decay)
    if block.choices:
        P = block.indicators(X)
        Q = P if Z is X else block.indicators(Z)
        weights = hyper.weights[block.weights]
        part.P, part.same = P, torch.matmul(P * weights[block.column], Q.mT).sub_(weights.sum()).exp_()
        part.inside = part.same if part.inside is None else part.inside * part.same
    part.factor = part.inside
    if block.flag is not None and rho is not None:
        a, b = X[..., block.flag, None], Z[..., block.flag].unsqueeze(-2)
        part.rho, part.both = rho, a * b
        part.one = a + b - 2 * part.both
        part.factor = part.both * (rho**2 + (1 - rho**2) * _there(part.inside))
        part.factor += rho * part.one
        part.factor += (1 - a) * (1 - b)
    return part


def _there(x: Tensor | None) -> Tensor:
    return cast(Tensor, x)


class _Covariance(torch.autograd.Function):
    """`MixedKernel.parts` with its slopes by both sets of points."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, Z: Tensor, kernel: "MixedKernel", hyper: Hyper) -> Tensor:
        K, parts = kernel.parts(X, Z, hyper)
        if any(ctx.needs_input_grad):
            ctx.kept = (X, Z, kernel, hyper, parts)
        return K

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        X, Z, kernel, hyper, parts = ctx.kept
        first, second, *_ = ctx.needs_input_grad
        return (
            kernel.slope_of_points(slopes[0], parts, X, hyper) if first else None,
            kernel.slope_of_points(slopes[0], parts, Z, hyper, second=True) if second else None,
            None,
            None,
        )


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
        place = {j: (i, n) for i, (j, n) in enumerate(self.choices)}
        return _Block(
            {j: position[j] for j in columns if j in position},
            {j: place[j] for j in columns if j in place},
            flag,
        )

    def __call__(self, X: Tensor, Z: Tensor, hyper: Hyper) -> Tensor:
        """Covariance of the latent function at `X` and `Z`, (…, n, k); differentiable in both, not in `hyper`."""
        return cast(Tensor, _Covariance.apply(X, Z, self, hyper))

    def parts(self, X: Tensor, Z: Tensor, hyper: Hyper) -> tuple[Tensor, list[_Part]]:
        """The covariance, and what it is the product of."""
        parts = [
            _evaluate(block, X, Z, hyper, hyper.rhos[i - 1] if block.flag is not None else None)
            for i, block in enumerate(self._blocks)
        ]
        parts = [part for part in parts if part.factor is not None]
        if not parts:  # no column at all: every configuration is the same
            return hyper.variance * (torch.ones_like(X[..., :1]) @ torch.ones_like(Z[..., :1]).mT), parts
        product = hyper.variance * _there(parts[0].factor)
        for part in parts[1:]:
            product *= _there(part.factor)
        return product, parts

    def slope_of_points(
        self, V: Tensor, parts: list[_Part], X: Tensor, hyper: Hyper, *, second: bool = False
    ) -> Tensor:
        """Slope of a number by points, given its slopes by the covariances that `parts` are of.

        Args:
            V: (…, n, k).
            parts: of the covariances of `X` with others; with `second`, of others with `X`.
            X: the points.
            hyper: hyperparameters.
            second: see `parts`.
        """
        found = torch.zeros_like(X)
        for part, slope in _slopes_of_factors(V, parts, hyper):
            if part.A is None or part.B is None:
                continue
            pull = part.slope_of_squared(part.slope_of_inside(slope))
            A, B = part.A, part.B
            if second:
                pull, A, B = pull.mT, B, A
            own = 2.0 * (pull.sum(-1, keepdim=True) * A - pull @ B)
            # Points that all batches share collect the slopes of all.
            found[..., part.block.numeric] += (own / hyper.lengths[part.block.lengths]).sum_to_size(
                *X.shape[:-1], len(part.block.numeric)
            )
        return found

    def slope_of_hyper(self, V: Tensor, K: Tensor, parts: list[_Part], hyper: Hyper) -> np.ndarray:
        """Slope of a number by log lengths, log weights, logit rhos and log s2, given its slopes by the entries of K.

        Args:
            V: (n, n), symmetric.
            K: (n, n) covariances of one set of points with itself.
            parts: of them.
            hyper: hyperparameters.
        """
        lengths, weights = torch.zeros_like(hyper.lengths), torch.zeros_like(hyper.weights)
        rhos = torch.zeros_like(hyper.rhos)
        group = 0
        for part, slope in _slopes_of_factors(V, parts, hyper):
            block, inside = part.block, _there(part.inside)
            if part.rho is not None:
                by_rho = (slope * (2 * part.rho * _there(part.both) * (1 - inside) + _there(part.one))).sum()
                rhos[group] = by_rho * part.rho * (1 - part.rho)
                group += 1
            within = part.slope_of_inside(slope)
            if part.A is not None:
                pull = part.slope_of_squared(within)
                moved = pull.sum(-1, keepdim=True) * part.A - pull @ part.A
                lengths[block.lengths] = -4.0 * (moved * part.A).sum(0)
            if part.P is not None:
                differing = within * inside
                same = torch.zeros(len(block.choices), dtype=V.dtype)
                same.index_add_(0, block.column, (part.P * (differing @ part.P)).sum(0))
                weights[block.weights] = hyper.weights[block.weights] * (same - differing.sum())
        return torch.cat([lengths, weights, rhos, (V * K).sum()[None]]).numpy()


def _slopes_of_factors(V: Tensor, parts: list[_Part], hyper: Hyper) -> list[tuple[_Part, Tensor]]:
    """Each part with the slopes by its factor: V times all others. Products, for a factor may be 0."""
    V = hyper.variance * V
    after = [V]
    for part in parts[:0:-1]:
        after.append(after[-1] * _there(part.factor))
    found, before = [], None
    for part, rest in zip(parts, reversed(after), strict=True):
        found.append((part, rest if before is None else rest * before))
        factor = _there(part.factor)
        before = factor if before is None else before * factor
    return found
