"""Responses of single layers: how their weights would change with the hyperparameters.

| symbol | meaning | shape |
|---|---|---|
| B | examples of a batch (or 1: the same response for all) | |
| g | gains of a layer, g = V h | (B, 2 O), (B, O) without bias |
| W, b | weight and bias of the plain layer | (O, …), (O,) |
| W', b' | response weight and bias | as W, b |

A layer answers with W(h) = W + diag(g_w) W', b(h) = b + g_b b'. With *tied* responses W' = W and b(h) = (1 + g_w) b +
g_b: each unit is scaled and shifted, which costs no second product and no second weight.

Source: MacKay et al. 2019, "Self-Tuning Networks", section 3; Bae and Grosse 2020, "Delta-STN", section 4.
Differs from the papers: V is one matrix for the whole network; norms, attention and recurrent layers; tied responses.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from autosearch.methods.stn.signal import Signal, join, split

Op = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


class Slot(nn.Module):
    """Response of one weight with its bias, which stay parameters of their layer.

    Args:
        layer: that holds them.
        weight: attribute name of the weight.
        bias: and of the bias; None without.
        axis: dimension of the weight that counts outputs.
        rows: part of the outputs, None for all.
        tied: no weight of its own.

    Attributes:
        start: place of its gains among those of the network, set when all are known.
    """

    def __init__(
        self,
        layer: nn.Module,
        weight: str,
        bias: str | None,
        *,
        axis: int = 0,
        rows: tuple[int, int] | None = None,
        tied: bool = False,
    ) -> None:
        super().__init__()
        object.__setattr__(self, "layer", layer)  # not a child: the layer's parameters are not the response's
        self._names = weight, bias if bias is not None and getattr(layer, bias) is not None else None
        self.axis, self.rows, self.tied = axis, rows, tied
        self.start = 0
        base, base_bias = self.base()
        self.outputs = base.shape[axis]
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if tied:
            return
        bound = 1 / math.sqrt(max(1, base.numel() // self.outputs if axis == 0 else self.outputs))
        self.weight = nn.Parameter(torch.empty_like(base, requires_grad=False).uniform_(-bound, bound))
        if base_bias is not None:
            self.bias = nn.Parameter(torch.empty_like(base_bias, requires_grad=False).uniform_(-bound, bound))

    @property
    def size(self) -> int:
        """Number of gains."""
        return self.outputs * (1 if self._names[1] is None else 2)

    @property
    def weight_name(self) -> str:
        """Attribute of the layer."""
        return self._names[0]

    def base(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weight and bias of the plain layer."""
        weight: torch.Tensor = getattr(self.layer, self._names[0])
        bias: torch.Tensor | None = None if self._names[1] is None else getattr(self.layer, self._names[1])
        if self.rows is not None:
            weight, bias = weight[slice(*self.rows)], None if bias is None else bias[slice(*self.rows)]
        return weight, bias

    def gains(self, gains: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Its own part of the network's gains: (B, O) for the weight, and for the bias."""
        middle = self.start + self.outputs
        weight = gains[:, self.start : middle]
        return weight, None if self._names[1] is None else gains[:, middle : middle + self.outputs]

    @torch.no_grad()
    def fold(self, gains: torch.Tensor) -> None:
        """Put the response to gains (1, G) into weight and bias of the layer."""
        weight, bias = self.base()
        of_weight, of_bias = self.gains(gains)
        shape = [1] * weight.ndim
        shape[self.axis] = -1
        if bias is not None and of_bias is not None:
            bias += of_bias[0] * self.bias if self.bias is not None else of_weight[0] * bias + of_bias[0]
        weight += of_weight.view(shape) * (weight if self.weight is None else self.weight)

    def decay(self, gains: torch.Tensor, metric: torch.Tensor | None, *, joint: bool) -> torch.Tensor:
        """Squared norm of the weight with the response, (B,): its change alone, unless trained jointly with the weight.

        Args:
            gains: of the network, (B, G).
            metric: weight of each entry in the norm, as the layer's weight; None for 1.
            joint: with the part of the plain weight, and with gradients to it.
        """
        base = self.base()[0] if joint else self.base()[0].detach()
        other = base if self.weight is None else self.weight
        if metric is None:
            metric = torch.ones((), device=base.device)
        elif self.rows is not None:
            metric = metric[slice(*self.rows)]
        dims = [i for i in range(base.ndim) if i != self.axis]
        cross, own = metric * other * base, metric * other.square()
        if dims:
            cross, own = cross.sum(dims), own.sum(dims)
        g = self.gains(gains)[0]
        change = g @ (2 * cross) + g.square() @ own
        return change + (metric * base.square()).sum() if joint else change


class Response(nn.Module):
    """Takes a layer's place in the forward pass; the layer keeps its parameters and its place in the network.

    Args:
        layer: the plain layer.
        name: its path in the network.
        signal: what all layers of the network see.
        tied: slots have no weights of their own.
        answers: whether weights answer; without, only what else the class does is done.
    """

    layer: Any

    def __init__(
        self, layer: nn.Module, name: str, signal: Signal, *, tied: bool, answers: bool = True
    ) -> None:
        super().__init__()
        object.__setattr__(self, "layer", layer)
        self.name, self.signal = name, signal
        self.slots = nn.ModuleList(self.make_slots(layer, tied=tied) if answers else [])

    def make_slots(self, layer: Any, *, tied: bool) -> list[Slot]:
        """Its weights, in the order in which they are used."""
        return [Slot(layer, "weight", "bias", tied=tied)]

    def plain(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's own forward pass."""
        return type(self.layer).forward(self.layer, *args, **kwargs)

    def affine(
        self, slot: int, x: torch.Tensor, op: Op, channel: int | None = None, *, first: bool = False
    ) -> torch.Tensor:
        """`op` with the response in weight and bias: linear in its input, in its weight, and in its bias.

        Args:
            slot: whose weights.
            x: input.
            op: of input, weight, bias.
            channel: dimension of the output that counts outputs, the last if None.
            first: examples are counted by the first dimension, whatever the network's other inputs look like.
        """
        own: Any = self.slots[slot]
        weight, bias = own.base()
        if self.signal.gains is None:
            return op(x, weight, bias)
        of_weight, of_bias = own.gains(self.signal.gains)
        if own.bias is not None:
            of_bias = of_bias * own.bias
        value, derivative = split(x) if self.signal.tangent else (x, None)
        y = op(value, weight, bias)
        other = y if own.weight is None else op(value, own.weight, None)
        if other is y and self.signal.tangent:
            other = y.clone()  # what comes next, such as `ReLU(inplace=True)`, may overwrite `y` itself
        place = y.ndim - 1 if channel is None else channel
        spread = self._spread(y, place, first=first)
        change = spread(of_weight) * other
        if of_bias is not None:
            change = change + spread(of_bias)
        if not self.signal.tangent:
            return y + change
        if derivative is not None:
            change = change + op(derivative, weight, None)
        return join(y, change)

    def _spread(
        self, y: torch.Tensor, channel: int, *, first: bool
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        if not first:
            return lambda rows: self.signal.spread(rows, y, channel, self.name)
        shape = [1] * y.ndim
        shape[channel] = -1
        return lambda rows: rows.view(len(rows), *shape[1:])


class LinearResponse(Response):
    """Of `nn.Linear`."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name of the layer
        """(B, …, D) -> (B, …, O)."""
        return self.affine(0, input, functional.linear)


class ConvResponse(Response):
    """Of `nn.Conv1d`, `nn.Conv2d` and `nn.Conv3d`: one gain for an output channel."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name of the layer
        """(B, C, …) -> (B, O, …)."""
        return self.affine(0, input, self.layer._conv_forward, 1)


class EmbeddingResponse(Response):
    """Of `nn.Embedding`: one gain for a component."""

    def make_slots(self, layer: Any, *, tied: bool) -> list[Slot]:
        return [Slot(layer, "weight", None, axis=1, tied=tied)]

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name of the layer
        """(B, …) -> (B, …, E)."""
        layer = self.layer

        def op(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG001
            return functional.embedding(x, weight, layer.padding_idx, None, 2.0, layer.scale_grad_by_freq)

        return self.affine(0, input, op)


class NormResponse(Response):
    """Of layer, RMS, group and instance norm: gains of scale and shift behind the normalisation."""

    channel: int | None = 1

    def make_slots(self, layer: Any, *, tied: bool) -> list[Slot]:
        if layer.weight is None:
            return []
        return [Slot(layer, "weight", "bias" if hasattr(layer, "bias") else None, tied=tied)]

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """Without scale and shift."""
        layer = self.layer
        if isinstance(layer, nn.GroupNorm):
            return functional.group_norm(x, layer.num_groups, None, None, layer.eps)
        return functional.instance_norm(x, None, None, None, None, True, 0.0, layer.eps)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name of the layer
        """Same shape as the input."""
        if self.signal.gains is None:
            plain: torch.Tensor = self.plain(input)
            return plain
        x, layer = self.normalised(input), self.layer
        if layer.weight is None:
            return x
        channel = x.ndim - 1 if self.channel is None else self.channel
        shape = [1] * x.ndim
        shape[channel] = -1

        def op(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            y = x * weight.view(shape)
            return y if bias is None else y + bias.view(shape)

        if not len(self.slots):
            return op(x, layer.weight, layer.bias)
        return self.affine(0, x, op, channel)


class LayerNormResponse(NormResponse):
    """Of `nn.LayerNorm` and `nn.RMSNorm` over the last dimension."""

    channel = None

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        shape, eps = self.layer.normalized_shape, self.layer.eps
        if isinstance(self.layer, nn.LayerNorm):
            return functional.layer_norm(x, shape, None, None, eps)
        return functional.rms_norm(x, shape, None, eps)


class BatchNormResponse(NormResponse):
    """Of batch norm: statistics are those of values at zero gain, and a pass beside training leaves no trace in them.

    Derivatives of statistics are left out: an evaluation, in which the response is used, has fixed ones.
    """

    trains = False  # whether passes with gains are those that train the network

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        value, derivative = split(x) if self.signal.tangent else (x, None)
        batch = layer.training or layer.running_mean is None
        if batch and self.trains and layer.running_mean is not None:
            layer.num_batches_tracked.add_(1)
            rate = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)
            return functional.batch_norm(
                x, layer.running_mean, layer.running_var, None, None, True, rate, layer.eps
            )
        if derivative is None and not self.signal.tangent:
            mean, variance = (None, None) if batch else (layer.running_mean, layer.running_var)
            return functional.batch_norm(x, mean, variance, None, None, batch, 0.0, layer.eps)
        dims = [i for i in range(x.ndim) if i != 1]
        if batch:
            variance, mean = torch.var_mean(value, dims, correction=0)
        else:
            variance, mean = layer.running_var, layer.running_mean
        shape = [1, -1] + [1] * (x.ndim - 2)
        factor = (variance + layer.eps).rsqrt().view(shape)
        y = (value - mean.view(shape)) * factor
        return y if derivative is None else join(y, derivative * factor)


class DropoutResponse(Response):
    """Of `nn.Dropout` and its forms for channels: a rate for each example.

    Attributes:
        tuned: name of the hyperparameter that is the rate; None leaves the module's own.
    """

    tuned: str | None = None

    def make_slots(self, layer: Any, *, tied: bool) -> list[Slot]:  # noqa: ARG002
        return []

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name of the layer
        """Same shape as the input."""
        values = self.signal.values
        if self.tuned is None or values is None or not self.layer.training:
            plain: torch.Tensor = self.plain(input)
            return plain
        whole = (
            2
            if isinstance(self.layer, nn.modules.dropout._DropoutNd) and type(self.layer) is not nn.Dropout
            else None
        )
        rate = self.signal.spread(values[self.tuned][:, None], input, input.ndim - 1, self.name)
        return dropped(input, rate, whole)


def dropped(x: torch.Tensor, rate: torch.Tensor, dims: int | None = None) -> torch.Tensor:
    """`x` with entries set to zero at `rate`, which broadcasts over it, and the others scaled up.

    Args:
        x: (B, …).
        rate: probabilities in [0, 1).
        dims: draw for the first so many dimensions only, such as 2 for whole channels; None for all.
    """
    shape = x.shape if dims is None else (*x.shape[:dims], *[1] * (x.ndim - dims))
    kept = torch.rand(shape, device=x.device) >= rate
    # A rate may round to 1, where nothing is kept and 0 / 0 would be left.
    return x * (kept / (1 - rate).clamp_min(1e-6)).to(x.dtype)


def metric_of(optimizer: torch.optim.Optimizer, weight: torch.Tensor) -> torch.Tensor | None:
    """How much each entry of `weight` counts in the penalty that the optimizer's weight decay stands for.

    Plain weight decay is the gradient of half the squared norm. Decoupled decay beside Adam's steps is that of a norm
    in which entries count by their root of squared gradients, as the steps are divided by it.
    """
    defaults: Mapping[str, Any] = optimizer.defaults
    decoupled = defaults.get("decoupled_weight_decay", isinstance(optimizer, torch.optim.AdamW))
    squares = optimizer.state.get(weight, {}).get("exp_avg_sq") if decoupled else None
    return None if squares is None else squares.sqrt()
