"""Cheap reasons to turn a layer away before it is trained for long, in the order of their cost.

Source: Liu et al. 2020, section 3.4: nearly every random layer fails in training within steps, and of those that do not
many have gradients that explode. The static checks are this project's, and so is the order: an ascent on a small batch
ends within a few steps for most layers, so stability comes before quality.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from autosearch.core.errors import AutosearchError, OptionError
from autosearch.learning import Batch, TorchLearner
from autosearch.methods.evonorm.graph_layer import GraphLayer
from autosearch.methods.evonorm.graphs import Graph

Loss = Callable[[nn.Module, Batch], torch.Tensor]
_AFFINE = 1e-6  # relative deviation below which a 64-bit layer counts as affine, or as constant


class RejectedError(AutosearchError):
    """A configuration is turned away: its trial ends as stopped, without values, with this reason.

    Attributes:
        check: `static`, `quality` or `stability`.
        step: of the check, at which it failed.
    """

    failure_cause = "rejected"

    def __init__(self, check: str, reason: str, step: int = 0) -> None:
        super().__init__(f"{check}: {reason}")
        self.check, self.step = check, step


@dataclass(frozen=True, slots=True)
class Rejection:
    """Settings of the checks.

    Attributes:
        quality_steps: training steps before accuracy is looked at; 0: not at all.
        quality_factor: times chance that it must reach.
        stability_steps: of gradient ascent on the gradient's norm; 0: none.
        stability_lr: size of an ascent step. The paper does not give its own.
        stability_norm: a layer is turned away where the norm of the gradient exceeds it.
        stability_batch: examples of the one batch that the ascent looks at, at most.
        affine: let layers pass that only scale and shift their input.
    """

    quality_steps: int = 100
    quality_factor: float = 2.0
    stability_steps: int = 100
    stability_lr: float = 0.1
    stability_norm: float = 1e8
    stability_batch: int = 16
    affine: bool = False

    def __post_init__(self) -> None:
        for name in ("quality_steps", "stability_steps"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name}: at least 0, got {getattr(self, name)}.", name)
        for name in ("quality_factor", "stability_lr", "stability_norm", "stability_batch"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name}: above 0, got {getattr(self, name)}.", name)


# -- static ----------------------------------------------------------------------------------------------------


def check_static(graph: Graph, *, affine: bool = False) -> None:
    """Refuse layers that cannot work, by what they make of a few random numbers.

    Raises:
        RejectedError: if the output ignores the input, is constant, the same for every example or not finite, has a
            gradient that is not finite, or, unless `affine`, only scales and shifts the input.
    """
    if "x" not in graph.active:
        raise RejectedError("static", "the output does not depend on the input")
    generator = torch.Generator().manual_seed(0)
    # Two channels a group at least, and features that are not centred, as behind a ReLU.
    a, b = (torch.randn(4, 8, 3, 3, dtype=torch.float64, generator=generator) + 0.5 for _ in range(2))
    layer = GraphLayer(8, graph, group_size=4).double().train()
    given = a.clone().requires_grad_()
    y = layer(given)
    if not torch.isfinite(y).all():
        raise RejectedError("static", "the output is not finite")
    spread = y.detach().std(unbiased=False)
    if not spread > _AFFINE * y.detach().abs().max():
        raise RejectedError("static", "the output is constant")
    if not (y.detach() - y.detach()[:1]).abs().max() > _AFFINE * spread:
        raise RejectedError("static", "the output is the same for every example")
    weights = torch.randn(y.shape, dtype=y.dtype, generator=generator)
    (gradient,) = torch.autograd.grad((y * weights).sum(), given, allow_unused=True)
    if gradient is None or not gradient.any():
        raise RejectedError("static", "the output does not depend on the input")
    if not torch.isfinite(gradient).all():
        raise RejectedError("static", "the gradient is not finite")
    if not affine and _is_affine(layer, a, b):
        raise RejectedError("static", "the layer only scales and shifts its input")


def _is_affine(layer: GraphLayer, a: torch.Tensor, b: torch.Tensor) -> bool:
    with torch.no_grad():
        middle = layer((a + b) / 2)
        ends = (layer(a) + layer(b)) / 2
        return bool((middle - ends).abs().max() <= _AFFINE * ends.abs().max())


# -- stability -------------------------------------------------------------------------------------------------


def check_stability(model: nn.Module, loss: Loss, batch: Batch, settings: Rejection) -> list[float]:
    """Look for weights at which the gradient explodes, by ascent on its norm; returns the norm at each step.

    `model` is changed: give a fresh one. With g(w) the norm of the loss's gradient at the weights w, on the first
    examples of `batch`, each step is w + lr * dg/dw.

    Raises:
        RejectedError: if g exceeds `stability_norm` or is not finite within the steps.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    batch = tuple(part[: settings.stability_batch] for part in batch)
    norms: list[float] = []
    with frozen_buffers(model):
        for step in range(settings.stability_steps + 1):
            gradients = torch.autograd.grad(loss(model, batch), weights, create_graph=True, allow_unused=True)
            norm = _norm([g for g in gradients if g is not None])
            norms.append(float(norm.detach()))
            if not norms[-1] <= settings.stability_norm:
                what = f"{norms[-1]:.2g}" if math.isfinite(norms[-1]) else "not finite"
                raise RejectedError(
                    "stability", f"the norm of the gradient is {what} at ascent step {step}", step
                )
            if step == settings.stability_steps or not norm.requires_grad:
                break
            uphill = torch.autograd.grad(norm, weights, allow_unused=True)
            with torch.no_grad():
                for weight, direction in zip(weights, uphill, strict=True):
                    if direction is not None:
                        weight.add_(direction, alpha=settings.stability_lr)
    return norms


def _norm(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    # Squares of a gradient of 1e8 stay far below the largest 32-bit number; a zero norm has no direction.
    return (sum((g.square().sum() for g in gradients), start=torch.zeros(())) + 1e-20).sqrt()


@contextmanager
def frozen_buffers(model: nn.Module) -> Iterator[None]:
    """Running statistics as they were before: the ascent's passes are no training."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])


# -- quality ---------------------------------------------------------------------------------------------------


def check_quality(
    learner: TorchLearner, accuracy: Callable[[], float], classes: int, settings: Rejection
) -> None:
    """Train for some steps and refuse what is not clearly better than guessing.

    The learner is left as trained: whoever goes on with it wastes nothing.

    Args:
        learner: fresh.
        accuracy: on validation data, in [0, 1], of the learner as it stands.
        classes: of the task.
        settings: see there.

    Raises:
        RejectedError: if the loss is not finite within the steps, or the accuracy stays below `quality_factor` times
            chance.
    """
    done = 0
    while done < settings.quality_steps:
        steps = min(10, settings.quality_steps - done)
        try:
            learner.advance(steps)
        except FloatingPointError:
            raise RejectedError(
                "quality", f"the loss is not finite by step {done + steps}", done + steps
            ) from None
        done += steps
    if not done:
        return
    least, reached = settings.quality_factor / classes, accuracy()
    if not reached >= least:
        raise RejectedError("quality", f"accuracy {reached:.3f} after {done} steps, below {least:.3f}", done)
