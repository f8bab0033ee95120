"""Exact Gaussian process regression over points, as a BoTorch model.

BoTorch's acquisition functions take it as they take `SingleTaskGP`. Its linear algebra is written out: at 50 to 200
observations the work is a few small matrix products, and the general machinery for structured kernels around them cost
several times more than they do.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `X`, `y` | observed points and values z (see transforms) | `(n, D)`, `(n,)` |
| `v` | known variance of each observation, NaN where it is to be inferred | `(n,)` |
| `L` | Cholesky factor of K + noise | `(n, n)` |
| `alpha` | (K + noise)⁻¹ (y - mean) | `(n,)` |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from torch import Tensor

from autosearch.searchers.bayesian.kernel import Hyper, MixedKernel
from autosearch.searchers.bayesian.layout import Layout
from autosearch.searchers.bayesian.likelihood import factorise, fit, likeliest_mean, noise_of
from autosearch.searchers.bayesian.own_kernel import OwnHyper, OwnKernel

_MOST_FITTED = 300  # more observations hardly move the hyperparameters and cost their cube
_FEW_FITTED = 50
_CACHED = 2**17  # covariances computed at once: more of them do not stay in a processor's cache
_FLOOR = 1e-12  # least variance left, relative to that of the function


AnyKernel = MixedKernel | OwnKernel
AnyHyper = Hyper | OwnHyper


class Given:
    """What is believed about a function whose values at some points are taken as given, in several versions.

    Args:
        kernel: the covariance.
        hyper: its hyperparameters; one set, or h of them.
        F: (k, D) the points.
        L: (…, k, k) Cholesky factor of the covariance of the values there.
        alpha: (…, k, S) that covariance's inverse times the values less `constant`, S versions of them.
        constant: (…,) the mean.
    """

    def __init__(
        self, kernel: AnyKernel, hyper: AnyHyper, F: Tensor, L: Tensor, alpha: Tensor, constant: Tensor
    ) -> None:
        self.kernel, self.hyper, self.F, self.L, self.alpha = kernel, hyper, F, L, alpha
        self.constant = constant
        self.sides = kernel.sides(F) if isinstance(kernel, MixedKernel) else []

    @classmethod
    def stack(cls, parts: "Sequence[Given]") -> "Given | Beside":
        """Several, of the same points and numbers of versions, as one."""
        one = parts[0]
        if isinstance(one.kernel, OwnKernel):
            return Beside(tuple(parts))
        L, alpha, constant = (
            torch.stack([getattr(part, name) for part in parts]) for name in ("L", "alpha", "constant")
        )
        hyper = Hyper.stack([cast(Hyper, part.hyper) for part in parts])
        return cls(one.kernel, hyper, one.F, L, alpha, constant)

    def moments(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (…, n, S) and variance (…, n) at `X` (n, D)."""
        if isinstance(self.kernel, OwnKernel):
            return self._differentiated(self.kernel, X)
        rows = max(1, _CACHED // self.alpha.shape[-2])
        parts = [_Moments.apply(part, self) for part in X.split(rows)]  # type: ignore[no-untyped-call]
        means, variances = zip(*parts, strict=True)
        return torch.cat(means, -2), torch.cat(variances, -1)

    def _differentiated(self, kernel: OwnKernel, X: Tensor) -> tuple[Tensor, Tensor]:
        """The same for a kernel whose slopes are not written out and whose variance may vary."""
        hyper = cast(OwnHyper, self.hyper)
        cross = kernel(X, self.F, hyper)
        solved = torch.linalg.solve_triangular(self.L, cross.mT, upper=False)
        before = kernel(X.unsqueeze(-2), X.unsqueeze(-2), hyper)[..., 0, 0]
        variance = (before - solved.square().sum(-2)).clamp_min(_FLOOR * float(hyper.variance))
        return self.constant + cross @ self.alpha, variance


@dataclass(frozen=True, slots=True)
class Beside:
    """Several `Given` as one."""

    parts: tuple[Given, ...]

    def moments(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (h, n, S) and variance (h, n) at `X` (n, D)."""
        means, variances = zip(*(part.moments(X) for part in self.parts), strict=True)
        return torch.stack(means), torch.stack(variances)


class _Moments(torch.autograd.Function):
    """`Given.moments` with its slopes by the points."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        kernel = cast(MixedKernel, given.kernel)
        cross, parts = kernel.parts(kernel.sides(X), given.sides, cast(Hyper, given.hyper))
        mean = given.constant[..., None, None] + cross @ given.alpha
        solved = torch.linalg.solve_triangular(given.L, cross.mT, upper=False)
        s2 = given.hyper.variance[..., None]
        variance = s2 - solved.square().sum(-2)
        floor = _FLOOR * s2
        if ctx.needs_input_grad[0]:
            ctx.kept = (X, given, parts, solved, variance > floor)
        return mean, torch.maximum(variance, floor)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        X, given, parts, solved, above = ctx.kept
        by_mean, by_variance = slopes
        pull = torch.linalg.solve_triangular(given.L.mT, solved, upper=True).mT
        V = by_mean @ given.alpha.mT - pull * (2 * by_variance * above).unsqueeze(-1)
        return given.kernel.slope_of_points(V, parts, X, given.hyper), None


class GaussianProcess(Model):
    """A Gaussian process with fixed hyperparameters, conditioned on observations.

    Args:
        kernel: the covariance.
        hyper: its hyperparameters.
        X: (n, D) points, float64.
        y: (n,) values.
        known: (n,) variances of the observations, NaN where `hyper.noise` holds.

    Raises:
        FitError: the covariance of the observations is singular.
    """

    def __init__(self, kernel: AnyKernel, hyper: AnyHyper, X: Tensor, y: Tensor, known: Tensor) -> None:
        super().__init__()
        self.kernel, self.hyper, self.X, self.y, self.known = kernel, hyper, X, y, known
        self.L, _ = factorise(self.covariance(X, X), noise_of(hyper, known), hyper.variance)
        self.constant, self.alpha = likeliest_mean(self.L, y)
        self.given = Given(kernel, hyper, X, self.L, self.alpha[:, None], self.constant)

    @classmethod
    def fitted(
        cls,
        layout: Layout,
        X: Tensor,
        y: Tensor,
        known: Tensor,
        *,
        most: int = _MOST_FITTED,
        draws: int = 0,
        first: np.ndarray | None = None,
        kernel: AnyKernel | None = None,
    ) -> "GaussianProcess":
        """Fit hyperparameters on at most `most` observations, then condition on all.

        `first` is where the fit begins, if a good place is known. With `draws`, `others` holds as many processes
        with other hyperparameters that the data allow. `kernel` None: `MixedKernel`.
        """
        kernel = kernel or MixedKernel(layout)
        keep = spread_out(len(y), most)
        starts = 2 if len(keep) <= _FEW_FITTED else 1
        found = fit(kernel, X[keep], y[keep], known[keep], starts=starts, draws=draws, first=first)
        model = cls(kernel, found.hyper, X, y, known)
        model.how = found.how
        model.others = tuple(cls(kernel, hyper, X, y, known) for hyper in found.others)
        return model

    others: "tuple[GaussianProcess, ...]" = ()
    how: str = "map"

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size()

    @property
    def noise_share(self) -> float:
        """Share of the variance of an observation that is noise."""
        noise = float(noise_of(self.hyper, self.known).mean())
        return noise / (noise + float(self.hyper.variance))

    def covariance(self, X: Tensor, Z: Tensor) -> Tensor:
        """Of the latent function at `X` and `Z` before any observation, (…, n, k)."""
        return self.kernel(X, Z, self.hyper)  # type: ignore[arg-type]  # a kernel and its own kind of hyperparameters

    def moments(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the latent function at `X` (n, D), each (n,)."""
        mean, variance = self.given.moments(X)
        return mean[:, 0], variance

    def joint(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (…, q) and covariance (…, q, q) of the latent function at `X` (…, q, D)."""
        cross = self.covariance(X, self.X)
        mean = self.constant + cross @ self.alpha
        solved = torch.linalg.solve_triangular(self.L, cross.mT, upper=False)
        covariance = self.covariance(X, X) - solved.mT @ solved
        eye = torch.eye(X.shape[-2], dtype=X.dtype)
        return mean, covariance + 1e-9 * self.hyper.variance * eye

    def posterior(self, X: Tensor, *_: object, **__: object) -> GPyTorchPosterior:
        """BoTorch's view of `joint`; of the latent function, without observation noise."""
        mean, covariance = self.joint(X)
        return GPyTorchPosterior(MultivariateNormal(mean, covariance))

    def condition(self, X: Tensor, y: Tensor) -> "GaussianProcess":
        """The process that has also seen values `y` (k,) of the latent function at `X` (k, D)."""
        exact = torch.zeros(len(y), dtype=X.dtype)
        return GaussianProcess(
            self.kernel,
            self.hyper,
            torch.cat([self.X, X]),
            torch.cat([self.y, y]),
            torch.cat([self.known, exact]),
        )


class Independent(Model):
    """Several processes as one model of several outputs, which are independent of each other given the data."""

    def __init__(self, models: Sequence[GaussianProcess]) -> None:
        super().__init__()
        self.models = tuple(models)

    @property
    def num_outputs(self) -> int:
        return len(self.models)

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size()

    def posterior(self, X: Tensor, *_: object, **__: object) -> GPyTorchPosterior:
        """Joint posterior of all latent functions at `X` (…, q, D)."""
        parts = [MultivariateNormal(*model.joint(X)) for model in self.models]
        return GPyTorchPosterior(MultitaskMultivariateNormal.from_independent_mvns(parts))


def spread_out(n: int, most: int) -> Tensor:
    """Indices of at most `most` of `n` rows, evenly spaced."""
    if n <= most:
        return torch.arange(n)
    return torch.as_tensor(np.linspace(0, n - 1, most).round().astype(np.int64))
