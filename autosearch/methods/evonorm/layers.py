"""EvoNorm as modules: normalisation and activation in one layer, in place of both."""

from typing import Any, Literal

import torch
from torch import nn

from autosearch.core.errors import OptionError
from autosearch.methods.evonorm.functional import (
    batch_variance,
    evonorm_b,
    evonorm_s,
    group_scale,
    per_channel,
    widened,
)
from autosearch.methods.evonorm.fused import FusedB, FusedS

Variant = Literal["b0", "b1", "b2", "s0", "s1", "s2"]
Linear = Literal["affine", "normalize"]

VARIANTS: tuple[Variant, ...] = ("b0", "b1", "b2", "s0", "s1", "s2")
GROUPS = 32  # the authors' number
GROUP_SIZE = 8  # channels, what the authors take for MobileNets


class EvoNorm2d(nn.Module):
    """An EvoNorm layer for (n, channels, h, w) features (Liu et al. 2020, NeurIPS).

    B0, B1 and B2 use statistics of the batch in training and a running variance in evaluation; S0, S1 and S2 use each
    example's own, the same in both. `weight`, `bias` and `v` should not decay, like those of batch norm.

    Formulas, eps and running variance are those of the authors' TensorFlow code; `unbiased_running_var` and, for B0,
    `eps=1e-3` are timm's.

    At 1×1 features a group must hold more than one channel; where its channels are nearly equal, S0 and S1 divide by
    almost nothing and their output grows up to `1 / sqrt(eps)` times: S2 is the one to use there.

    Args:
        channels: c.
        variant: `b0`, `b1`, `b2`, `s0`, `s1` or `s2`.
        groups: of the S variants' statistics; the next smaller number that divides the channels is taken. As in
            batch-independent layers elsewhere, narrow networks do better with `group_size=8`.
        group_size: channels of a group, in place of `groups`; must divide the channels.
        eps: under each root, above 0.
        momentum: weight of the newest batch in the running variance, in (0, 1].
        activate: False for the places where a network does not activate, such as in front of a sum.
        when_linear: what is left where not `activate`: the channels' affine map alone, as in the authors' code, or
            with it the division by the standard deviation.
        unbiased_running_var: average the unbiased variance.
        fused: use the gradient written out by hand, which saves memory and time without `torch.compile`.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        OptionError: for an option that makes no sense.
    """

    running_var: torch.Tensor | None

    def __init__(  # noqa: PLR0913 - all but two by keyword
        self,
        channels: int,
        variant: Variant = "s0",
        *,
        groups: int = GROUPS,
        group_size: int | None = None,
        eps: float = 1e-5,
        momentum: float = 0.1,
        activate: bool = True,
        when_linear: Linear = "affine",
        unbiased_running_var: bool = False,
        fused: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise OptionError(f"variant: one of {', '.join(VARIANTS)}, got {variant!r}.", "variant")
        if channels < 1:
            raise OptionError(f"channels: at least 1, got {channels}.", "channels")
        if when_linear not in ("affine", "normalize"):
            raise OptionError(f"when_linear: affine or normalize, got {when_linear!r}.", "when_linear")
        if not eps > 0:
            raise OptionError(f"eps: above 0, got {eps}: constant features would be divided by 0.", "eps")
        if not 0 < momentum <= 1:
            raise OptionError(f"momentum: in (0, 1], got {momentum}.", "momentum")
        self.channels, self.variant, self.eps, self.momentum = channels, variant, eps, momentum
        self.groups = _groups(channels, groups, group_size)
        self.activate, self.when_linear = activate, when_linear
        self.unbiased_running_var, self.fused = unbiased_running_var, fused
        self.weight = nn.Parameter(torch.ones(channels, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype))
        sloped = variant in ("b0", "s0") and activate
        self.v = nn.Parameter(torch.ones(channels, device=device, dtype=dtype)) if sloped else None
        if variant.startswith("b") and (activate or when_linear == "normalize"):
            self.register_buffer("running_var", torch.ones(channels, device=device, dtype=dtype))
        else:
            self.running_var = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._check(x)
        if not self.activate:
            return self._linear(x)
        # A compiler fuses the plain form by itself; `torch.func` derives what it needs from it.
        traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        return self._fused(x) if self.fused and not traced else self._plain(x)

    def _plain(self, x: torch.Tensor) -> torch.Tensor:
        if self.running_var is not None:
            kind, variance = int(self.variant[1]), self._variance(x)
            return evonorm_b(x, variance, self.weight, self.bias, kind=kind, v=self.v, eps=self.eps)
        centred = self.variant != "s2"
        return evonorm_s(
            x, self.weight, self.bias, groups=self.groups, centred=centred, v=self.v, eps=self.eps
        )

    def _fused(self, x: torch.Tensor) -> torch.Tensor:
        weights = (x, self.weight, self.bias, self.v)
        if self.running_var is None:
            y: torch.Tensor = FusedS.apply(*weights, self.groups, self.variant != "s2", self.eps)  # type: ignore[no-untyped-call]
            return y
        running = None if self.training else self.running_var
        y, variance = FusedB.apply(*weights, running, int(self.variant[1]), self.eps)  # type: ignore[no-untyped-call]
        if self.training:
            self._average(variance, x)
        return y

    def extra_repr(self) -> str:
        groups = (
            f", groups={self.groups}" if self.variant.startswith("s") else f", momentum={self.momentum:g}"
        )
        linear = "" if self.activate else f", activate=False, when_linear={self.when_linear!r}"
        return f"{self.channels}, {self.variant!r}{groups}, eps={self.eps:g}{linear}"

    def _linear(self, x: torch.Tensor) -> torch.Tensor:
        z = widened(x)
        if self.running_var is not None:
            z = z / per_channel((widened(self._variance(x)) + self.eps).sqrt())
        elif self.when_linear == "normalize":
            z = z / group_scale(z, self.groups, self.eps, centred=self.variant != "s2")
        return (z * per_channel(self.weight) + per_channel(self.bias)).to(x.dtype)

    def _variance(self, x: torch.Tensor) -> torch.Tensor:
        """var_b: of this batch, which is averaged into the running one, or the running one."""
        if self.running_var is not None and not self.training:
            return self.running_var
        variance = batch_variance(x)
        self._average(variance, x)
        return variance

    def _average(self, variance: torch.Tensor, x: torch.Tensor) -> None:
        """Move the running variance towards that of the batch x."""
        if self.running_var is None or recomputing():
            return
        count = x.numel() // self.channels
        unbiasing = count / (count - 1) if self.unbiased_running_var else 1.0
        with torch.no_grad():
            newest = variance.detach().to(self.running_var.dtype) * unbiasing
            self.running_var.lerp_(newest, self.momentum)

    def _check(self, x: torch.Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != self.channels:
            raise ValueError(
                f"EvoNorm2d takes (n, {self.channels}, h, w) features, got shape {tuple(x.shape)}."
            )
        if self.variant.startswith("s"):
            elements = x[0].numel() // self.groups if self.activate or self.when_linear == "normalize" else 2
            if elements == 1 and self.variant != "s2":
                raise ValueError(
                    f"EvoNorm-{self.variant.upper()}: a group holds a single element at features of "
                    f"{tuple(x.shape[2:])}, so its variance is 0. Use fewer groups (now {self.groups}), or S2."
                )
        elif self.training and self.running_var is not None and x.numel() == self.channels:
            raise ValueError(
                f"EvoNorm-{self.variant.upper()}: the batch holds one element a channel, so its variance is 0. "
                f"Train on more examples at once, or use an S variant."
            )


def _groups(channels: int, groups: int, group_size: int | None) -> int:
    if group_size is not None:
        if group_size < 1 or channels % group_size:
            raise OptionError(
                f"group_size: must divide the {channels} channels, got {group_size}.", "group_size"
            )
        return channels // group_size
    if groups < 1:
        raise OptionError(f"groups: at least 1, got {groups}.", "groups")
    return group_count(channels, groups)


def group_count(channels: int, at_most: int) -> int:
    """The largest number up to `at_most` that divides the channels."""
    return next(g for g in range(min(at_most, channels), 0, -1) if channels % g == 0)


def recomputing() -> bool:
    """Whether this forward pass belongs to a backward pass: activation checkpointing runs it a second time."""
    if torch.compiler.is_compiling():
        return False
    return bool(torch._C._current_graph_task_id() != -1)


class LayerFactory:
    """A named layer as networks ask for it: `factory(channels)`, and `factory.linear(channels)` without activation.

    Unless told otherwise, groups hold eight channels or more, up to 32 groups: the authors' 32 groups would leave the
    narrow stages of a small network a channel or two each, and statistics of a handful of numbers.

    Args:
        variant: of EvoNorm2d.
        options: further arguments of EvoNorm2d.
    """

    def __init__(self, variant: Variant, **options: Any) -> None:
        self.variant, self.options = variant, options

    def __call__(self, channels: int) -> EvoNorm2d:
        return EvoNorm2d(channels, self.variant, **self._options(channels))

    def linear(self, channels: int) -> EvoNorm2d:
        return EvoNorm2d(channels, self.variant, **{**self._options(channels), "activate": False})

    def _options(self, channels: int) -> dict[str, Any]:
        return {"groups": max(1, min(GROUPS, channels // GROUP_SIZE)), **self.options}


evonorm_b0, evonorm_b1, evonorm_b2 = (LayerFactory(v) for v in VARIANTS[:3])
evonorm_s0, evonorm_s1, evonorm_s2 = (LayerFactory(v) for v in VARIANTS[3:])
