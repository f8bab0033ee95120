"""What running a network costs: multiply-accumulates of an example, measured latency."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def count_macs(model: nn.Module, example_inputs: Any) -> float:
    """Multiply-accumulates of one example: convolutions, linear layers and attention, as counted in a pass."""
    with FlopCounterMode(display=False, custom_mapping=_FUSED) as counter:
        run(model, example_inputs)
    return float(counter.get_total_flops()) / 2 / batch_size(example_inputs)


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:  # noqa: ARG001
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


_LEAST_PASSES = 20
# Fused attention on a CPU is not in torch's own table.
_FUSED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


def measure_latency(model: nn.Module, example_inputs: Any, *, seconds: float = 0.5) -> float:
    """Seconds of a pass over the example inputs on their device, the fastest of those made in about `seconds`."""
    return latencies([model], example_inputs, seconds)[0]


def latencies(models: Sequence[nn.Module], inputs: Any, seconds: float) -> list[float]:
    """Seconds of the fastest pass of each network, measured in turns for about `seconds` in all, 20 passes at least.

    The fastest, because other work on the machine only ever adds to a pass.
    """
    cuda = any(p.is_cuda for model in models for p in model.parameters())

    def once(model: nn.Module) -> float:
        start = time.perf_counter()
        _called(model, inputs)
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for model in models:
            stack.enter_context(evaluating(model))
        for _ in range(3):
            for model in models:
                once(model)
        times: list[list[float]] = [[] for _ in models]
        end = time.perf_counter() + seconds
        while len(times[0]) < _LEAST_PASSES or time.perf_counter() < end:
            for model, own in zip(models, times, strict=True):
                own.append(once(model))
    return [min(own) for own in times]


def _called(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def batch_size(example_inputs: Any) -> int:
    """Examples in a batch: the first axis of the first tensor."""
    values = example_inputs.values() if isinstance(example_inputs, Mapping) else example_inputs
    tensor = example_inputs if isinstance(example_inputs, torch.Tensor) else next(iter(values))
    return int(tensor.shape[0])


def run(model: nn.Module, inputs: Any, *, grad: bool = False) -> Any:
    """What the network returns for example inputs; its mode and buffers are left as they are."""
    with torch.set_grad_enabled(grad), evaluating(model):
        return _called(model, inputs)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; the mode of every module comes back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
