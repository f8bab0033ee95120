"""Exact Gaussian process regression over points, as a BoTorch model.

BoTorch's acquisition functions take it as they take `SingleTaskGP`. Its linear algebra is written out here: at 50 to
200 observations the work is a few small matrix products, and the general machinery for structured kernels around them
cost several times more than they do.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `X`, `y` | observed points and values z (see transforms) | `(n, D)`, `(n,)` |
| `v` | known variance of each observation, NaN where it is to be inferred | `(n,)` |
| `L` | Cholesky factor of K + noise | `(n, n)` |
| `alpha` | (K + noise)⁻¹ (y - mean) | `(n,)` |
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from scipy.optimize import minimize
from torch import Tensor

from autosearch.searchers.bayesian.kernel import NOISE_LOCATION, Hyper, MixedKernel, log_prior
from autosearch.searchers.bayesian.layout import Layout

_JITTER = 1e-8  # relative to the variance: far below any noise, above the rounding of a Cholesky factor
_STARTS = (0.2, 0.7)  # lengthscales at which fits begin, times the root of the dimension
_MOST_FITTED = 300  # more observations hardly move the hyperparameters and cost their cube
_FEW_FITTED = 100
_DRAW_SEED = 20230427  # any number: draws of hyperparameters are a function of the data alone
_WIDE = 1.0  # of a normal posterior half of this is expected as loss of log density per hyperparameter
_MEAN_VARIANCE = 1.0  # of the prior of the constant mean, in units of z


class FitError(ArithmeticError):
    """The covariance of the data is singular whatever noise is added."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How hyperparameters were found: `map`, or `default` where the likelihood could not be maximised.

    `others` are further draws from about the posterior of the hyperparameters.
    """

    hyper: Hyper
    how: str
    others: tuple[Hyper, ...] = ()


def _unpack(theta: Tensor, kernel: MixedKernel) -> Hyper:
    a, b, g = len(kernel.numeric), len(kernel.choices), kernel.groups
    return Hyper(
        lengths=theta[:a].exp(),
        weights=theta[a : a + b].exp(),
        rhos=torch.sigmoid(theta[a + b : a + b + g]),
        variance=theta[-2].exp(),
        noise=theta[-1].exp(),
    )


def _bounds(kernel: MixedKernel) -> list[tuple[float, float]]:
    return [
        *[(math.log(0.01), math.log(1e3))] * len(kernel.numeric),
        *[(math.log(0.01), math.log(20.0))] * len(kernel.choices),
        *[(-6.0, 6.0)] * kernel.groups,
        (math.log(0.05), math.log(1e3)),
        (math.log(1e-7), math.log(4.0)),
    ]


def _start(kernel: MixedKernel, dimensions: int, length: float) -> np.ndarray:
    return np.array(
        [
            *[math.log(length * math.sqrt(max(dimensions, 1)))] * len(kernel.numeric),
            *[0.0] * len(kernel.choices),
            *[0.0] * kernel.groups,
            0.0,
            NOISE_LOCATION,
        ]
    )


def _noise(hyper: Hyper, known: Tensor) -> Tensor:
    return torch.where(known.isnan(), hyper.noise, known) + _JITTER * hyper.variance


def _factorise(kernel: MixedKernel, X: Tensor, known: Tensor, hyper: Hyper) -> Tensor:
    K = kernel(X, X, hyper)
    noise = _noise(hyper, known)
    for extra in (0.0, 1e-6, 1e-4):
        L: Tensor
        L, info = torch.linalg.cholesky_ex(K + torch.diag(noise + extra * hyper.variance))
        if not info:
            return L
    raise FitError("the covariance of the observations is not positive definite")


def _mean(whitened: Tensor, ones: Tensor) -> Tensor:
    """The constant mean that is likeliest given the data, with a normal prior."""
    mean: Tensor = (ones @ whitened) / (ones @ ones + 1 / _MEAN_VARIANCE)
    return mean


def _negative_log_posterior(theta: Tensor, kernel: MixedKernel, data: "_Sample", dimensions: int) -> Tensor:
    hyper = _unpack(theta, kernel)
    L = _factorise(kernel, data.X, data.known, hyper)
    both = torch.linalg.solve_triangular(L, torch.stack([data.y, torch.ones_like(data.y)], 1), upper=False)
    whitened, ones = both[:, 0], both[:, 1]
    rest = whitened - _mean(whitened, ones) * ones
    likelihood = -0.5 * rest.square().sum() - L.diagonal().log().sum()
    known = not bool(data.known.isnan().any())
    value: Tensor = -(likelihood + log_prior(hyper, dimensions, noise_known=known))
    return value


@dataclass(frozen=True, slots=True)
class _Sample:
    X: Tensor
    y: Tensor
    known: Tensor


def fit(kernel: MixedKernel, X: Tensor, y: Tensor, known: Tensor, *, starts: int = 2, draws: int = 0) -> Fit:
    """Hyperparameters of highest posterior density, found from starts that do not depend on earlier fits."""
    data = _Sample(X, y, known)
    dimensions = len(kernel.numeric) + len(kernel.choices)

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        tensor = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
        value = _negative_log_posterior(tensor, kernel, data, dimensions)
        (gradient,) = torch.autograd.grad(value, tensor)
        number = value.item()
        if not math.isfinite(number) or not bool(gradient.isfinite().all()):
            raise FitError("the likelihood of the observations is not finite")
        return number, gradient.numpy()

    best: tuple[float, np.ndarray] | None = None
    for length in _STARTS[:starts]:
        start = _start(kernel, dimensions, length)
        try:
            found = minimize(
                objective,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=_bounds(kernel),
                options={"maxiter": 60, "ftol": 1e-5, "gtol": 1e-3, "maxcor": 10},
            )
        except FitError:
            continue
        if best is None or found.fun < best[0]:
            best = (float(found.fun), found.x)
    if best is None:
        theta = _start(kernel, dimensions, _STARTS[0])
        return Fit(_unpack(torch.tensor(theta, dtype=torch.float64), kernel), "default")
    thetas = _spread(objective, best[1], _bounds(kernel), draws) if draws else []
    first, *others = (_unpack(torch.tensor(t, dtype=torch.float64), kernel) for t in (best[1], *thetas))
    return Fit(first, "map", tuple(others))


def _spread(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]],
    mode: np.ndarray,
    bounds: list[tuple[float, float]],
    draws: int,
) -> list[np.ndarray]:
    """Draws from a normal approximation of the posterior around its mode, pulled in where it is far too wide.

    With few observations the mode alone is far too sure of itself: it settles into the first hollow that it sees.
    """
    low, high = np.array(bounds).T
    value, gradient = objective(mode)
    step = 0.05
    rows = [(objective(np.clip(mode + step * e, low, high))[1] - gradient) / step for e in np.eye(len(mode))]
    curvature = (np.array(rows) + np.array(rows).T) / 2
    eigenvalues, axes = np.linalg.eigh(curvature)
    scales = axes / np.sqrt(np.maximum(eigenvalues, 0.5))
    rng = np.random.Generator(np.random.PCG64(_DRAW_SEED))
    found = []
    for _ in range(draws):
        direction = scales @ rng.standard_normal(len(mode))
        for share in (1.0, 0.5, 0.25):
            theta = np.clip(mode + share * direction, low, high)
            if objective(theta)[0] < value + _WIDE * len(mode):
                found.append(theta)
                break
    return found


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

    def __init__(self, kernel: MixedKernel, hyper: Hyper, X: Tensor, y: Tensor, known: Tensor) -> None:
        super().__init__()
        self.kernel, self.hyper, self.X, self.y, self.known = kernel, hyper, X, y, known
        self.L = _factorise(kernel, X, known, hyper)
        both = torch.linalg.solve_triangular(self.L, torch.stack([y, torch.ones_like(y)], 1), upper=False)
        self.constant = _mean(both[:, 0], both[:, 1])
        self.alpha = torch.cholesky_solve((y - self.constant)[:, None], self.L)[:, 0]

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
    ) -> "GaussianProcess":
        """Fit hyperparameters on at most `most` observations, then condition on all.

        With `draws`, `others` holds as many processes with other hyperparameters that the data allow.
        """
        kernel = MixedKernel(layout)
        keep = spread_out(len(y), most)
        starts = 2 if len(keep) <= _FEW_FITTED else 1
        found = fit(kernel, X[keep], y[keep], known[keep], starts=starts, draws=draws)
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
        noise = float(_noise(self.hyper, self.known).mean())
        return noise / (noise + float(self.hyper.variance))

    def moments(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the latent function at `X` (n, D), each (n,)."""
        cross = self.kernel(X, self.X, self.hyper)
        mean = self.constant + cross @ self.alpha
        solved = torch.linalg.solve_triangular(self.L, cross.mT, upper=False)
        variance = self.hyper.variance - solved.square().sum(-2)
        return mean, variance.clamp_min(1e-12 * float(self.hyper.variance))

    def joint(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (…, q) and covariance (…, q, q) of the latent function at `X` (…, q, D)."""
        cross = self.kernel(X, self.X, self.hyper)
        mean = self.constant + cross @ self.alpha
        solved = torch.linalg.solve_triangular(self.L, cross.mT, upper=False)
        covariance = self.kernel(X, X, self.hyper) - solved.mT @ solved
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
