"""What a network costs: multiply-accumulates, parameters, measured latency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from autosearch.learning.costs import batch_size, count_macs, latencies, run
from autosearch.methods.pruning.groups import Groups
from autosearch.methods.pruning.shrink import Slot


def count_params(model: nn.Module) -> int:
    """Trainable and fixed parameters, each once; buffers do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


def latency_share(model: nn.Module, dense: nn.Module, example_inputs: Any, *, seconds: float = 0.2) -> float:
    """Latency of `model` over that of `dense`, measured in turns, so that a machine that slows down slows both."""
    own, other = latencies([model, dense], example_inputs, seconds)
    return own / other


@dataclass(frozen=True, slots=True)
class _Layer:
    """Cost of a layer with all its channels, and the slots whose widths it is proportional to."""

    cost: float
    slots: tuple[Slot, ...]


class Estimate:
    """MACs and parameters of a pruned network from the widths alone, without building it.

    Exact where every cost is proportional to widths; attention's products count by heads, and what belongs to no layer
    counts as constant.
    """

    def __init__(self, model: nn.Module, example_inputs: Any, groups: Groups) -> None:
        self.groups = groups
        self.total = {"macs": count_macs(model, example_inputs), "params": float(count_params(model))}
        positions = _positions(model, example_inputs)
        self._layers: dict[str, list[_Layer]] = {"macs": [], "params": []}
        for name, module in model.named_modules():
            for parameter_name, parameter in module.named_parameters(recurse=False):
                slots = _slots(name, module, parameter_name, groups.widths)
                self._layers["params"].append(_Layer(float(parameter.numel()), slots))
                if parameter_name == "weight" and isinstance(module, _ConvNd | nn.Linear):
                    cost = float(parameter.numel() * positions.get(name, 0)) / batch_size(example_inputs)
                    self._layers["macs"].append(_Layer(cost, slots))
        blocks = tuple(slot for slot in groups.widths if slot.axis == "heads")
        rest = self.total["macs"] - sum(layer.cost for layer in self._layers["macs"])
        heads = sum(groups.widths[slot] for slot in blocks)
        for slot in blocks:
            self._layers["macs"].append(_Layer(rest * groups.widths[slot] / heads, (slot,)))
        if not blocks:
            self._layers["macs"].append(_Layer(rest, ()))
        self._sizes = {
            slot: [
                (g, [len(unit) for unit in member.units])
                for g, group in enumerate(groups.groups)
                for member in group.members
                if member.slot == slot
            ]
            for slot in groups.widths
        }

    def shares(self, alive: Sequence[Sequence[int]]) -> dict[str, float]:
        """`macs` and `params` left, as shares of the network the estimate was made for."""
        gone = [
            set(range(len(group))) - set(stay) for group, stay in zip(self.groups.groups, alive, strict=True)
        ]
        left = {
            slot: 1 - sum(sizes[u] for g, sizes in parts for u in gone[g]) / self.groups.widths[slot]
            for slot, parts in self._sizes.items()
        }
        found = {}
        for metric, layers in self._layers.items():
            cost = 0.0
            for layer in layers:
                part = layer.cost
                for slot in layer.slots:
                    part *= left[slot]
                cost += part
            found[metric] = cost / self.total[metric] if self.total[metric] else 1.0
        return found


def _slots(name: str, module: nn.Module, parameter: str, widths: Mapping[Slot, int]) -> tuple[Slot, ...]:
    """The slots that a parameter's size is proportional to."""
    axes = ("out", "in", "channels") if parameter == "weight" else ("out", "channels")
    path = f"{name}.{parameter}" if name else parameter
    alone = [slot for slot in widths if slot.module == path]
    found = [Slot(name, axis) for axis in axes if Slot(name, axis) in widths]
    if (
        isinstance(module, _ConvNd)
        and module.groups > 1
        and Slot(name, "in") in widths
        and Slot(name, "out") in widths
    ):
        return tuple(found)  # both shrink: (out, in / groups) with the count of groups unchanged
    return (*found, *alone)


def _positions(model: nn.Module, example_inputs: Any) -> dict[str, int]:
    """Output positions, of all examples together, at which the weight of each convolution and linear layer is used."""
    found: dict[str, int] = {}

    def counting(name: str, module: nn.Module) -> Any:
        def count(_: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
            if isinstance(module, _ConvNd):
                each = inputs[0] if module.transposed else output
                found[name] = found.get(name, 0) + each.numel() // each.shape[1]
            else:
                found[name] = found.get(name, 0) + output.numel() // output.shape[-1]

        return count

    hooks = [
        module.register_forward_hook(counting(name, module))
        for name, module in model.named_modules()
        if isinstance(module, _ConvNd | nn.Linear)
    ]
    try:
        run(model, example_inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found
