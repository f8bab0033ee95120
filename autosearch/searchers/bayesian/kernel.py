"""The covariance of two configurations: numbers, choices and conditional branches.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `X`, `Z` | points | `(…, n, D)`, `(…, k, D)` |
| `A`, `B` | numeric columns of `X` and `Z` in lengthscales | `(…, n, a)`, `(…, k, a)` |
| `P`, `Q` | indicators of their choices | `(…, n, c)`, `(…, k, c)` |
| `l` | lengthscales of numeric columns | `(numeric,)` |
| `w` | weights of categorical columns: correlation exp(-w) between two choices | `(choices,)` |
| `s` | share of the variance that columns have each on its own | scalar |
| `rho` | correlation left where one of two configurations lacks a group | `(groups,)` |
| `s2` | variance | scalar |
| `V` | slope of some number by the covariances | `(…, n, k)` |

k(x, z) = s2 · ((1 - s) · together + s · alone).

*Together* is M(x, z) · C(x, z) · product over groups g of G_g(x, z), with M a Matérn 5/2 over the numeric columns that
are always active, C = exp(-sum of w over differing choices), and for a conditional group

    G_g = 1                                 where both lack it: they do not differ in it
    G_g = rho                               where one lacks it
    G_g = rho² + (1 - rho²) · M_g · C_g     where both have it

which is positive definite for rho in [0, 1]: a constant feature that all share, and a part of its own.

*Alone* is the mean over all columns of the same made of that column only: the effects that each parameter has whatever
the others are (Duvenaud et al. 2011, "Additive Gaussian Processes", section 2, orders 1 and d with shared
lengthscales; sums beside products of kinds of columns: Ru et al. 2020, "Bayesian Optimisation over Multiple
Continuous and Categorical Inputs", equation 2). Where most of an objective is of that kind, a few tens of observations
say far more about it.

Slopes are written out: at a few hundred observations automatic differentiation took most of the time of a fit.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from autosearch.searchers.bayesian.layout import Layout


@dataclass(frozen=True, slots=True)
class Hyper:
    """Hyperparameters in natural units; several sets of them where all have a further dimension in front.

    Attributes:
        lengths: (numeric,) lengthscales in the unit cube, all numeric columns in order.
        weights: (choices,) weights of categorical columns in order.
        rhos: (groups,).
        variance: s2.
        noise: variance of the observation noise, in units of z.
        alone: s.
    """

    lengths: Tensor
    weights: Tensor
    rhos: Tensor
    variance: Tensor
    noise: Tensor
    alone: Tensor

    @classmethod
    def stack(cls, sets: "Sequence[Hyper]") -> "Hyper":
        """Several sets as one."""
        parts = ((h.lengths, h.weights, h.rhos, h.variance, h.noise, h.alone) for h in sets)
        return cls(*(torch.stack(values) for values in zip(*parts, strict=True)))


@dataclass(frozen=True, slots=True)
class Side:
    """What one block sees of a set of points, whatever the hyperparameters.

    Attributes:
        numbers: (…, n, a) numeric columns, centred.
        hot: (…, n, c) indicators of choices.
        flag: (…, n) whether they have the block's group.
    """

    numbers: Tensor | None
    hot: Tensor | None
    flag: Tensor | None


class Block:
    """Columns that form one Matérn-times-choices factor, with their places among lengths and weights."""

    def __init__(
        self, numeric: dict[int, int], choices: dict[int, tuple[int, int]], flag: int | None
    ) -> None:
        sizes = [size for _, size in choices.values()]
        self.numeric, self.lengths = _places(numeric), _places(numeric.values())
        self.choices, self.weights = _places(choices), _places(place for place, _ in choices.values())
        self.flag, self.count = flag, len(self.numeric) + len(self.choices)
        self.sizes, self.last = torch.tensor(sizes, dtype=torch.float64), _places(sizes) - 1
        self.offsets = _places(sum(sizes[:i]) for i in range(len(sizes)))
        self.column = torch.repeat_interleave(torch.arange(len(sizes)), _places(sizes))

    def side(self, X: Tensor) -> Side:
        numbers = hot = None
        if len(self.numeric) or not len(self.choices):  # a block without any column is 1 everywhere
            # Centred, which keeps the cancellation in |x|² + |z|² - 2xz small.
            numbers = X.index_select(-1, self.numeric) - 0.5
        if len(self.choices):
            place = (X.index_select(-1, self.choices) * self.sizes).long()
            place = torch.minimum(place, self.last) + self.offsets
            hot = torch.zeros(*X.shape[:-1], len(self.column), dtype=X.dtype).scatter_(-1, place, 1.0)
        return Side(numbers, hot, None if self.flag is None else X[..., self.flag])


def _places(numbers: Iterable[int]) -> Tensor:
    return torch.tensor(list(numbers), dtype=torch.int64)


@dataclass(slots=True)
class Part:
    """One block between two sets of points: what its slopes are made of."""

    block: Block
    A: Tensor | None = None
    B: Tensor | None = None
    hot: Tensor | None = None
    root: Tensor | None = None  # square root of five times the squared distance
    decay: Tensor | None = None  # exp(-root)
    same: Tensor | None = None  # C
    inside: Tensor | None = None  # M · C, None where the block has no column
    rho: Tensor | None = None
    both: Tensor | None = None  # whether both have the group
    one: Tensor | None = None  # whether one alone has it
    factor: Tensor | None = None  # what the product is multiplied by
    gaps: Tensor | None = None  # A - B, (…, a, n, k)
    own_root: Tensor | None = None  # square root of five times their squares
    own_decay: Tensor | None = None  # exp(-own_root)
    alone: Tensor | None = (
        None  # mean over columns of what each is inside on its own, then as `factor` of `inside`
    )

    def slope_of_inside(self, V: Tensor) -> Tensor:
        """Slopes by M · C, given those by the factor."""
        return V if self.both is None or self.rho is None else V * self.both * (1 - self.rho**2)

    def slope_of_squared(self, V: Tensor) -> Tensor:
        """Slopes by the squared distances, given those by M · C; finite at 0, where that of the root is not."""
        slope = (-5.0 / 6.0) * (1.0 + _there(self.root)) * _there(self.decay)
        return V * slope if self.same is None else V * slope * self.same


def _evaluate(block: Block, X: Side, Z: Side, hyper: Hyper, rho: Tensor | None) -> Part:
    part = Part(block)
    if X.numbers is not None and Z.numbers is not None:
        lengths = hyper.lengths[..., block.lengths].unsqueeze(-2)
        A = X.numbers / lengths
        B = A if Z is X else Z.numbers / lengths
        squared = torch.matmul(A, B.mT).mul_(-2.0)
        squared += A.square().sum(-1, keepdim=True)
        squared += B.square().sum(-1).unsqueeze(-2)
        squared.clamp_min_(0.0)
        part.A, part.B = A, B
        part.root = (5.0 * squared).sqrt_()
        part.decay = torch.exp(-part.root)
        part.inside = squared.mul_(5.0 / 3.0).add_(part.root).add_(1.0).mul_(part.decay)
    if X.hot is not None and Z.hot is not None:
        weights = hyper.weights[..., block.weights].unsqueeze(-2)
        part.hot = X.hot
        part.same = torch.matmul(X.hot * weights[..., block.column], Z.hot.mT)
        part.same = part.same.sub_(weights.sum(-1, keepdim=True)).exp_()
        part.inside = part.same if part.inside is None else part.inside * part.same
    if X.flag is not None and Z.flag is not None and rho is not None:
        a, b = X.flag.unsqueeze(-1), Z.flag.unsqueeze(-2)
        part.rho, part.both = rho, a * b
        part.one = a + b - 2 * part.both
    part.factor = _grouped(part, _there(part.inside))
    return part


def _grouped(part: Part, inside: Tensor) -> Tensor:
    """G_g, given what it is inside."""
    if part.rho is None:
        return inside
    factor = (1 - part.rho**2) * inside
    factor += part.rho**2 - 1
    factor *= _there(part.both)
    # Where both have it 1, where one has it rho, where none has it 1.
    factor += 1 - (1 - part.rho) * _there(part.one)
    return factor


def _evaluate_alone(part: Part, X: Side, Z: Side, hyper: Hyper) -> None:
    """Fill in what the columns of a part that has some are each on its own."""
    block, total = part.block, None
    if part.A is not None and part.B is not None:
        part.gaps = part.A.mT.unsqueeze(-1) - part.B.mT.unsqueeze(-2)
        part.own_root = part.gaps.abs().mul_(math.sqrt(5.0))
        part.own_decay = torch.exp(-part.own_root)
        total = (part.own_root / 3.0).add_(1.0).mul_(part.own_root).add_(1.0).mul_(part.own_decay).sum(-3)
    if X.hot is not None and Z.hot is not None:
        # The sum over categorical columns of exp(-w) where they differ and 1 where they agree.
        gains = -torch.expm1(-hyper.weights[..., block.weights].unsqueeze(-2))
        chosen = torch.matmul(X.hot * gains[..., block.column], Z.hot.mT)
        chosen += len(block.choices) - gains.sum(-1, keepdim=True)
        total = chosen if total is None else total + chosen
    part.alone = _grouped(part, _there(total) / block.count)


def _there(x: Tensor | None) -> Tensor:
    return cast(Tensor, x)


class _Covariance(torch.autograd.Function):
    """`MixedKernel.parts` with its slopes by both sets of points."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, Z: Tensor, kernel: "MixedKernel", hyper: Hyper) -> Tensor:
        first = kernel.sides(X)
        K, parts = kernel.parts(first, first if Z is X else kernel.sides(Z), hyper)
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
        columns: number of all columns.
        additive: whether there is a share of columns on their own.
        blocks: the columns that are always active, then those of each group.
    """

    def __init__(self, layout: Layout, *, additive: bool = True) -> None:
        sizes = dict(layout.choices)
        numeric = [j for j in range(layout.d) if j not in sizes]
        if layout.fidelity is not None:
            numeric.append(layout.fidelity)
        self.numeric: tuple[int, ...] = tuple(numeric)
        self.choices = layout.choices
        self.groups = len(layout.groups)
        grouped = {j for group in layout.groups for j in group.columns}
        always = [j for j in [*range(layout.d), *numeric] if j not in grouped]
        self.blocks = [self._block(tuple(dict.fromkeys(always)), None)]
        self.blocks += [self._block(group.columns, group.flag) for group in layout.groups]
        self.columns = len(self.numeric) + len(self.choices)
        self.additive = additive and self.columns > 1

    def _block(self, columns: tuple[int, ...], flag: int | None) -> Block:
        position = {j: i for i, j in enumerate(self.numeric)}
        place = {j: (i, n) for i, (j, n) in enumerate(self.choices)}
        return Block(
            {j: position[j] for j in columns if j in position},
            {j: place[j] for j in columns if j in place},
            flag,
        )

    def __call__(self, X: Tensor, Z: Tensor, hyper: Hyper) -> Tensor:
        """Covariance of the latent function at `X` and `Z`, (…, n, k); differentiable in both, not in `hyper`."""
        return cast(Tensor, _Covariance.apply(X, Z, self, hyper))  # type: ignore[no-untyped-call]

    def sides(self, X: Tensor) -> list[Side]:
        """What the blocks see of points."""
        return [block.side(X) for block in self.blocks]

    def parts(self, X: list[Side], Z: list[Side], hyper: Hyper) -> tuple[Tensor, list[Part]]:
        """The covariance of two sets of points, and what it is the product of."""
        rhos = [None, *hyper.rhos[..., None, None].unbind(-3)]
        parts = [
            _evaluate(block, x, z, hyper, rho)
            for block, x, z, rho in zip(self.blocks, X, Z, rhos, strict=True)
        ]
        product = hyper.variance[..., None, None] * _there(parts[0].factor)
        for part in parts[1:]:
            product *= _there(part.factor)
        if self.additive:
            product *= 1 - hyper.alone[..., None, None]
            for part, x, z in zip(parts, X, Z, strict=True):
                if part.block.count:
                    _evaluate_alone(part, x, z, hyper)
                    product += self._share(part, hyper) * _there(part.alone)
        return product, parts

    def _share(self, part: Part, hyper: Hyper) -> Tensor:
        """(…, 1, 1) what a part's columns on their own are weighed by."""
        return (hyper.variance * hyper.alone * (part.block.count / self.columns))[..., None, None]

    def _slope_of_own(self, V: Tensor, part: Part, hyper: Hyper) -> Tensor:
        """(…, 1, n, k) slopes by what each column is on its own, given those by the covariances."""
        return (part.slope_of_inside(V * self._share(part, hyper)) / part.block.count).unsqueeze(-3)

    def slope_of_points(
        self, V: Tensor, parts: list[Part], X: Tensor, hyper: Hyper, *, second: bool = False
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
            if part.gaps is not None:
                pull = self._slope_of_own(V, part, hyper) * _by_gaps(part)
                own += -pull.sum(-2).mT if second else pull.sum(-1).mT
            own = own / hyper.lengths[..., part.block.lengths].unsqueeze(-2)
            # Points that all batches or sets of hyperparameters share collect the slopes of all.
            own = own.sum_to_size(*X.shape[:-1], own.shape[-1])
            found.index_add_(-1, part.block.numeric, own)
        return found


def _by_gaps(part: Part) -> Tensor:
    """(…, a, n, k) slopes of what numeric columns are on their own by their gaps."""
    return (-5.0 / 3.0) * (1.0 + _there(part.own_root)) * _there(part.own_decay) * _there(part.gaps)


def _slopes_of_factors(V: Tensor, parts: list[Part], hyper: Hyper) -> list[tuple[Part, Tensor]]:
    """Each part with the slopes by its factor: V times all others. Products, for a factor may be 0."""
    V = (hyper.variance * (1 - hyper.alone))[..., None, None] * V
    after = [V]
    for part in parts[:0:-1]:
        after.append(after[-1] * _there(part.factor))
    found, before = [], None
    for part, rest in zip(parts, reversed(after), strict=True):
        found.append((part, rest if before is None else rest * before))
        factor = _there(part.factor)
        before = factor if before is None else before * factor
    return found
