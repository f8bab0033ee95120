"""The runs of a network that metrics are made of, each made once for all that share it.

All of them run on copies: the network that is scored keeps its weights, gradients, statistics, mode and hooks. Copies
are in training mode, so that batch norm uses the batch; dropout is silent.
"""

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from autosearch.learning import RandomState
from autosearch.methods.robot.metrics import maps, samples
from autosearch.methods.robot.metrics.blocks import find_blocks
from autosearch.methods.robot.metrics.errors import UndefinedMetric
from autosearch.methods.robot.metrics.operations import operation_count
from autosearch.methods.robot.metrics.watching import Layers, Values

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_NTK_EXAMPLES = 16  # one backward pass each; the published code takes as few
_ZEN_STEP = 0.01


@dataclass
class Forward:
    """One forward pass that keeps its graph, and what was seen on the way.

    Attributes:
        weights: parameters of two or more dimensions that train.
        inputs: a leaf that requires a gradient, where inputs are real numbers.
        outputs: of the network.
        layers: output and weight of each convolution and linear layer.
        K: (B, B), agreement of activation codes, None before the first activation.
        patterns: codes of each layer's neurons over the batch, packed to bits (neurons, bytes).
        smallest: smallest eigenvalue of each convolution's correlations.
    """

    weights: list[torch.Tensor]
    inputs: torch.Tensor
    outputs: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    layers: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    K: torch.Tensor | None = None
    patterns: list[np.ndarray] = field(default_factory=list)
    smallest: list[float] = field(default_factory=list)


class Passes:
    """What metrics ask for, computed at the first question; a failure is the same for all who ask.

    Args:
        model: is copied, never changed.
        inputs: (B, …).
        targets: (B, …), None where there are none.
        loss: of outputs and targets.
        seed: of random weights and inputs.
        wanted: what the forward pass must look at: of `layers`, `codes`, `patterns`, `maps`, `curvature`.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: torch.Tensor,
        targets: torch.Tensor | None,
        loss: Loss,
        seed: int,
        wanted: frozenset[str],
    ) -> None:
        self.model, self.targets, self._loss, self.seed = model, targets, loss, seed
        self.inputs = inputs
        self._wanted = wanted
        self._known: dict[str, Any] = {}

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of `make`, or the reason why there is none, from the first call on."""
        if name not in self._known:
            try:
                # The fused kernels of attention cannot be differentiated twice.
                math, random = sdpa_kernel(SDPBackend.MATH), RandomState(self.seed, self.inputs.device)
                with torch.enable_grad(), math, random.active():
                    self._known[name] = make()
            except UndefinedMetric as error:
                self._known[name] = error
        found = self._known[name]
        if isinstance(found, UndefinedMetric):
            raise found
        return found

    # -- the network -------------------------------------------------------------------------------------------

    def replica(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """A copy in training mode, its real numbers of type `dtype`.

        Raises:
            UndefinedMetric: the network cannot be copied.
        """
        with _attempt("the network cannot be copied"):
            model = copy.deepcopy(self.model).train().to(dtype)
        for module in model.modules():
            if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
                module.dropout = 0.0  # drawn inside of one operator, where `Layers` cannot silence it
        return model

    @property
    def parameters(self) -> int:
        """Trainable weights."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    @property
    def operations(self) -> int:
        """For one example."""
        with _attempt("the network fails"):
            return operation_count(self.model, self.inputs.shape[1:], self.inputs.dtype)

    @property
    def real_inputs(self) -> torch.Tensor:
        """The inputs where they are real numbers.

        Raises:
            UndefinedMetric: they are token numbers or the like.
        """
        if not self.inputs.is_floating_point():
            raise UndefinedMetric(
                "the inputs are whole numbers: there is no gradient by them, and no noise on them"
            )
        return self.inputs

    @property
    def labels(self) -> tuple[torch.Tensor, int]:
        """One class for each example, and the number of classes.

        Raises:
            UndefinedMetric: the targets are not of that kind.
        """
        targets = self.targets
        if targets is None or targets.is_floating_point() or targets.dim() != 1:
            raise UndefinedMetric("needs one class for each example as targets")
        return targets, self.forward().outputs.shape[-1]

    # -- the shared forward pass, and what goes back through it ----------------------------------------------------

    def forward(self) -> Forward:
        """The network's outputs on the batch."""
        found: Forward = self._once("forward", lambda: self._forward(self.inputs))
        return found

    def _forward(self, inputs: torch.Tensor, *, watch: bool = True) -> Forward:
        model = self.replica()
        found = Forward(weights_of(model), inputs.clone())
        if inputs.is_floating_point():
            found.inputs.requires_grad_()
        wanted = self._wanted if watch else frozenset()
        layers = Layers(
            layer=functools.partial(_keep_layer, found.layers) if "layers" in wanted else None,
            curvature="curvature" in wanted,
        )
        values = Values(
            activation=functools.partial(self._codes, found) if wanted & {"codes", "patterns"} else None,
            convolution=functools.partial(_keep_correlation, found.smallest) if "maps" in wanted else None,
        )
        with layers, values:
            found.outputs = call(model, found.inputs)
        return found

    def _codes(self, found: Forward, preactivation: torch.Tensor) -> None:
        if preactivation.shape[0] != len(self.inputs):
            return  # a gate over something else than examples
        codes = preactivation.detach() > 0
        if "codes" in self._wanted:
            K = samples.agreement(codes)
            found.K = K if found.K is None else found.K + K
        if "patterns" in self._wanted:
            found.patterns.append(np.packbits(codes.flatten(1).T.cpu().numpy(), axis=1))

    def agreement(self) -> torch.Tensor:
        """K summed over the layers."""
        found = self.forward()
        if found.K is None:
            raise UndefinedMetric("the network has no activation whose codes could be compared")
        return found.K

    def patterns(self) -> np.ndarray:
        """Activation pattern of every neuron over the batch."""
        found = self.forward()
        if not found.patterns:
            raise UndefinedMetric("the network has no activation whose patterns could be counted")
        return np.concatenate(found.patterns)

    def smallest_correlations(self) -> list[float]:
        """Of each convolution."""
        return self.forward().smallest

    def weights(self) -> list[torch.Tensor]:
        """Parameters of two or more dimensions that train."""
        return [w.detach() for w in weights_of(self.model)]

    def gradients(self) -> list[torch.Tensor]:
        """dL/dW of every weight, zeros where the loss does not depend on it."""
        return [g.detach() for g in self._once("gradients", self._backward)[0]]

    def layers(self) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
        """Output, its gradient and weights per channel of each convolution and linear layer, channels second."""
        found, gradients = self.forward(), self._once("gradients", self._backward)[1]
        layers = []
        for (output, weight), gradient in zip(found.layers, gradients, strict=True):
            last = weight.dim() == 2
            out, g = (output.movedim(-1, 1), gradient.movedim(-1, 1)) if last else (output, gradient)
            layers.append((out.detach(), g.detach(), weight.numel() // out.shape[1]))
        if not layers:
            raise UndefinedMetric("the network has neither a convolution nor a linear layer")
        return layers

    def _backward(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        found = self.forward()
        loss = self._loss_of(found.outputs, self.targets)
        outputs = [output for output, _ in found.layers]
        wanted = [*found.weights, *outputs]
        gradients = differentiate(loss, wanted, graph="curvature" in self._wanted)
        return gradients[: len(found.weights)], gradients[len(found.weights) :]

    def curvatures(self) -> list[torch.Tensor]:
        """H g of every weight."""
        found: list[torch.Tensor] = self._once("curvatures", self._curvatures)
        return found

    def _curvatures(self) -> list[torch.Tensor]:
        weights = self.forward().weights
        gradients = self._once("gradients", self._backward)[0]
        product = sum(((g * g.detach()).sum() for g in gradients), torch.zeros(()))
        return differentiate(product, weights)

    def _loss_of(self, outputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        if targets is None:
            raise UndefinedMetric("needs targets")
        with _attempt("the loss fails"):
            loss = self._loss(outputs, targets)
        if not torch.isfinite(loss).all():
            raise UndefinedMetric(f"the loss is {float(loss.detach()):g}")
        return loss

    def jacobian(self) -> torch.Tensor:
        """Gradient of the sum of an example's outputs by its input, (B, D)."""
        found: torch.Tensor = self._once("jacobian", self._jacobian)
        return found

    def _jacobian(self) -> torch.Tensor:
        _ = self.real_inputs
        found = self.forward()
        return differentiate(found.outputs.sum(), [found.inputs])[0].flatten(1)

    # -- passes of their own ---------------------------------------------------------------------------------------

    def halves(self) -> list[list[torch.Tensor]]:
        """dL/dW on either half of the batch."""
        found: list[list[torch.Tensor]] = self._once("halves", self._halves)
        return found

    def _halves(self) -> list[list[torch.Tensor]]:
        half = len(self.inputs) // 2
        if not half or self.targets is None:
            raise UndefinedMetric(
                "needs targets and two examples" if self.targets is None else "needs two examples"
            )
        gradients = []
        for part in (slice(0, half), slice(half, 2 * half)):
            found = self._forward(self.inputs[part], watch=False)
            gradients.append(differentiate(self._loss_of(found.outputs, self.targets[part]), found.weights))
        return gradients

    def tangents(self) -> torch.Tensor:
        """Gradient of the sum of an example's outputs by all weights, (at most 16, P)."""
        found: torch.Tensor = self._once("tangents", self._tangents)
        return found

    def _tangents(self) -> torch.Tensor:
        found = self._forward(self.inputs[:_NTK_EXAMPLES], watch=False)
        sums = found.outputs.flatten(1).sum(1)
        rows = [torch.cat([g.flatten() for g in differentiate(s, found.weights)]) for s in sums]
        return torch.stack(rows)

    def log_synflow(self) -> float:
        """Logarithm of Σ |w · dR/dw|: weights without signs, an image of ones, no norms, in double precision."""
        _ = self.real_inputs
        found: float = self._once("synflow", self._synflow)
        return found

    def _synflow(self) -> float:
        model = self.replica(torch.float64)
        with torch.no_grad():
            for p in model.parameters():
                p.abs_()
        ones = torch.ones((1, *self.inputs.shape[1:]), dtype=torch.float64, device=self.inputs.device)
        with Layers(bypass_norms=True):
            outputs = call(model, ones)
        weights = weights_of(model)
        gradients = differentiate(outputs.sum(), weights)
        flow = sum(float((w * g).detach().abs().sum()) for w, g in zip(weights, gradients, strict=True))
        if flow == 0:
            raise UndefinedMetric("no path of weights leads from the input to the output")
        if not np.isfinite(flow):
            raise UndefinedMetric("the flow is too large for a number of double precision")
        return float(np.log(flow))

    def zen(self) -> tuple[float, list[torch.Tensor]]:
        """Mean change of the last features under a small change of a random input, and batch norms' variances."""
        _ = self.real_inputs
        found: tuple[float, list[torch.Tensor]] = self._once("zen", self._zen)
        return found

    def _zen(self) -> tuple[float, list[torch.Tensor]]:
        model = reset(self.replica(), nn.init.normal_)
        noise = torch.randn_like(self.inputs)
        variances: list[torch.Tensor] = []
        with torch.no_grad():
            before = self._features(model, noise, None)
            # The norms' running variances are read behind the second pass, as the published code does.
            after = self._features(model, noise + _ZEN_STEP * torch.randn_like(noise), variances.append)
        change = float((after - before).abs().flatten(1).sum(1).mean())
        if not np.isfinite(change):
            raise UndefinedMetric("the features are not finite under Gaussian weights")
        return change, variances

    def _features(
        self, model: nn.Module, inputs: torch.Tensor, variance: Callable[[torch.Tensor], None] | None
    ) -> torch.Tensor:
        """The last tensor that still has positions, or else what enters the last linear layer."""
        kept: dict[str, torch.Tensor] = {}

        def operator(out: torch.Tensor) -> None:
            if out.dim() > 2 and out.shape[0] == len(inputs) and out.shape[2:].numel() > 1:
                kept["map"] = out
            elif out.dim() == 2 and out.shape[0] == len(inputs):
                kept["vector"], kept["before"] = out, kept.get("vector", out)

        with Layers(variance=variance), Values(operator=operator):
            call(model, inputs)
        if not kept:
            raise UndefinedMetric("the network has no features of the batch")
        return (kept["map"] if "map" in kept else kept["before"]).detach()

    def entropies(self) -> list[float]:
        """Entropy of each block's features on Gaussian noise, with Kaiming's weights."""
        found: tuple[list[float], list[float]] = self._once("blocks", self._blocks)
        return found[0]

    def spectral_norms(self) -> list[float]:
        """Spectral norm of the Jacobian from each block to the next."""
        found: tuple[list[float], list[float]] = self._once("blocks", self._blocks)
        return found[1]

    def _blocks(self) -> tuple[list[float], list[float]]:
        _ = self.real_inputs
        model = reset(self.replica(), functools.partial(nn.init.kaiming_normal_, mode="fan_in"))
        features: list[torch.Tensor] = []

        def keep(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.dim() > 1:
                features.append(output)

        with _attempt("the network's blocks cannot be looked into"):
            hooks = [block.register_forward_hook(keep) for block in find_blocks(model)]
        with Layers():
            call(model, torch.randn_like(self.inputs).requires_grad_())
        for hook in hooks:
            hook.remove()
        # Behind the last pooling there are no positions left to compare; a perceptron has none anywhere.
        with_positions = [F for F in features if F.shape[2:].numel() > 1 and F.dim() > 2]
        features = with_positions or [F for F in features if F.dim() == 2]
        entropies = [maps.entropy(F) for F in features]
        norms = []
        for source, target in itertools.pairwise(features):
            signs = torch.randint(0, 2, target.shape, device=target.device).to(target.dtype) * 2 - 1
            arrived = differentiate(target, [source], signs)[0]
            norms.append(maps.spectral_norm(arrived, signs))
        return entropies, norms


def _keep_layer(
    kept: list[tuple[torch.Tensor, torch.Tensor]], output: torch.Tensor, weight: torch.Tensor
) -> None:
    if output.requires_grad:
        kept.append((output, weight))


def _keep_correlation(kept: list[float], output: torch.Tensor) -> None:
    kept.append(maps.smallest_correlation(output))


def weights_of(model: nn.Module) -> list[torch.Tensor]:
    """Parameters of two or more dimensions that train.

    Raises:
        UndefinedMetric: there is none.
    """
    found: list[torch.Tensor] = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    if not found:
        raise UndefinedMetric("the network has no weights that train")
    return found


def call(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The network's outputs.

    Raises:
        UndefinedMetric: it fails, or returns something else than one tensor of finite numbers.
    """
    with _attempt("the network fails"):
        outputs = model(inputs)
    if not isinstance(outputs, torch.Tensor):
        raise UndefinedMetric(f"the network returns {type(outputs).__name__}, not one tensor")
    if not torch.isfinite(outputs).all():
        raise UndefinedMetric("the network's outputs are not finite")
    return outputs


def differentiate(
    value: torch.Tensor,
    by: Sequence[torch.Tensor],
    direction: torch.Tensor | None = None,
    *,
    graph: bool = False,
) -> list[torch.Tensor]:
    """Gradient of `value` by each tensor, zeros where it does not depend on it; the graph is kept.

    Raises:
        UndefinedMetric: the network cannot be differentiated, or a gradient is not finite.
    """
    if not value.requires_grad:
        return [torch.zeros_like(tensor) for tensor in by]
    with _attempt("the network cannot be differentiated"):
        found = torch.autograd.grad(
            value,
            by,
            direction,
            retain_graph=True,
            create_graph=graph,
            allow_unused=True,
            materialize_grads=True,
        )
    # A sum is not finite where an entry is not, and costs a tenth of asking every entry.
    if not torch.isfinite(torch.stack([g.detach().sum(dtype=torch.float64) for g in found])).all():
        raise UndefinedMetric("a gradient is not finite")
    return list(found)


def reset(model: nn.Module, draw: Callable[[torch.Tensor], Any]) -> nn.Module:
    """The model with weights drawn anew, biases at 0 and scales of norms at 1."""
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            with torch.no_grad():
                if p.dim() > 1:
                    draw(p)
                else:
                    p.fill_(1.0 if name == "weight" else 0.0)
    return model


@contextmanager
def _attempt(what: str) -> Iterator[None]:
    """Runs code of the network's: whatever it raises says something about the network, not about the metrics."""
    try:
        yield
    except UndefinedMetric:
        raise
    except Exception as error:
        first = str(error).strip().split("\n", 1)[0]
        raise UndefinedMetric(f"{what}: {type(error).__name__}: {first}") from error
