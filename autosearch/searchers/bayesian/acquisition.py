"""What a configuration is worth trying for, in logarithms; higher is better.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `F` | points at which the function is taken as known: observed and pending ones | `(k, D)` |
| `f` | samples of the function there | `(k, S)` |
| `best` | best of each sample among points that count as feasible | `(S,)` |
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from botorch.acquisition.analytic import _log_ei_helper
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.sampling.qmc import NormalQMCEngine
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from autosearch.searchers.bayesian.gp import GaussianProcess, Independent

Acquisition = Callable[[Tensor], Tensor]
"""Points (n, D) -> (n,) log values, differentiable."""

SAMPLES = 32
# Below this share of noise in the variance of an observation, the values at observed points count as known.
QUIET = 1e-4
_MOST_QUASI = 1000  # columns of a Sobol sequence; building one of more takes longer than it helps


class LogImprovement:
    """Logarithm of the expected improvement over the best of the known points, averaged over what they may be.

    Without noise and pending points this is LogEI (Ament et al. 2023, "Unexpected Improvements to Expected
    Improvement", section 3); else noisy EI (Letham et al. 2019, "Constrained Bayesian Optimization with Noisy
    Experiments", section 4): the function is sampled at observed and pending points, each sample gives an exact
    expected improvement, and these are averaged.

    Args:
        model: of the objective.
        pending: (p, D) points whose results are to come.
        counts: (n,) bool: observed points that improvement is measured from.
        pending_counts: (p,) bool: the same for pending points.
        seed: of the samples.
        certain: take the means at observed points as known, whatever the noise.
    """

    def __init__(
        self,
        model: GaussianProcess,
        pending: Tensor,
        counts: Tensor,
        pending_counts: Tensor,
        seed: int,
        *,
        certain: bool = False,
    ) -> None:
        self.model = model
        self.L: Tensor | None = None
        quiet = certain or model.noise_share < QUIET
        observed, index = _distinct(model.X)
        counted = torch.zeros(len(observed), dtype=torch.bool)
        counted[index[counts]] = True
        if quiet and not len(pending):
            self.best = model.moments(observed[counted])[0].max()[None]
            return
        self.F = torch.cat([observed, pending])
        mean, covariance = model.joint(self.F)
        known = len(observed) if quiet else 0
        jitter = 1e-6 * model.hyper.variance
        count = len(self.F) - known
        base = _normal(count, seed)
        root = torch.linalg.cholesky(covariance[known:, known:] + jitter * torch.eye(count, dtype=mean.dtype))
        f = mean[:, None].repeat(1, SAMPLES)
        f[known:] += root @ base.T
        eye = torch.eye(len(self.F), dtype=mean.dtype)
        self.L = torch.linalg.cholesky(model.kernel(self.F, self.F, model.hyper) + jitter * eye)
        self.alpha = torch.cholesky_solve(f - model.constant, self.L)
        self.best = f[torch.cat([counted, pending_counts])].max(dim=0).values

    def __call__(self, X: Tensor) -> Tensor:
        if self.L is None:
            mean, variance = self.model.moments(X)
            mean = mean[:, None]
        else:
            cross = self.model.kernel(X, self.F, self.model.hyper)
            mean = self.model.constant + cross @ self.alpha
            solved = torch.linalg.solve_triangular(self.L, cross.mT, upper=False)
            floor = 1e-10 * float(self.model.hyper.variance)
            variance = (self.model.hyper.variance - solved.square().sum(0)).clamp_min(floor)
        sigma = variance.sqrt()[:, None]
        values: Tensor = _log_ei_helper((mean - self.best) / sigma) + sigma.log()
        return values.logsumexp(1) - math.log(values.shape[1])


class Mean:
    """Logarithm of the mean of what several acquisitions are logarithms of."""

    def __init__(self, parts: Sequence[Acquisition]) -> None:
        self.parts = tuple(parts)

    def __call__(self, X: Tensor) -> Tensor:
        values = torch.stack([part(X) for part in self.parts])
        return values.logsumexp(0) - math.log(len(self.parts))


def _normal(count: int, seed: int) -> Tensor:
    """(SAMPLES, count) standard normal numbers: quasi-random as far as that goes."""
    if count <= _MOST_QUASI:
        out = torch.empty(SAMPLES, count, dtype=torch.float64)
        NormalQMCEngine(count, seed=seed).draw(SAMPLES, out=out)
        return out
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SAMPLES, count, dtype=torch.float64, generator=generator)


def _distinct(X: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rows, and for each row of `X` its place among them."""
    rows, index = torch.unique(X, dim=0, return_inverse=True)
    return rows, index


class LogHypervolume:
    """Logarithm of the expected gain of the volume that the front dominates, with noise and pending points.

    qLogNEHVI of Daulton et al. 2021 ("Parallel Bayesian Optimization of Multiple Noisy Objectives") in the
    logarithmic form of Ament et al. 2023.

    Args:
        models: one of each objective.
        baseline: (n, D) feasible observed points.
        values: (n, m) their values z, which set the reference point.
        pending: (p, D).
        seed: of the samples.
    """

    def __init__(
        self,
        models: Sequence[GaussianProcess],
        baseline: Tensor,
        values: Tensor,
        pending: Tensor,
        seed: int,
    ) -> None:
        self._acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=Independent(models),
            ref_point=reference(values),
            X_baseline=baseline,
            X_pending=pending if len(pending) else None,
            sampler=SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=seed),
            prune_baseline=True,
            cache_root=False,
        )

    def __call__(self, X: Tensor) -> Tensor:
        values: Tensor = self._acquisition(X.unsqueeze(-2))
        return values


def reference(Y: Tensor) -> Tensor:
    """(m,) point that volume is measured from: a little below the worst values of the front, at most the worst decile.

    With the front's own worst values alone its ends would be worth nothing, and a short front would stay short.
    """
    own: Tensor = infer_reference_point(Y[is_non_dominated(Y)], scale=0.1)
    return torch.minimum(own, Y.quantile(0.1, dim=0))


@dataclass(frozen=True, slots=True)
class LogBelow:
    """Logarithm of the probability that a modelled quantity is at most `bound`."""

    model: GaussianProcess
    bound: float

    def __call__(self, X: Tensor) -> Tensor:
        mean, variance = self.model.moments(X)
        below: Tensor = torch.special.log_ndtr((self.bound - mean) / variance.sqrt())
        return below


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of terms: the product of what they are logarithms of."""

    terms: tuple[Acquisition, ...]

    def __call__(self, X: Tensor) -> Tensor:
        total = self.terms[0](X)
        for term in self.terms[1:]:
            total = total + term(X)
        return total
