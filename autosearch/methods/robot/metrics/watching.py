"""Seeing what a network computes, whatever it is written with: modules, functions, methods of tensors.

Values are read from the operators themselves (`TorchDispatchMode`), which a hook on `nn.ReLU` is not enough for;
what needs a gradient is read one level higher (`TorchFunctionMode`), where tensors still carry their graph.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autosearch.methods.robot.metrics.norms import batch_norm

_ACTIVATIONS = (
    "relu", "relu_", "relu6", "relu6_", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "elu", "elu_", "celu",
    "celu_", "selu", "selu_", "gelu", "gelu_", "silu", "silu_", "mish", "mish_", "hardswish", "hardswish_", "softplus",
    "prelu", "_prelu_kernel", "rrelu_with_noise", "rrelu_with_noise_", "threshold", "threshold_", "tanh", "tanh_",
    "sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_", "log_sigmoid_forward",
)  # fmt: skip
_RECTIFYING_CLAMPS = ("clamp", "clamp_", "clamp_min", "clamp_min_")
_CONVOLUTIONS = ("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution")


def packets(*names: str) -> frozenset[Any]:
    """The operators of these names, those that this version of PyTorch has."""
    return frozenset(getattr(torch.ops.aten, name) for name in names if hasattr(torch.ops.aten, name))


ACTIVATIONS = packets(*_ACTIVATIONS)
CLAMPS = packets(*_RECTIFYING_CLAMPS)
CONVOLUTIONS = packets(*_CONVOLUTIONS)


class Values(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Calls `activation` with what enters each nonlinearity, `feature` with what leaves each convolution and last op.

    Args:
        activation: gets the pre-activation, (batch, …), before an operator in place can change it.
        convolution: gets a convolution's output, (batch, channels, …).
        operator: gets every operator's output that is a tensor of real numbers.
    """

    def __init__(
        self,
        *,
        activation: Callable[[torch.Tensor], None] | None = None,
        convolution: Callable[[torch.Tensor], None] | None = None,
        operator: Callable[[torch.Tensor], None] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._activation, self._convolution, self._operator = activation, convolution, operator

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        packet = func.overloadpacket
        if self._activation is not None and activates(packet, args, kwargs):
            self._activation(args[0])
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            if self._convolution is not None and packet in CONVOLUTIONS:
                self._convolution(out)
            if self._operator is not None and out.is_floating_point():
                self._operator(out)
        return out


def activates(packet: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> bool:
    """Whether an operator is a nonlinearity, a clamp at 0 from below included."""
    if packet not in CLAMPS:
        return packet in ACTIVATIONS
    low = args[1] if len(args) > 1 else (kwargs or {}).get("min")
    return isinstance(low, int | float) and low == 0


_DROPOUTS = frozenset(
    {
        functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d, functional.alpha_dropout,
        functional.feature_alpha_dropout, torch.dropout, torch.dropout_, torch.alpha_dropout, torch.feature_dropout,
    }
)  # fmt: skip
_NORMS = frozenset(
    {
        functional.batch_norm, functional.instance_norm, functional.group_norm, functional.layer_norm,
        functional.rms_norm, torch.batch_norm, torch.instance_norm, torch.group_norm, torch.layer_norm,
        torch.rms_norm,
    }
)  # fmt: skip
_LAYERS = frozenset(
    {
        functional.linear, functional.conv1d, functional.conv2d, functional.conv3d, functional.conv_transpose1d,
        functional.conv_transpose2d, functional.conv_transpose3d,
    }
)  # fmt: skip


class Layers(TorchFunctionMode):
    """Silences dropout; hands out the outputs of layers with weights; passes by normalisation where that is asked.

    Args:
        layer: gets (output, weight) of each linear layer and convolution; the output carries its graph.
        variance: gets the running variance behind each batch norm, or its input's where it keeps none.
        bypass_norms: normalisation of any kind returns its input.
        curvature: batch norms are ones whose second derivative is cheap; their scales and shifts get no gradient.
    """

    def __init__(
        self,
        *,
        layer: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
        variance: Callable[[torch.Tensor], None] | None = None,
        bypass_norms: bool = False,
        curvature: bool = False,
    ) -> None:
        super().__init__()
        self._layer, self._variance, self._bypass = layer, variance, bypass_norms
        self._curvature = curvature

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func in _DROPOUTS or (self._bypass and func in _NORMS):
            return args[0] if args else named["input"]
        if func is functional.scaled_dot_product_attention:
            args, named = (
                args[:4],
                {**dict(zip(_ATTENTION, args[4:], strict=False)), **named, "dropout_p": 0.0},
            )
        if self._curvature and func is functional.batch_norm:
            norm = _bound(args, named)
            x = norm["input"]
            if norm.get("training", False) and x.numel() > x.shape[1]:
                return batch_norm(x, norm.get("weight"), norm.get("bias"), norm.get("eps", 1e-5))
        out = func(*args, **named)
        if self._layer is not None and func in _LAYERS:
            self._layer(out, args[1] if len(args) > 1 else named["weight"])
        if self._variance is not None and func is functional.batch_norm:
            norm = _bound(args, named)
            self._variance(_variance(norm["input"], norm.get("running_var")))
        return out


_ATTENTION = ("dropout_p", "is_causal")  # what may follow query, key, value and mask by position
_NORM_ARGUMENTS = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


def _bound(args: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a batch norm by name."""
    return dict(zip(_NORM_ARGUMENTS, args, strict=False)) | dict(named)


def _variance(x: torch.Tensor, running: torch.Tensor | None) -> torch.Tensor:
    if running is not None:
        return running.detach().clone()
    return x.detach().transpose(0, 1).flatten(1).var(dim=1)
