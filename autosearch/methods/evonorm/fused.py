"""The EvoNorm layers with their gradients written out, for training without `torch.compile`.

Each reads its features in as few passes as torch's own kernels allow: those of group norm and batch norm hold the
statistics, the maps a x + b with numbers a and b for each channel of each example, and pairs of sums over space that a
chain of plain operations would make one after the other. Arrays are written over as soon as nobody needs them: to get a
fresh one from the system takes longer than an operation. Where somebody differentiates the gradient itself, the plain
form takes over.

Symbols as in `functional`; besides dy the gradient of the output, dx that of x, K the elements of a channel of one
example, M those of a statistic. Numbers for each channel of each example are (n, c).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from autosearch.methods.evonorm.functional import batch_variance, evonorm_b, evonorm_s, widened

_SPACE = (2, 3)
_STEEP = 0.01
_batch_norm = torch.ops.aten.native_batch_norm.out
_silu = torch.ops.aten.silu.out
_silu_backward = torch.ops.aten.silu_backward.grad_input
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_threshold_backward = torch.ops.aten.threshold_backward.grad_input


class FusedS(torch.autograd.Function):
    """S0, S1, S2 as `evonorm_s`; keeps x, and the gate of an S0 that has a v near 0.

    With s the gate, r = 1 / std_g and A the sum over space of dy x s:

        dx = dy weight r (s + v x s (1 - s)) - r^3 (x - mean) / M * (sum of weight A over the group)

    As x s = silu(v x) / v, torch's own silu and its gradient g = dy (s + v x s (1 - s)) make all three layers, and the
    gradient of v is weight r (sum of g x - A) / v. Where a v is near 0 that loses digits, and S0 takes a longer way.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        v: torch.Tensor | None,
        groups: int,
        centred: bool,  # noqa: FBT001 - torch passes arguments of a Function by position
        eps: float,
    ) -> torch.Tensor:
        z = _dense(widened(x))
        mean, inverse, free = _group_moments(z, groups, eps, centred=centred)
        if v is None:
            kept, y = None, _silu(z, out=free)
        elif _steep(v):
            kept, y = None, _silu(torch.mul(z, _wide(v), out=free), out=free)
        else:
            gate = torch.mul(z, _wide(v), out=free).sigmoid_()
            kept, y = gate.to(x.dtype), gate * z
        scale = weight * _spread(inverse, z)
        y = _affine_(y, scale if v is None or kept is not None else scale / v, bias)
        ctx.save_for_backward(x, weight, bias, v, kept, inverse, mean)
        ctx.settings = groups, centred, eps
        return y.to(x.dtype)

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
        z = _dense(widened(x))
        dy = _dense(widened(grads[0]), z)
        r = _spread(inverse, z)
        scale, d_v = weight * r, None
        if gate is None:
            u = z if v is None else z * _wide(v)
            free = functional.silu(u)
            of_dy, a = _sums(dy, free)
            sloped = _silu_backward(dy, u, grad_input=free)
            if v is not None:
                a = a / v
                d_v = ((_sums(sloped, z)[1] - a) / v * scale).sum(0).to(v.dtype)
        else:
            s = _dense(widened(gate), z)
            of_dy, steep = dy.sum(_SPACE), dy * z
            a = _sums(steep, s)[1]
            steep = _sigmoid_backward(steep, s, grad_input=steep)  # dy x s (1 - s)
            d_v = (_sums(steep, z)[1] * scale).sum(0).to(v.dtype)
            sloped = steep.mul_(_wide(v)).addcmul_(dy, s)
        pull = torch.unflatten(a * weight, 1, (groups, -1)).sum(2)
        factor = pull * inverse.pow(3) * (-groups / z[0].numel())
        shift = _spread(-factor * mean, z) if centred else a.new_zeros(())
        dx = _affine_(sloped, scale, shift).addcmul_(z, _wide(_spread(factor, z)))
        d_weight, d_bias = (a * r).sum(0).to(weight.dtype), of_dy.sum(0).to(bias.dtype)
        return dx.to(x.dtype), d_weight, d_bias, d_v, None, None, None


class FusedB(torch.autograd.Function):
    """B0, B1, B2 as `evonorm_b`; gives y and var_b of the batch, keeps x and d.

    Both arguments of the maximum are divided by std_b, so that it compares with 1:

        y = gain x / d + bias,  d = max(1, slope x + shift),  gain = weight / std_b

    where slope x + shift is (v x + std_i) / std_b, (x + 1) rms_i / std_b or (rms_i - x) / std_b. With e = dy / d, and
    f = e x / d where d > 1, else 0:

        dx = gain e - gain slope f + what reaches x by std_i or rms_i, and by std_b: all of it of the form a x + b
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        v: torch.Tensor | None,
        running: torch.Tensor | None,
        kind: int,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        z = _dense(widened(x))
        mean, inverse, free = _group_moments(z, z.shape[1], eps, centred=True)
        own = (inverse.pow(-2) - eps).clamp_(min=0)  # variance over space
        of_batch = own.mean(0) + mean.var(0, unbiased=False)
        variance = of_batch if running is None else widened(running).clone()
        std = (variance + eps).sqrt()
        scale = inverse.reciprocal() if kind == 0 else (own + mean.square() + eps).sqrt()
        d = _affine_(z, _slope(kind, v, scale, std), scale / std, out=free).clamp_(min=1)
        y = _affine_(z / d, weight / std, bias)
        ctx.save_for_backward(x, weight, bias, v, running, d, mean, std, scale)
        ctx.settings = kind, eps
        ctx.mark_non_differentiable(variance)
        return y.to(x.dtype), variance

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, bias, v, running, d, mean, std, scale = ctx.saved_tensors
        kind, eps = ctx.settings
        if torch.is_grad_enabled():

            def plain() -> torch.Tensor:
                variance = batch_variance(x) if running is None else running
                return evonorm_b(x, variance, weight, bias, kind=kind, v=v, eps=eps)

            return _plainly(ctx, plain, grads[0])
        z = _dense(widened(x))
        dy = _dense(widened(grads[0]), z)
        gain, slope, shift = weight / std, _slope(kind, v, scale, std), scale / std
        q, e = z / d, dy / d
        of_dy, of_gain = _sums(dy, q)
        f = _threshold_backward(q.mul_(e), d, 1, grad_input=q)
        of_f, of_fx = _sums(f, z)
        to_slope, to_shift = -gain * of_fx, -gain * of_f
        to_scale = (to_shift + to_slope if kind == 1 else to_shift) / std
        # The gradients of std_i or rms_i and of std_b in x are (x - centre) / (K std_i) and (x - mean_b) / (M std_b).
        a = to_scale / (scale * z[0, 0].numel())
        b = a * -mean if kind == 0 else torch.zeros_like(a)
        if running is None:
            to_std = -(of_gain * gain + to_slope * slope + to_shift * shift).sum(0) / std
            common = to_std / (std * (z.numel() // z.shape[1]))
            a, b = a + common, b - common * mean.mean(0)
        dx = _affine_(e, gain, b).addcmul_(z, _wide(a)).addcmul_(f, _wide(-gain * slope))
        d_v = None if v is None else (to_slope / std).sum(0).to(v.dtype)
        d_weight, d_bias = (of_gain / std).sum(0).to(weight.dtype), of_dy.sum(0).to(bias.dtype)
        return dx.to(x.dtype), d_weight, d_bias, d_v, None, None, None


def _slope(kind: int, v: torch.Tensor | None, scale: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    if v is not None:
        return v / std
    return scale / std if kind == 1 else -1 / std


def _plainly(ctx: Any, form: Callable[[], torch.Tensor], dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """The gradients by differentiating the plain form, whose graph has all orders."""
    needed = ctx.needs_input_grad
    inputs = [t for t, need in zip(ctx.saved_tensors, needed, strict=False) if need]
    found = iter(torch.autograd.grad(form(), inputs, dy, create_graph=True))
    return tuple(next(found) if need else None for need in needed)


# -- passes over the features ------------------------------------------------------------------------------------


def _steep(v: torch.Tensor) -> bool:
    """Whether every v can be divided by without losing more than two digits; asking a GPU would be to wait for it."""
    return v.device.type == "cpu" and bool(v.abs().min() >= _STEEP)


def _group_moments(
    z: torch.Tensor, groups: int, eps: float, *, centred: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(n, groups) mean and 1 / std_g, or 0 and 1 / rms_g where not `centred`; and an array like z to write on."""
    n, c, h, w = z.shape
    if centred:
        rows = z if z.device.type == "cpu" else z.contiguous()
        free, mean, inverse = torch.native_group_norm(rows, None, None, n, c, h * w, groups, eps)
        return mean, inverse, free if free.stride() == z.stride() else torch.empty_like(z)
    squares = torch.linalg.vector_norm(z, dim=_SPACE).square_()
    mean_square = torch.unflatten(squares, 1, (groups, -1)).sum(2) * (groups / z[0].numel())
    return z.new_zeros(()), (mean_square + eps).rsqrt_(), torch.empty_like(z)


def _affine_(
    z: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, out: torch.Tensor | None = None
) -> torch.Tensor:
    """The map scale z + shift with (n, c), (c,) or () numbers, written over z or on `out`, which is laid out alike."""
    n, c, h, w = z.shape
    out = z if out is None else out
    if not _in_rows(z):
        return torch.mul(z, _wide(scale), out=out).add_(_wide(shift))
    # Batch norm that evaluates n c channels of mean 0 and variance 1: one pass in place of two.
    numbers = [t.to(z.dtype).expand(n, c).reshape(-1) for t in (scale, shift)]
    fixed, unused = (z.new_zeros(n * c), z.new_ones(n * c)), (z.new_empty(0), z.new_empty(0))
    rows, to = z.view(1, n * c, h, w), out.view(1, n * c, h, w)
    _batch_norm(rows, *numbers, *fixed, False, 0.0, 0.0, out=to, save_mean=unused[0], save_invstd=unused[1])
    return out


def _sums(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, c) sums over space of a, and of a b."""
    n, c, h, w = a.shape
    if not (_in_rows(a) and _in_rows(b)):
        return a.sum(_SPACE), (a * b).sum(_SPACE)
    # The gradients of bias and weight of the same batch norm: both in one pass, without an array for the product.
    one, zero = a.new_ones(n * c), a.new_zeros(n * c)
    rows = a.view(1, n * c, h, w), b.view(1, n * c, h, w)
    _, products, plain = torch.ops.aten.native_batch_norm_backward(
        *rows, one, zero, one, None, None, False, 0.0, [False, True, True]
    )
    return plain.view(n, c), products.view(n, c)


def _in_rows(z: torch.Tensor) -> bool:
    return z.device.type == "cpu" and z.is_contiguous()


def _dense(z: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
    """Features without gaps, with channels last where `like` (by default z itself) has them so."""
    last = (z if like is None else like).is_contiguous(memory_format=torch.channels_last)
    rows = (z if like is None else like).is_contiguous()
    return z.contiguous(memory_format=torch.channels_last if last and not rows else torch.contiguous_format)


def _wide(numbers: torch.Tensor) -> torch.Tensor:
    """(n, c), (c,) or () numbers as (n or 1, c or 1, 1, 1)."""
    return numbers[..., None, None] if numbers.dim() else numbers


def _spread(of_groups: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """(n, groups) numbers on the channels of z: (n, c)."""
    n, groups = of_groups.shape
    return of_groups[:, :, None].expand(n, groups, z.shape[1] // groups).reshape(n, -1)
