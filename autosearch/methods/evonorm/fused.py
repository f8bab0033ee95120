"""The EvoNorm layers with their gradients written out, for training without `torch.compile`.

Each keeps two arrays of the features' size for the backward pass, as batch norm and ReLU do together; autograd would
keep six. Symbols as in `functional`; besides dy the gradient of the output, dx that of x, M the elements of a
statistic. Where somebody differentiates the gradient itself, the plain form takes over.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import FunctionCtx

from autosearch.methods.evonorm.functional import batch_variance, evonorm_b, evonorm_s, per_channel, widened

_SPACE = (2, 3)
_BATCH = (0, 2, 3)
_GROUP = (2, 3, 4)


class FusedS(torch.autograd.Function):
    """S0, S1, S2 as `evonorm_s`; gives y, then what the backward pass needs.

    With s the gate, r = 1 / std_g and A the sum over space of dy x s:

        dx = dy weight r (s + v x s (1 - s)) - r^3 (x - mean) / M * (sum of weight A over the group)
    """

    @staticmethod
    def forward(
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        v: torch.Tensor | None,
        groups: int,
        centred: bool,  # noqa: FBT001 - torch passes arguments of a Function by position
        eps: float,
    ) -> tuple[torch.Tensor, ...]:
        z = widened(x)
        parts = torch.unflatten(z, 1, (groups, -1))
        mean = parts.mean(_GROUP, keepdim=True) if centred else parts.new_zeros(())
        square = (parts - mean if centred else parts).square().mean(_GROUP, keepdim=True)
        inverse = (square + eps).rsqrt()
        gate = z.sigmoid() if v is None else (z * per_channel(v)).sigmoid_()
        # One addcmul would do, but with broadcast operands it is no faster than these two on a CPU, and often slower.
        y = (gate * z).mul_(per_channel(weight) * _spread(inverse, parts)).add_(per_channel(bias))
        return y.to(x.dtype), gate.to(x.dtype), inverse, mean

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: Any, output: Any) -> None:
        _keep(ctx, inputs[:4], output[1:], inputs[4:])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, bias, v, gate, inverse, mean = ctx.saved_tensors
        groups, centred, eps = ctx.settings
        if torch.is_grad_enabled():
            return _plainly(
                ctx,
                lambda: evonorm_s(x, weight, bias, groups=groups, centred=centred, v=v, eps=eps),
                grads[0],
            )
        z, dy, s = widened(x), widened(grads[0]), widened(gate)
        parts = torch.unflatten(z, 1, (groups, -1))
        r = _spread(inverse, parts)
        t = s * z
        a = (dy * t).sum(_SPACE, keepdim=True)
        u = torch.addcmul(t, t, s, value=-1)  # x s (1 - s)
        d_v = None
        if v is None:
            slope = u.add_(s)
        else:
            steepness = (dy * z).mul_(u).sum(_SPACE, keepdim=True)
            d_v = (steepness * r * per_channel(weight)).sum(_BATCH).to(v.dtype)
            slope = u.mul_(per_channel(v)).add_(s)
        pull = torch.unflatten(a * per_channel(weight), 1, (groups, -1)).sum(_GROUP, keepdim=True)
        factor = -pull * inverse.pow(3) / parts[0, 0].numel()
        dx = slope.mul_(dy).mul_(r * per_channel(weight)).add_(z * _spread(factor, parts))
        if centred:
            dx.sub_(_spread(factor * mean, parts))
        d_weight = (a * r).sum(_BATCH).to(weight.dtype)
        return dx.to(x.dtype), d_weight, dy.sum(_SPACE).sum(0).to(bias.dtype), d_v, None, None, None


class FusedB(torch.autograd.Function):
    """B0, B1, B2 as `evonorm_b`; gives y, then var_b of the batch, then what the backward pass needs.

    With d the denominator, e = -dy weight x / d^2 its gradient, split into what reaches std_b and the other argument:

        dx = dy weight / d + (x - mean_b) / (M std_b) * (sum of e where d is std_b) + e (other'(x)) where it is not
    """

    @staticmethod
    def forward(
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        v: torch.Tensor | None,
        running: torch.Tensor | None,
        kind: int,
        eps: float,
    ) -> tuple[torch.Tensor, ...]:
        z = widened(x)
        mean = z.mean(_BATCH) if running is None else z.new_zeros(())
        variance = (
            (z - per_channel(mean)).square_().mean(_BATCH) if running is None else widened(running).clone()
        )
        std = (variance + eps).sqrt()
        centre = z.mean(_SPACE, keepdim=True) if kind == 0 else z.new_zeros(())
        scale = ((z - centre if kind == 0 else z).square().mean(_SPACE, keepdim=True) + eps).sqrt()
        if kind == 0 and v is not None:
            other = (z * per_channel(v)).add_(scale)
        else:
            other = (z + 1).mul_(scale) if kind == 1 else scale - z
        d = torch.maximum(other, per_channel(std), out=other)
        y = (z / d).mul_(per_channel(weight)).add_(per_channel(bias))
        return y.to(x.dtype), variance, d, mean, std, centre, scale

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: Any, output: Any) -> None:
        _keep(ctx, inputs[:5], output[2:], inputs[5:])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, bias, v, running, d, mean, std, centre, scale = ctx.saved_tensors
        kind, eps = ctx.settings
        if torch.is_grad_enabled():

            def plain() -> torch.Tensor:
                variance = batch_variance(x) if running is None else running
                return evonorm_b(x, variance, weight, bias, kind=kind, v=v, eps=eps)

            return _plainly(ctx, plain, grads[0])
        z, dy = widened(x), widened(grads[0])
        q = z / d
        d_weight = (dy * q).sum(_SPACE).sum(0).to(weight.dtype)
        dx = (dy * per_channel(weight)).div_(d)
        e = q.mul_(dx).neg_()
        space = z[0, 0].numel()
        by_other = e * (d > per_channel(std))
        if running is None:
            to_std = e.sub_(by_other).sum(_SPACE).sum(0) / (std * (z.numel() // z.shape[1]))
            dx.add_((z - per_channel(mean)).mul_(per_channel(to_std)))
        d_v = None
        if kind == 0:
            if v is not None:
                d_v = (by_other * z).sum(_SPACE).sum(0).to(v.dtype)
                dx.add_(by_other * per_channel(v))
            to_scale = by_other.sum(_SPACE, keepdim=True) / (scale * space)
            dx.add_((z - centre).mul_(to_scale))
        elif kind == 1:
            to_scale = torch.addcmul(by_other, by_other, z).sum(_SPACE, keepdim=True) / (scale * space)
            dx.add_(by_other * scale).add_(z * to_scale)
        else:
            dx.sub_(by_other).add_(z * (by_other.sum(_SPACE, keepdim=True) / (scale * space)))
        return dx.to(x.dtype), d_weight, dy.sum(_SPACE).sum(0).to(bias.dtype), d_v, None, None, None


def _keep(ctx: Any, inputs: Any, computed: Any, settings: Any) -> None:
    ctx.mark_non_differentiable(*computed)
    ctx.save_for_backward(*inputs, *computed)
    ctx.settings = settings


def _plainly(ctx: Any, form: Callable[[], torch.Tensor], dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """The gradients by differentiating the plain form, whose graph has all orders."""
    needed = ctx.needs_input_grad
    inputs = [t for t, need in zip(ctx.saved_tensors, needed, strict=False) if need]
    found = iter(torch.autograd.grad(form(), inputs, dy, create_graph=True))
    return tuple(next(found) if need else None for need in needed)


def _spread(of_groups: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
    """(n, groups, 1, 1, 1) values on the channels of parts (n, groups, channels, h, w): (n, c, 1, 1)."""
    return of_groups.expand_as(parts[:, :, :, :1, :1]).flatten(1, 2)
