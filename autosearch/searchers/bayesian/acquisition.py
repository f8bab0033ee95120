"""What a configuration is worth trying for, in logarithms; higher is better.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `F` | points at which the function is taken as known: observed and pending ones | `(k, D)` |
| `f` | samples of the function there | `(k, S)` |
| `best` | best of each sample among points that count as feasible | `(S,)` |
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from botorch.acquisition.multi_objective import logei
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.sampling.qmc import NormalQMCEngine
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from autosearch.searchers.bayesian.gp import GaussianProcess, Given, Independent
from autosearch.searchers.bayesian.improvement import log_improvement

Acquisition = Callable[[Tensor], Tensor]
"""Points (n, D) -> (n,) log values, differentiable."""

SAMPLES = 32
# Below this share of noise in the variance of an observation, the values at observed points count as known.
QUIET = 1e-4
_JITTER = 1e-6  # relative to the variance, where samples are taken as known
_STEEP = 1e6  # logarithms of improvements that nobody expects may be as low as minus this
_MOST_QUASI = 1000  # columns of a Sobol sequence; building one of more takes longer than it helps


class LogImprovement:
    """Logarithm of the expected improvement over the best of the known points, averaged over what they may be.

    Without noise and pending points this is LogEI (Ament et al. 2023, "Unexpected Improvements to Expected
    Improvement", section 3); else noisy EI (Letham et al. 2019, "Constrained Bayesian Optimization with Noisy
    Experiments", section 4): the function is sampled at observed and pending points, each sample gives an exact
    expected improvement, and these are averaged.

    Args:
        models: of the objective, all of the same observations; the improvement is averaged over them.
        pending: (p, D) points whose results are to come.
        counts: (n,) bool: observed points that improvement is measured from.
        pending_counts: (p,) bool: the same for pending points.
        seed: of the samples.
        certain: take the means at observed points as known, whatever the noise.
        samples: of what observed and pending points may be.
    """

    def __init__(
        self,
        models: Sequence[GaussianProcess],
        pending: Tensor,
        counts: Tensor,
        pending_counts: Tensor,
        seed: int,
        *,
        certain: bool = False,
        samples: int = SAMPLES,
    ) -> None:
        observed, index = _distinct(models[0].X)
        counted = torch.zeros(len(observed), dtype=torch.bool)
        counted[index[counts]] = True
        quiet = [certain or model.noise_share < QUIET for model in models]
        if all(quiet) and not len(pending):
            parts = [model.given for model in models]
            best = [model.moments(observed[counted])[0].max()[None] for model in models]
        else:
            F = torch.cat([observed, pending])
            every = torch.cat([counted, pending_counts])
            parts, best = [], []
            for model, known in zip(models, quiet, strict=True):
                f = _samples(model, F, len(observed) if known else 0, seed, samples)
                parts.append(_given(model, F, f))
                best.append(f[every].max(dim=0).values)
        self._given = Given.stack(parts)
        self.best = torch.stack(best)

    def __call__(self, X: Tensor) -> Tensor:
        mean, variance = self._given.moments(X)
        values = log_improvement(mean, variance, self.best)
        return values.logsumexp(0) - math.log(len(values))


def _samples(model: GaussianProcess, F: Tensor, known: int, seed: int, samples: int) -> Tensor:
    """(k, S) samples of the function at `F`, of which the first `known` are taken at their means."""
    mean, covariance = model.joint(F)
    count = len(F) - known
    noise = _JITTER * model.hyper.variance * torch.eye(count, dtype=mean.dtype)
    f = mean[:, None].repeat(1, samples)
    if count:
        f[known:] += (
            torch.linalg.cholesky(covariance[known:, known:] + noise) @ _normal(count, seed, samples).T
        )
    return f


def _given(model: GaussianProcess, F: Tensor, f: Tensor) -> Given:
    """The function of which `f` (k, S) are the values at `F` (k, D)."""
    noise = _JITTER * model.hyper.variance * torch.eye(len(F), dtype=F.dtype)
    L = torch.linalg.cholesky(model.covariance(F, F) + noise)
    alpha = torch.cholesky_solve(f - model.constant, L)
    return Given(model.kernel, model.hyper, F, L, alpha, model.constant)


def _normal(count: int, seed: int, samples: int) -> Tensor:
    """(samples, count) standard normal numbers: quasi-random as far as that goes."""
    if count <= _MOST_QUASI:
        out = torch.empty(samples, count, dtype=torch.float64)
        NormalQMCEngine(count, seed=seed).draw(samples, out=out)
        return out
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, count, dtype=torch.float64, generator=generator)


class UpperBound:
    """The mean plus two standard deviations, averaged over models (Srinivas et al. 2010, equation 6).

    Pending points count as observed at their means, which leaves only their variance out (GP-BUCB, Desautels et al.
    2014, section 4.1).
    """

    def __init__(self, models: Sequence[GaussianProcess], pending: Tensor) -> None:
        with torch.no_grad():
            self._models = [
                model.condition(pending, model.moments(pending)[0]) if len(pending) else model
                for model in models
            ]

    def __call__(self, X: Tensor) -> Tensor:
        bounds = [mean + 2.0 * variance.sqrt() for mean, variance in (m.moments(X) for m in self._models)]
        return torch.stack(bounds).mean(0)


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
        samples: of what observed and pending points may be.
    """

    def __init__(
        self,
        models: Sequence[GaussianProcess],
        baseline: Tensor,
        values: Tensor,
        pending: Tensor,
        seed: int,
        *,
        samples: int = SAMPLES,
    ) -> None:
        with _nothing_compiled():
            self._acquisition = qLogNoisyExpectedHypervolumeImprovement(
                model=Independent(models),
                ref_point=reference(values),
                X_baseline=baseline,
                X_pending=pending if len(pending) else None,
                sampler=SobolQMCNormalSampler(torch.Size([samples]), seed=seed),
                prune_baseline=True,
                cache_root=False,
            )

    def __call__(self, X: Tensor) -> Tensor:
        values: Tensor = self._acquisition(X.unsqueeze(-2))
        return values


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    """Keep BoTorch from compiling an extension of its own at the first use of a class.

    That takes a minute, writes to the user's home, and waits for ever where another process was killed at it.
    """
    before = logei._load_attempted
    logei._load_attempted = True
    try:
        yield
    finally:
        logei._load_attempted = before


def reference(Y: Tensor) -> Tensor:
    """(m,) point that volume is measured from: a little below the worst values of the front, at most the worst decile.

    With the front's own worst values alone its ends would be worth nothing, and a short front would stay short.
    """
    own: Tensor = infer_reference_point(Y[is_non_dominated(Y)], scale=0.1)
    return torch.minimum(own, Y.quantile(0.1, dim=0))


@dataclass(frozen=True, slots=True)
class LogBelow:
    """Logarithm of the probability that a modelled quantity is at most `bound`.

    Below `least`, itself such a logarithm, it falls so steeply that hardly any improvement makes up for it.
    """

    model: GaussianProcess
    bound: float
    least: float = -math.inf

    def __call__(self, X: Tensor) -> Tensor:
        mean, variance = self.model.moments(X)
        below: Tensor = torch.special.log_ndtr((self.bound - mean) / variance.sqrt())
        return below if self.least == -math.inf else below + _STEEP * (below - self.least).clamp_max(0.0)


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of terms: the product of what they are logarithms of."""

    terms: tuple[Acquisition, ...]

    def __call__(self, X: Tensor) -> Tensor:
        total = self.terms[0](X)
        for term in self.terms[1:]:
            total = total + term(X)
        return total
