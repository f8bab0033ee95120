"""Scoring one network without training it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from autosearch.core.errors import OptionError
from autosearch.methods.robot.metrics.errors import UndefinedMetric
from autosearch.methods.robot.metrics.passes import Loss, Passes
from autosearch.methods.robot.metrics.registry import METRICS, PAPER_METRICS, check_metrics


class Scores(Mapping[str, float]):
    """Metric -> value, NaN where the metric does not exist for this network.

    Attributes:
        reasons: why, in half a sentence, for those without a value.
    """

    def __init__(self, values: Mapping[str, float], reasons: Mapping[str, str]) -> None:
        self._values, self.reasons = dict(values), dict(reasons)

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Scores({self._values}, reasons={self.reasons})"


def score(
    model: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor | None = None,
    metrics: Sequence[str] = PAPER_METRICS,
    *,
    loss: Loss | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> Scores:
    """What training-free metrics say about a network at its present weights; the network stays as it is.

    Metrics that need the same forward or backward pass share it. Weights, gradients, statistics, mode, hooks and
    random state are those of before; hooks of the network's own see the copies that run.

    Args:
        model: on any device; in float32 inside.
        inputs: (batch, …). Scores depend on the batch's size: keep it for all networks that are compared.
        targets: (batch,) classes, or real numbers for a regression; only some metrics need them.
        metrics: names of `METRICS`.
        loss: of outputs and targets; without it cross-entropy for whole numbers, mean squared error for real ones.
        options: metric -> its options, such as `{"regularised_swap": {"mu": 800, "sigma": 400}}`.
        seed: of what metrics draw at random.

    Raises:
        OptionError: a metric or option is unknown, or the batch is empty.

    Example:
        >>> scores = autosearch.score(net, images, labels, metrics=["naswot", "synflow"])
        >>> scores["naswot"], scores.reasons
    """
    names = check_metrics(metrics, options or {})
    for name, given in (("inputs", inputs), ("targets", targets)):
        if not isinstance(given, torch.Tensor) and not (name == "targets" and given is None):
            raise OptionError(
                f"{name}: one tensor, got {type(given).__name__}. Wrap a network of several inputs in one that "
                "takes a tensor.",
                name,
            )
    if any(
        isinstance(p, UninitializedParameter | UninitializedBuffer)
        for p in (*model.parameters(), *model.buffers())
    ):
        raise OptionError("model: lazy layers have no weights yet; run a batch through it first.", "model")
    if inputs.dim() < 1 or not len(inputs) or (targets is not None and len(targets) != len(inputs)):
        found = "none" if targets is None else str(tuple(targets.shape))
        raise OptionError(
            f"inputs and targets: as many targets as inputs, one at least; got {tuple(inputs.shape)} and {found}.",
            "inputs",
        )
    first = next(model.parameters(), inputs)
    with torch.inference_mode(mode=False):
        passes = Passes(
            model,
            _plain(inputs, first.device),
            None if targets is None else _plain(targets, first.device),
            loss or default_loss,
            seed,
            frozenset().union(*(METRICS[name].wants for name in names)),
        )
        values: dict[str, float] = {}
        reasons: dict[str, str] = {}
        for name in names:
            try:
                values[name] = _finite(METRICS[name].compute, passes, (options or {}).get(name, {}))
            except UndefinedMetric as error:
                values[name], reasons[name] = float("nan"), str(error)
    return Scores(values, reasons)


def default_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy for classes, mean squared error for real numbers."""
    if targets.is_floating_point():
        return functional.mse_loss(outputs, targets.to(outputs.dtype).reshape(outputs.shape))
    return functional.cross_entropy(outputs, targets.long())


def _plain(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor without a graph, on the device, real numbers in single precision."""
    found = tensor.detach().clone().to(device)
    return found.float() if found.is_floating_point() else found


def _finite(compute: Callable[..., float], passes: Passes, options: Mapping[str, Any]) -> float:
    try:
        value = compute(passes, **options)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise UndefinedMetric(f"eigenvalues cannot be found: {error}") from error
    if not -float("inf") < value < float("inf"):
        raise UndefinedMetric("its value is not finite")
    return value
