"""The number of operations of a network: multiply-adds, and what norms, activations and pooling add to them."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from autosearch.methods.robot.metrics.watching import activates, packets

_NORMS = packets(
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "_batch_norm_no_update", "_batch_norm_with_update", "native_group_norm", "native_layer_norm",
)  # fmt: skip
_POOLS = packets(
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices"
)
_MEANS = packets("mean", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d")


class _Elementwise(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts two operations for each normalised value, one for each activated, a kernel's area for each pooled one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        packet, first = func.overloadpacket, out[0] if isinstance(out, tuple | list) else out
        if packet in _NORMS:
            self.count += 2 * first.numel()
        elif activates(packet, args, kwargs):
            self.count += first.numel()
        elif packet in _POOLS:
            self.count += math.prod(args[1]) * first.numel()
        elif packet in _MEANS:
            self.count += args[0].numel()
        return out


def operation_count(model: nn.Module, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> int:
    """Operations for one example: multiply-adds of convolutions, linear layers and products, and elementwise work.

    A multiply-add counts once. Normalised values count two, activated ones one, pooled ones their kernel's area; sums
    of branches count nothing. Nothing is computed; the model is not changed.

    Args:
        model: is copied.
        shape: of one example.
        dtype: of the example.
    """
    real = dtype if dtype.is_floating_point else torch.float32
    hollow = copy.deepcopy(model).to("meta", real).eval()
    with FlopCounterMode(display=False) as products, _Elementwise() as elementwise, torch.no_grad():
        hollow(torch.zeros((1, *shape), dtype=dtype, device="meta"))
    return int(products.get_total_flops()) // 2 + int(elementwise.count)
