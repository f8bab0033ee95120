"""The logarithm of the expected improvement of normal values, with its slopes.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `u` | distance of the mean above what is to be improved on, in standard deviations | any |
| `h` | phi(u) + u Phi(u), the expected improvement of a standard normal; its slope is Phi | as `u` |
| `r` | Phi / h, the slope of log h | as `u` |
"""

import math
from typing import Any, cast

import torch
from torch import Tensor

_ROOT = math.sqrt(0.5)
_LOG_DENSITY = -0.5 * math.log(2 * math.pi)
_NEAR = -1.0  # below it h is a small difference
_FAR = -1e4  # below it the next term of the expansion in 1 / u is smaller than what the difference rounds off


def log_h(u: Tensor) -> tuple[Tensor, Tensor]:
    """Log h and r, without underflow (Ament et al. 2023, "Unexpected Improvements to Expected Improvement", 4.1)."""
    near = u.clamp_min(_NEAR)
    density, probability = (-0.5 * near * near + _LOG_DENSITY).exp_(), 0.5 * torch.erfc(-_ROOT * near)
    h = density + near * probability
    low = u.clamp(_FAR, _NEAR)
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-_ROOT * low)  # Phi / phi
    rest = 1 + low * ratio  # h / phi, which falls as 1 / u^2
    beyond = u.clamp_max(_FAR) / _FAR
    close = u > _NEAR
    far = _LOG_DENSITY - 0.5 * u * u + rest.log() - 2 * beyond.log()
    return torch.where(close, h.log(), far), torch.where(close, probability / h, ratio / rest * beyond)


class _LogImprovement(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, variance: Tensor, best: Tensor) -> Tensor:
        sigma = variance.sqrt().unsqueeze(-1)
        u = (mean - best.unsqueeze(-2)) / sigma
        value, r = log_h(u)
        value += sigma.log()
        total = value.logsumexp(-1, keepdim=True)
        if any(ctx.needs_input_grad):
            by_mean = (value - total).exp_() * r / sigma
            ctx.kept = (by_mean, ((value - total).exp_() / sigma - by_mean * u).sum(-1) / (2 * sigma[..., 0]))
        return (total - math.log(value.shape[-1])).squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None]:
        by_mean, by_variance = ctx.kept
        return slopes[0].unsqueeze(-1) * by_mean, slopes[0] * by_variance, None


def log_improvement(mean: Tensor, variance: Tensor, best: Tensor) -> Tensor:
    """Log of the mean over versions of the expected improvement, (…, n).

    Args:
        mean: (…, n, S) of S versions.
        variance: (…, n), the same in all.
        best: (…, S) values to improve on.
    """
    return cast(Tensor, _LogImprovement.apply(mean, variance, best))  # type: ignore[no-untyped-call]
