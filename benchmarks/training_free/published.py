"""The paper's six metrics, each with passes of its own, as the published programs run them: the rival of shared passes.

Structure after Abdelfattah et al. 2021 ("Zero-cost proxies for lightweight NAS"): every metric copies the network, runs
it forward and backward to all parameters; GraSP makes one gradient with and one without a graph.
"""

import copy
import math

import torch
from torch import nn
from torch.nn import functional


def _weights(model: nn.Module) -> list[nn.Parameter]:
    return [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def _backward(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    copied = copy.deepcopy(model).train()
    functional.cross_entropy(copied(x), y).backward()
    return copied


def _gradient(w: nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(w) if w.grad is None else w.grad


def grad_norm(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return sum(float(_gradient(w).norm()) for w in _weights(_backward(model, x, y)))


def snip(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return sum(float((_gradient(w) * w).abs().sum().detach()) for w in _weights(_backward(model, x, y)))


def grasp(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    copied = copy.deepcopy(model).train()
    weights = _weights(copied)
    fixed = torch.autograd.grad(functional.cross_entropy(copied(x), y), weights, allow_unused=True)
    moving = torch.autograd.grad(
        functional.cross_entropy(copied(x), y), weights, create_graph=True, allow_unused=True
    )
    product = sum(
        (a.detach() * b).sum() for a, b in zip(fixed, moving, strict=True) if a is not None and b is not None
    )
    if isinstance(product, torch.Tensor):
        product.backward()
    return -sum(float((_gradient(w) * w).sum().detach()) for w in weights)


def fisher(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    copied = copy.deepcopy(model).train()
    total = 0.0
    outputs: list[tuple[nn.Module, torch.Tensor]] = []

    def keep(module: nn.Module, _: object, output: torch.Tensor) -> None:
        output.retain_grad()
        outputs.append((module, output))

    for module in copied.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(keep)
    functional.cross_entropy(copied(x), y).backward()
    for module, output in outputs:
        if output.grad is not None:
            saliency = (
                (output.detach() * output.grad).flatten(2).sum(2)
                if output.dim() > 2
                else output.detach() * output.grad
            )
            fan_in = module.weight[0].numel()
            total += fan_in * float(saliency.pow(2).mean(0).mul(0.5).abs().sum())
    return total


def synflow(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:  # noqa: ARG001
    copied = copy.deepcopy(model).double()
    for name, module in list(copied.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            owner, _, attribute = name.rpartition(".")
            setattr(copied.get_submodule(owner), attribute, nn.Identity())
    with torch.no_grad():
        for p in copied.parameters():
            p.abs_()
    copied(torch.ones((1, *x.shape[1:]), dtype=torch.float64)).sum().backward()
    total = sum(float((w * _gradient(w)).abs().sum().detach()) for w in _weights(copied))
    return math.log(total) if total > 0 else -math.inf


def jacob_cov(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:  # noqa: ARG001
    copied = copy.deepcopy(model).train()
    inputs = x.clone().requires_grad_()
    out = copied(inputs)
    out.backward(torch.ones_like(out))
    if inputs.grad is None:
        return math.nan
    values = torch.linalg.eigvalsh(torch.corrcoef(inputs.grad.flatten(1).double()).nan_to_num()) + 1e-5
    return -float((values.log() + 1 / values).sum())


SIX = {
    "grad_norm": grad_norm, "snip": snip, "grasp": grasp, "fisher": fisher, "synflow": synflow, "jacob_cov": jacob_cov,
}  # fmt: skip
