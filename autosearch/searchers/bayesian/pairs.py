"""The covariances among one set of points as a function of the hyperparameters, with slopes: what a fit evaluates.

Symbols, beside those of the kernel:

| symbol | meaning | shape |
|---|---|---|
| `p` | pairs of different points; of the two orders of a pair one | |
| `k` | covariances of the pairs | `(p,)` |
| `v` | slope of some number by them | `(p,)` |
| `gaps` | distances of the pairs in each numeric column, at lengthscales of 1 | `(a, p)` |
| `differ` | whether the pairs differ in each categorical column | `(c, p)` |

The same as `MixedKernel.parts`, but what does not depend on hyperparameters is computed once, and for half of the
covariances: those of a point with itself are s2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from autosearch.searchers.bayesian.kernel import Block, Hyper, MixedKernel, Side

_ROOT = math.sqrt(5.0)


@dataclass(slots=True)
class _State:
    """A block's part in the covariances at some hyperparameters; see `_Pairs`."""

    inside: Tensor  # M · C, of the pairs that both have the group
    factor: Tensor  # (p,) G_g of it
    root: Tensor | None = None
    decay: Tensor | None = None
    same: Tensor | None = None
    own_root: Tensor | None = None
    own_decay: Tensor | None = None
    mean: Tensor | None = None
    alone: Tensor | None = None


class _Pairs:
    """What one block sees of all pairs."""

    def __init__(self, block: Block, side: Side, first: Tensor, second: Tensor) -> None:
        self.block = block
        self.gaps = self.squares = self.differ = self.both = self.one = None
        if side.flag is not None:
            a, b = side.flag[first], side.flag[second]
            self.one = a + b - 2 * a * b
            # All else is computed for the pairs alone that both have the group.
            self.both = (a * b).nonzero()[:, 0]
            first, second = first[self.both], second[self.both]
        if side.numbers is not None:
            columns = side.numbers.T.contiguous()
            self.gaps = (columns[:, first] - columns[:, second]).abs_()
            self.squares = self.gaps.square()
        if side.hot is not None:
            agree = [
                (side.hot[:, owned][first] * side.hot[:, owned][second]).sum(1)
                for owned in (block.column == j for j in range(len(block.choices)))
            ]
            self.differ = 1.0 - torch.stack(agree)

    def evaluate(self, hyper: Hyper, rho: Tensor | None, *, additive: bool) -> _State:
        block, inside, total = self.block, None, None
        state = _State(hyper.variance, hyper.variance)
        if self.gaps is not None and self.squares is not None:
            lengths = hyper.lengths[block.lengths]
            state.root = (lengths.pow(-2).mul_(5.0) @ self.squares).sqrt_()
            state.decay = torch.exp(-state.root)
            inside = _matern(state.root).mul_(state.decay)
            if additive and len(lengths):
                state.own_root = self.gaps * (_ROOT / lengths)[:, None]
                state.own_decay = torch.exp(-state.own_root)
                total = _matern(state.own_root).mul_(state.own_decay).sum(0)
        if self.differ is not None:
            weights = hyper.weights[block.weights]
            state.same = (-weights @ self.differ).exp_()
            inside = state.same if inside is None else inside * state.same
            if additive:
                chosen = len(weights) + torch.expm1(-weights) @ self.differ
                total = chosen if total is None else total + chosen
        state.inside = cast(Tensor, inside)  # every block has columns of one kind at least
        state.factor = self._grouped(state.inside, rho)
        if total is not None:
            state.mean = total.div_(block.count)
            state.alone = self._grouped(state.mean, rho)
        return state

    def _grouped(self, inside: Tensor, rho: Tensor | None) -> Tensor:
        if self.both is None or self.one is None or rho is None:
            return inside
        return (1 - (1 - rho) * self.one).put_(self.both, rho**2 + (1 - rho**2) * inside)

    def slope_of_inside(self, v: Tensor, rho: Tensor | None) -> Tensor:
        return v if self.both is None or rho is None else v.take(self.both) * (1 - rho**2)

    def slope_of_rho(self, v: Tensor, inside: Tensor, rho: Tensor) -> float:
        """By the logit of rho, given slopes by what `_grouped` returned of `inside`."""
        if self.both is None or self.one is None:
            return 0.0
        by = v @ self.one + 2 * rho * (v.take(self.both) @ (1 - inside))
        return float(by * rho * (1 - rho))


def _matern(root: Tensor) -> Tensor:
    return (root / 3.0).add_(1.0).mul_(root).add_(1.0)


class Gram:
    """The covariances among points.

    Args:
        kernel: the covariance.
        X: (n, D) points.
    """

    def __init__(self, kernel: MixedKernel, X: Tensor) -> None:
        self.kernel, self.n = kernel, len(X)
        first, second = torch.tril_indices(self.n, self.n, -1)
        self._flat = first * self.n + second
        self._pairs = [
            _Pairs(block, side, first, second)
            for block, side in zip(kernel.blocks, kernel.sides(X), strict=True)
        ]

    def __call__(self, hyper: Hyper) -> tuple[Tensor, list[_State]]:
        """The covariances (n, n), those below the diagonal only, and what their slopes are made of."""
        kernel, s2, s = self.kernel, hyper.variance, hyper.alone
        states = [
            pairs.evaluate(hyper, rho, additive=kernel.additive)
            for pairs, rho in zip(self._pairs, _rhos(hyper), strict=True)
        ]
        k = s2 * (1 - s) * states[0].factor
        for state in states[1:]:
            k *= state.factor
        for pairs, state in zip(self._pairs, states, strict=True):
            if state.alone is not None:
                k.add_(state.alone, alpha=float(s2 * s) * pairs.block.count / kernel.columns)
        K = torch.zeros(self.n, self.n, dtype=k.dtype)
        K.put_(self._flat, k)
        K.diagonal().fill_(float(s2))
        return K, states

    def slope(self, W: Tensor, K: Tensor, states: Sequence[_State], hyper: Hyper) -> np.ndarray:
        """Slope of a number by log lengths, log weights, logit rhos, logit s and log s2.

        Args:
            W: (n, n), symmetric: its slopes by the entries of K.
            K: as `__call__` returned it.
            states: the same.
            hyper: hyperparameters.
        """
        kernel, s2, s = self.kernel, float(hyper.variance), float(hyper.alone)
        v = W.take(self._flat).mul_(2.0)
        by_k = float(v @ K.take(self._flat))
        lengths, weights = torch.zeros_like(hyper.lengths), torch.zeros_like(hyper.weights)
        rhos = np.zeros(kernel.groups)
        of_own = 0.0
        for i, (pairs, state, rho, others) in enumerate(
            zip(self._pairs, states, _rhos(hyper), _others(states), strict=True)
        ):
            block = pairs.block
            by = v * (s2 * (1 - s)) if others is None else v * (s2 * (1 - s)) * others
            inner = pairs.slope_of_inside(by, rho)
            share = s2 * s * block.count / kernel.columns
            own = None if state.alone is None else pairs.slope_of_inside(v * (share / block.count), rho)
            lengths[block.lengths] = self._by_lengths(pairs, state, inner, own, hyper)
            weights[block.weights] = self._by_weights(pairs, state, inner, own, hyper)
            if rho is not None:
                rhos[i - 1] = pairs.slope_of_rho(by, state.inside, rho)
            if state.alone is not None and state.mean is not None:
                of_own += share * float(v @ state.alone)
                if rho is not None:
                    rhos[i - 1] += pairs.slope_of_rho(v * share, state.mean, rho)
        # k = (1 - s) together + alone, whose logit of s moves both by s (1 - s) of what they are made of.
        by_s = [of_own - s * by_k] if kernel.additive else []
        total = by_k + s2 * float(W.diagonal().sum())
        return np.concatenate([lengths.numpy(), weights.numpy(), rhos, by_s, [total]])

    def _by_lengths(
        self, pairs: _Pairs, state: _State, inner: Tensor, own: Tensor | None, hyper: Hyper
    ) -> Tensor:
        if pairs.squares is None or state.root is None or state.decay is None:
            return torch.zeros(len(pairs.block.lengths), dtype=inner.dtype)
        pull = (1.0 + state.root).mul_(state.decay).mul_(inner)
        if state.same is not None:
            pull *= state.same
        by = (5.0 / 3.0) * hyper.lengths[pairs.block.lengths].pow(-2) * (pairs.squares @ pull)
        if own is not None and state.own_root is not None and state.own_decay is not None:
            steep = (state.own_root + 1.0).mul_(state.own_root).mul_(state.own_root).mul_(state.own_decay)
            by += (steep @ own) / 3.0
        return by

    def _by_weights(
        self, pairs: _Pairs, state: _State, inner: Tensor, own: Tensor | None, hyper: Hyper
    ) -> Tensor:
        if pairs.differ is None:
            return torch.zeros(len(pairs.block.weights), dtype=inner.dtype)
        weights = hyper.weights[pairs.block.weights]
        by = -weights * (pairs.differ @ (inner * state.inside))
        if own is not None:
            by -= weights * torch.exp(-weights) * (pairs.differ @ own)
        return by


def _rhos(hyper: Hyper) -> list[Tensor | None]:
    return [None, *hyper.rhos]


def _others(states: Sequence[_State]) -> list[Tensor | None]:
    """For each block the product of the factors of all others; None where there is no other. A factor may be 0."""
    n = len(states)
    found: list[Tensor | None] = [None] * n
    for i in range(n):
        for j in range(n):
            if i != j:
                product = found[i]
                found[i] = states[j].factor if product is None else product * states[j].factor
    return found
