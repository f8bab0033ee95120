"""How likely hyperparameters are given data, with slopes, and the likeliest ones.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `theta` | log lengths, log weights, logit rhos, logit of the share alone, log s2, log noise | `(t,)` |
| `X`, `y` | observed points and values z (see transforms) | `(n, D)`, `(n,)` |
| `v` | known variance of each observation, NaN where it is to be inferred | `(n,)` |
| `L` | Cholesky factor of K + noise | `(n, n)` |
| `W` | slope of the negative log likelihood by the entries of K: half of (K⁻¹ - alpha alphaᵀ) | `(n, n)` |

The slopes are those of Rasmussen & Williams 2006, "Gaussian Processes for Machine Learning", equation 5.9. The constant
mean is the likeliest one, so it adds nothing to them.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from autosearch.searchers.bayesian.kernel import Hyper, MixedKernel
from autosearch.searchers.bayesian.pairs import Gram

if TYPE_CHECKING:
    from autosearch.searchers.bayesian.own_kernel import OwnHyper, OwnKernel
    from autosearch.searchers.bayesian.own_posterior import OwnPosterior

JITTER = 1e-8  # relative to the variance: far below any noise, above the rounding of a Cholesky factor
# Shorter and surer than the values of that paper (1.4, 1.7): with a few tens of observations those let a long
# lengthscale explain away structure that is there. Chosen on synthetic functions and two scikit-learn models.
LENGTH_LOCATION, LENGTH_SCALE = -0.5, 1.0
LENGTH_GROWTH = 6  # dimensions
# Most objectives are nearly deterministic beside their variation over the space; the data say so if not.
NOISE_LOCATION, NOISE_SCALE = -6.0, 2.0
VARIANCE_LIMITS = (math.log(0.05), math.log(1e3))  # of logarithms, as are the next
NOISE_LIMITS = (math.log(1e-7), math.log(4.0))
NOISE_BOUND, NOISE_BEYOND = 0.05, 0.1  # variances of z
MEAN_VARIANCE = 1.0  # of the prior of the constant mean, in units of z
_STARTS = (0.2, 0.7)  # lengthscales at which fits begin, times the root of the dimension
_DRAW_SEED = 20230427  # any number: draws of hyperparameters are a function of the data alone
_WIDE = 1.0  # of a normal posterior half of this is expected as loss of log density per hyperparameter


class FitError(ArithmeticError):
    """The covariance of the data is singular whatever noise is added."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How hyperparameters were found: `map`, or `default` where the likelihood could not be maximised.

    `others` are further draws from about the posterior of the hyperparameters; `evidence` is the log density of the
    data and of `hyper`, up to a constant.
    """

    hyper: "Hyper | OwnHyper"
    how: str
    others: "tuple[Hyper | OwnHyper, ...]" = ()
    evidence: float = -math.inf
    theta: np.ndarray | None = None


def unpack(theta: np.ndarray, kernel: MixedKernel) -> Hyper:
    """Hyperparameters in natural units."""
    a, b, g = len(kernel.numeric), len(kernel.choices), kernel.groups
    natural = np.exp(theta)
    shares = slice(a + b, a + b + g + kernel.additive)
    natural[shares] /= 1 + natural[shares]
    values = torch.from_numpy(natural)
    alone = values[-3] if kernel.additive else torch.zeros_like(values[-1])
    return Hyper(values[:a], values[a : a + b], values[a + b : a + b + g], values[-2], values[-1], alone)


def _bounds(kernel: MixedKernel) -> list[tuple[float, float]]:
    return [
        *[(math.log(0.01), math.log(1e3))] * len(kernel.numeric),
        *[(math.log(0.01), math.log(20.0))] * len(kernel.choices),
        *[(-6.0, 6.0)] * (kernel.groups + kernel.additive),
        VARIANCE_LIMITS,
        NOISE_LIMITS,
    ]


def _start(kernel: MixedKernel, length: float) -> np.ndarray:
    lengths = math.log(length * math.sqrt(max(_dimensions(kernel), 1)))
    others = len(kernel.choices) + kernel.groups + kernel.additive + 1
    return np.array([*[lengths] * len(kernel.numeric), *[0.0] * others, NOISE_LOCATION])


def _dimensions(kernel: MixedKernel) -> int:
    return len(kernel.numeric) + len(kernel.choices)


def noise_of(hyper: "Hyper | OwnHyper", known: Tensor) -> Tensor:
    """(n,) variances of the noise of observations."""
    return torch.where(known.isnan(), hyper.noise, known) + JITTER * hyper.variance


def factorise(K: Tensor, noise: Tensor, variance: Tensor) -> tuple[Tensor, float]:
    """L, and what was added to the diagonal beside the noise, relative to the variance; K then holds the sum.

    Raises:
        FitError: the sum is not positive definite even so.
    """
    K.diagonal().add_(noise)
    total = 0.0
    for extra in (0.0, 1e-6, 1e-4):
        if extra:
            K.diagonal().add_(variance, alpha=extra)
        total += extra
        L: Tensor
        L, info = torch.linalg.cholesky_ex(K)
        if not info:
            return L, total
    raise FitError("the covariance of the observations is not positive definite")


def likeliest_mean(L: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The constant mean that is likeliest given the data, with a normal prior; and alpha (n,) with it."""
    solved = torch.cholesky_solve(torch.stack([y, torch.ones_like(y)], 1), L)
    mean = solved[:, 0].sum() / (solved[:, 1].sum() + 1 / MEAN_VARIANCE)
    return mean, solved[:, 0] - mean * solved[:, 1]


def log_prior(theta: np.ndarray, kernel: MixedKernel, *, noise_known: bool) -> tuple[float, np.ndarray]:
    """Log density of the hyperparameters before any data, up to a constant, and its slope (t,).

    Lengthscales: log-normal whose location grows with the root of the dimension (Hvarfner et al. 2024, "Vanilla
    Bayesian Optimization Performs Great in High Dimensions", section 5), so that functions of many parameters are
    expected to be simple; but only up to a few dimensions: beyond, such long lengthscales carry trends far away
    from the few observations, where returning to the mean keeps the search near what was found good.

    Noise: log-normal, with a normal cut-off beyond a bound. A flat or noisy stretch of the objective is else soon
    explained as nothing but noise, and then nothing is left to search for.
    """
    a, b, g = len(kernel.numeric), len(kernel.choices), kernel.groups
    location, scale = np.zeros(len(theta)), np.ones(len(theta))
    location[:a] = LENGTH_LOCATION + 0.5 * math.log(min(max(_dimensions(kernel), 1), LENGTH_GROWTH))
    scale[:a] = LENGTH_SCALE
    location[-1], scale[-1] = NOISE_LOCATION, NOISE_SCALE
    # Density of the logarithm: the mode lies at the median, whatever the scale.
    gap = (theta - location) / scale
    gap[a + b : -2] = 0.0
    if noise_known:
        gap[-1] = 0.0
    value, slope = -0.5 * float(gap @ gap), -gap / scale
    if g:
        # Mode 1/2: neither "the same but for the group" nor "unrelated".
        rhos = 1 / (1 + np.exp(-theta[a + b : a + b + g]))
        value += float(np.log(rhos * (1 - rhos)).sum())
        slope[a + b : a + b + g] = 1 - 2 * rhos
    if kernel.additive:
        # Flat but at the ends, which the bounds keep from the logarithm's own.
        alone = 1 / (1 + math.exp(-theta[-3]))
        value += 0.5 * math.log(alone * (1 - alone))
        slope[-3] = 0.5 - alone
    noise = math.exp(theta[-1])
    if not noise_known and noise > NOISE_BOUND:
        beyond = (noise - NOISE_BOUND) / NOISE_BEYOND
        value -= 0.5 * beyond**2
        slope[-1] -= beyond / NOISE_BEYOND * noise
    return value, slope


class NegativeLogPosterior:
    """The negative log density of hyperparameters given data, up to a constant, with its slope.

    Args:
        kernel: the covariance.
        X: (n, D) points, float64.
        y: (n,) values.
        known: (n,) variances of the observations, NaN where they are to be inferred.
    """

    def __init__(self, kernel: MixedKernel, X: Tensor, y: Tensor, known: Tensor) -> None:
        self.kernel, self.gram, self.y, self.known = kernel, Gram(kernel, X), y, known
        self.inferred = known.isnan()
        self.noise_known = not bool(self.inferred.any())

    def starts(self, n: int) -> list[np.ndarray]:
        """The first `n` places to begin a fit at."""
        return [_start(self.kernel, length) for length in _STARTS[:n]]

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Of each hyperparameter."""
        return _bounds(self.kernel)

    def unpack(self, theta: np.ndarray) -> Hyper:
        """Hyperparameters in natural units."""
        return unpack(theta, self.kernel)

    def value(self, theta: np.ndarray) -> float:
        """The value alone.

        Raises:
            FitError: the covariance is singular.
        """
        hyper = unpack(theta, self.kernel)
        L, _ = factorise(self.gram(hyper)[0], noise_of(hyper, self.known), hyper.variance)
        return self._likelihood(L)[0] - log_prior(theta, self.kernel, noise_known=self.noise_known)[0]

    def _likelihood(self, L: Tensor) -> tuple[float, Tensor]:
        """The negative log likelihood, and alpha."""
        mean, alpha = likeliest_mean(L, self.y)
        misfit = float((self.y - mean) @ alpha) + float(mean) ** 2 / MEAN_VARIANCE
        return 0.5 * misfit + float(L.diagonal().log().sum()), alpha

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and slope (t,) at `theta`.

        Raises:
            FitError: the covariance is singular, or a number is not finite.
        """
        hyper = unpack(theta, self.kernel)
        K, states = self.gram(hyper)
        L, extra = factorise(K, noise_of(hyper, self.known), hyper.variance)
        likelihood, alpha = self._likelihood(L)
        prior, prior_slope = log_prior(theta, self.kernel, noise_known=self.noise_known)
        value = likelihood - prior
        W = torch.cholesky_inverse(L).sub_(torch.outer(alpha, alpha)).mul_(0.5)
        diagonal = W.diagonal()
        slope = np.append(
            self.gram.slope(W, K, states, hyper),
            float(diagonal[self.inferred].sum() * hyper.noise),
        )
        slope[-2] += float(diagonal.sum() * hyper.variance) * (JITTER + extra)
        slope -= prior_slope
        if not math.isfinite(value) or not np.isfinite(slope).all():
            raise FitError("the likelihood of the observations is not finite")
        return value, slope


@torch.no_grad()
def fit(
    kernel: "MixedKernel | OwnKernel",
    X: Tensor,
    y: Tensor,
    known: Tensor,
    *,
    starts: int = 2,
    draws: int = 0,
    steps: int = 60,
    first: np.ndarray | None = None,
) -> Fit:
    """Hyperparameters of highest posterior density, found from starts that do not depend on earlier histories.

    `first` is a better place than the first of the starts where one is known of the same data.
    """
    objective = _posterior(kernel, X, y, known)
    best: tuple[float, np.ndarray] | None = None
    begins = objective.starts(starts)
    for begin in begins if first is None else [first, *begins[1:]]:
        try:
            found = minimize(
                objective,
                begin,
                jac=True,
                method="L-BFGS-B",
                bounds=objective.bounds,
                options={"maxiter": steps, "ftol": 1e-5, "gtol": 1e-3, "maxcor": 10},
            )
        except FitError:
            continue
        if best is None or found.fun < best[0]:
            best = (float(found.fun), found.x)
    if best is None:
        return Fit(objective.unpack(begins[0]), "default")
    try:
        thetas = _spread(objective, best[1], objective.bounds, draws) if draws else []
    except FitError:
        thetas = []
    likeliest, *others = (objective.unpack(theta) for theta in (best[1], *thetas))
    return Fit(likeliest, "map", tuple(others), -best[0], best[1])


def _posterior(
    kernel: "MixedKernel | OwnKernel", X: Tensor, y: Tensor, known: Tensor
) -> "NegativeLogPosterior | OwnPosterior":
    if isinstance(kernel, MixedKernel):
        return NegativeLogPosterior(kernel, X, y, known)
    from autosearch.searchers.bayesian.own_posterior import OwnPosterior

    return OwnPosterior(kernel, X, y, known)


def _spread(
    objective: "NegativeLogPosterior | OwnPosterior",
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
            if objective.value(theta) < value + _WIDE * len(mode):
                found.append(theta)
                break
    return found
