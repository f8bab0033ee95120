"""Batch norm on a batch's own statistics whose second derivative is cheap.

| symbol | meaning | shape |
|---|---|---|
| `x`, `g` | input, gradient by the output | `(B, C, …)` |
| `z` | normalised input, (x - μ) / σ | `(B, C, …)` |
| `γ` | scale | `(C,)` |
| `N` | examples times positions | |
| `v` | what the gradient of the gradient is taken along | `(B, C, …)` |

The gradient by x is A g = γ/σ (g - mean(g) - z mean(g z)), with means over all but channels. A is its own adjoint, and
with S = mean(v g) - mean(v) mean(g) - mean(v z) mean(g z)

    d<v, A g>/dx = -γ/σ² [(S - 2 mean(g z) mean(v z)) z + mean(g z) (v - mean(v)) + mean(v z) (g - mean(g))].

PyTorch composes the same from some thirty operations on whole feature maps, which is a fifth of a Hessian-vector
product's time.
"""

from typing import Any

import torch
from torch.autograd.function import FunctionCtx


class _Norm(torch.autograd.Function):
    """Forward and gradient by the input; γ and β get none, they are no weights of two dimensions."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, eps: float
    ) -> torch.Tensor:
        out, mean, inverse = torch.native_batch_norm(x, scale, shift, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, scale, mean, inverse)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, scale, mean, inverse = ctx.saved_tensors
        by_x = _NormGradient.apply(gradients[0], x, scale, mean, inverse, ctx.eps)  # type: ignore[no-untyped-call]
        return by_x, None, None, None


class _NormGradient(torch.autograd.Function):
    """A g, differentiable in g and x."""

    @staticmethod
    def forward(
        ctx: Any,
        g: torch.Tensor,
        x: torch.Tensor,
        scale: torch.Tensor,
        mean: torch.Tensor,
        inverse: torch.Tensor,
        eps: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(g, x, scale, mean, inverse)
        ctx.eps = eps
        return _apply(g, x, scale, mean, inverse, eps)

    @staticmethod
    def backward(ctx: FunctionCtx, *directions: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        g, x, scale, mean, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
        v = directions[0]
        by_g = _apply(v, x, scale, mean, inverse, ctx.eps)  # type: ignore[attr-defined]
        around = [0, *range(2, x.dim())]
        shape = (1, -1, *(1 for _ in around[1:]))
        z = (x - mean.view(shape)).mul_(inverse.view(shape))
        mean_g, mean_v = g.mean(around), v.mean(around)
        gz, vz = (g * z).mean(around), (v * z).mean(around)
        s = (v * g).mean(around) - mean_v * mean_g - vz * gz
        factor = -scale * inverse.square()
        of_z, of_v, of_g = factor * (s - 2 * gz * vz), factor * gz, factor * vz
        rest = -(of_v * mean_v + of_g * mean_g)
        by_x = z.mul_(of_z.view(shape)).addcmul_(v, of_v.view(shape)).addcmul_(g, of_g.view(shape))
        return by_g, by_x.add_(rest.view(shape)), None, None, None, None


def _apply(
    g: torch.Tensor,
    x: torch.Tensor,
    scale: torch.Tensor,
    mean: torch.Tensor,
    inverse: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    found: torch.Tensor = torch.ops.aten.native_batch_norm_backward(
        g, x, scale, None, None, mean, inverse, True, eps, [True, False, False]
    )[0]
    return found


def batch_norm(
    x: torch.Tensor, scale: torch.Tensor | None, shift: torch.Tensor | None, eps: float
) -> torch.Tensor:
    """Batch norm on the batch's own statistics, twice differentiable by `x`; scale and shift get no gradient.

    Args:
        x: (B, C, …).
        scale: (C,), ones without.
        shift: (C,), zeros without.
        eps: added to the variance.
    """
    channels = x.shape[1]
    found: torch.Tensor = _Norm.apply(  # type: ignore[no-untyped-call]
        x,
        x.new_ones(channels) if scale is None else scale,
        x.new_zeros(channels) if shift is None else shift,
        eps,
    )
    return found
