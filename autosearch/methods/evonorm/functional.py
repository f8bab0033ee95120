"""The six published EvoNorm layers as functions (Liu et al. 2020, "Evolving Normalization-Activation Layers").

| symbol | meaning | shape |
|---|---|---|
| x | features of n examples, c channels | (n, c, h, w) |
| v | slope inside the layer (B0, S0) | (c,) |
| std_b, var_b | standard deviation over batch and space, and its square | (c,) |
| std_i, rms_i | standard deviation and root mean square over space | (n, c, 1, 1) |
| std_g, rms_g | the same over space and a group of channels | (n, c, 1, 1) |

Table 6 of the paper (appendix), before the channels' affine map `weight * y + bias`:

    B0: x / max(std_b, v x + std_i)          S0: x sigmoid(v x) / std_g
    B1: x / max(std_b, (x + 1) rms_i)        S1: x sigmoid(x) / std_g
    B2: x / max(std_b, rms_i - x)            S2: x sigmoid(x) / rms_g

Every variance is the biased one, with `eps` inside the root. The maximum with std_b is what keeps B1 and B2, whose
second argument may be negative, from dividing by nothing. Statistics are computed in 32 bits or more, whatever x is.
"""

import torch

_SPACE = (2, 3)


def widened(x: torch.Tensor) -> torch.Tensor:
    """`x` in at least 32 bits: squares and exponentials of half-precision features overflow."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def per_channel(values: torch.Tensor) -> torch.Tensor:
    """(c,) values as (1, c, 1, 1)."""
    return values.view(1, -1, 1, 1)


def group_scale(x: torch.Tensor, groups: int, eps: float, *, centred: bool) -> torch.Tensor:
    """(n, c, 1, 1) standard deviation of each channel's group, or its root mean square where not `centred`."""
    parts = torch.unflatten(x, 1, (groups, -1))
    scale = (_moment(parts, (2, 3, 4), centred=centred) + eps).sqrt()
    return scale.expand_as(parts[:, :, :, :1, :1]).flatten(1, 2)


def instance_scale(x: torch.Tensor, eps: float, *, centred: bool) -> torch.Tensor:
    """(n, c, 1, 1) standard deviation over space, or root mean square where not `centred`."""
    return (_moment(x, _SPACE, centred=centred) + eps).sqrt()


def batch_variance(x: torch.Tensor) -> torch.Tensor:
    """(c,) biased variance over batch and space."""
    return _moment(widened(x), (0, 2, 3), centred=True).flatten()


def _moment(x: torch.Tensor, over: tuple[int, ...], *, centred: bool) -> torch.Tensor:
    """Biased variance, or mean square, of x over some dimensions, which are kept.

    In two passes: on a CPU torch's `var`, which needs one, takes several times as long.
    """
    return (x - x.mean(over, keepdim=True) if centred else x).square().mean(over, keepdim=True)


def evonorm_b(
    x: torch.Tensor,
    variance: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    kind: int,
    v: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    """EvoNorm-B`kind` of `x`.

    Args:
        x: (n, c, h, w).
        variance: (c,) var_b, of this batch in training and a running average after it.
        weight: (c,).
        bias: (c,).
        kind: 0, 1 or 2.
        v: (c,), of B0.
        eps: under each root.
    """
    z = widened(x)
    std = per_channel((widened(variance) + eps).sqrt())
    if kind == 0 and v is not None:
        other = per_channel(v) * z + instance_scale(z, eps, centred=True)
    else:
        rms = instance_scale(z, eps, centred=False)
        other = (z + 1) * rms if kind == 1 else rms - z
    y = z / torch.maximum(std, other) * per_channel(weight) + per_channel(bias)
    return y.to(x.dtype)


def evonorm_s(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    groups: int,
    centred: bool = True,
    v: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    """EvoNorm-S0 of `x` where `v` is given, else S1, or S2 where not `centred`; plain differentiable operations.

    Args:
        x: (n, c, h, w).
        weight: (c,).
        bias: (c,).
        groups: of channels; divides c.
        centred: divide by std_g, else by rms_g.
        v: (c,), of S0.
        eps: under the root.
    """
    z = widened(x)
    gate = z if v is None else per_channel(v) * z
    scale = per_channel(weight) / group_scale(z, groups, eps, centred=centred)
    return (z * gate.sigmoid() * scale + per_channel(bias)).to(x.dtype)
