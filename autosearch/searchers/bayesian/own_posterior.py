"""How likely the hyperparameters of an expert's own kernel are given data: slopes by automatic differentiation."""

import math

import numpy as np
import torch
from torch import Tensor

from autosearch.searchers.bayesian.likelihood import (
    MEAN_VARIANCE,
    NOISE_BEYOND,
    NOISE_BOUND,
    NOISE_LIMITS,
    NOISE_LOCATION,
    NOISE_SCALE,
    VARIANCE_LIMITS,
    FitError,
    factorise,
    likeliest_mean,
    noise_of,
)
from autosearch.searchers.bayesian.own_kernel import OwnHyper, OwnKernel


class OwnPosterior:
    """The negative log density of hyperparameters given data, up to a constant, with its slope.

    Args:
        kernel: the covariance.
        X: (n, D) points, float64.
        y: (n,) values.
        known: (n,) variances of the observations, NaN where they are to be inferred.
    """

    def __init__(self, kernel: OwnKernel, X: Tensor, y: Tensor, known: Tensor) -> None:
        self.kernel, self.X, self.y, self.known = kernel, X, y, known
        self.noise_known = not bool(known.isnan().any())

    def starts(self, n: int) -> list[np.ndarray]:
        """One, whatever `n`: the kernel as it was made."""
        return [np.append(self.kernel.start, [0.0, NOISE_LOCATION])][:n]

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Of each hyperparameter; those of the kernel's own are left to its constraints."""
        return [(-math.inf, math.inf)] * len(self.kernel.start) + [VARIANCE_LIMITS, NOISE_LIMITS]

    def unpack(self, theta: np.ndarray) -> OwnHyper:
        """Hyperparameters in natural units."""
        variance, noise = torch.from_numpy(np.exp(theta[-2:]))
        correlation = self.kernel.with_own(theta[:-2])
        for parameter in OwnKernel.parameters_of(correlation):
            parameter.requires_grad_(False)
        return OwnHyper(correlation, variance, noise)

    def value(self, theta: np.ndarray) -> float:
        """The value alone.

        Raises:
            FitError: the covariance is singular.
        """
        return float(self._density(self.unpack(theta), *torch.from_numpy(theta[-2:])))

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and slope (t,) at `theta`.

        Raises:
            FitError: the covariance is singular, or a number is not finite.
        """
        with torch.enable_grad():
            correlation = self.kernel.with_own(theta[:-2])
            outer = torch.tensor(theta[-2:], requires_grad=True)
            hyper = OwnHyper(correlation, outer[0].exp(), outer[1].exp())
            value = self._density(hyper, outer[0], outer[1])
            wanted = [*OwnKernel.parameters_of(correlation), outer]
            slopes = torch.autograd.grad(value, wanted, allow_unused=True)
        slope = np.concatenate(
            [
                (torch.zeros_like(p) if s is None else s).numpy().ravel()
                for p, s in zip(wanted, slopes, strict=True)
            ]
        )
        if not math.isfinite(value.item()) or not np.isfinite(slope).all():
            raise FitError("the likelihood of the observations is not finite")
        return value.item(), slope

    def _density(self, hyper: OwnHyper, log_variance: Tensor, log_noise: Tensor) -> Tensor:
        K = self.kernel(self.X, self.X, hyper)
        L, _ = factorise(K, noise_of(hyper, self.known), hyper.variance)
        mean, alpha = likeliest_mean(L, self.y)
        value = 0.5 * ((self.y - mean) @ alpha + mean**2 / MEAN_VARIANCE) + L.diagonal().log().sum()
        prior = self.kernel.log_prior(hyper.correlation) - 0.5 * log_variance**2
        if not self.noise_known:
            prior = prior - 0.5 * ((log_noise - NOISE_LOCATION) / NOISE_SCALE) ** 2
            prior = prior - 0.5 * ((hyper.noise - NOISE_BOUND).clamp_min(0.0) / NOISE_BEYOND) ** 2
        result: Tensor = value - prior
        return result
