"""Every training-free metric by name: what it needs, how it is computed, which sign its publication gives it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autosearch.core.errors import OptionError
from autosearch.methods.robot.metrics import gradients, maps, samples
from autosearch.methods.robot.metrics.errors import UndefinedMetric
from autosearch.methods.robot.metrics.passes import Passes
from autosearch.space import did_you_mean


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        compute: from the shared passes to its value.
        about: what it is, in a few words.
        wants: what the shared forward pass must look at.
        better: the sign that its publication gives it, 1 for higher is better.
        options: what `score` may be told about it.
    """

    compute: Callable[..., float]
    about: str
    wants: frozenset[str] = frozenset()
    better: int = 1
    options: tuple[str, ...] = ()


def _needs(*names: str) -> frozenset[str]:
    return frozenset(names)


def _snip(p: Passes) -> float:
    return gradients.snip(p.weights(), p.gradients())


def _plain(p: Passes) -> float:
    return gradients.plain(p.weights(), p.gradients())


def _grasp(p: Passes) -> float:
    return gradients.grasp(p.weights(), p.curvatures())


def _epe_nas(p: Passes) -> float:
    labels, classes = p.labels
    return samples.epe_nas(p.jacobian(), labels, classes)


def _regularised_swap(p: Passes, mu: float | None = None, sigma: float | None = None) -> float:
    if mu is None or sigma is None:
        raise UndefinedMetric(
            "needs the options mu and sigma: the wanted thousands of weights, and how strictly"
        )
    if not (isinstance(mu, int | float) and isinstance(sigma, int | float) and sigma > 0):
        raise OptionError(
            f"regularised_swap: mu and sigma are numbers, sigma above 0, got {mu!r}, {sigma!r}.", "options"
        )
    return samples.regularised_swap(p.patterns(), p.parameters, mu, sigma)


METRICS: Mapping[str, Metric] = {
    "grad_norm": Metric(lambda p: gradients.grad_norm(p.gradients()), "norm of the loss's gradient"),
    "snip": Metric(_snip, "what single weights matter to the loss"),
    "grasp": Metric(_grasp, "what single weights matter to the gradient", _needs("curvature")),
    "fisher": Metric(
        lambda p: gradients.fisher(p.layers()), "what channels matter to the loss", _needs("layers")
    ),
    "plain": Metric(_plain, "weights times gradients"),
    "l2_norm": Metric(lambda p: gradients.l2_norm(p.weights()), "norm of the weights"),
    "synflow": Metric(lambda p: p.log_synflow(), "logarithm of the flow through the weights"),
    "jacob_cov": Metric(lambda p: samples.jacob_cov(p.jacobian()), "how examples' input gradients differ"),
    "naswot": Metric(
        lambda p: samples.naswot(p.agreement()), "how examples' activation codes differ", _needs("codes")
    ),
    "zen": Metric(lambda p: maps.zen(*p.zen()), "sensitivity of the features to the input"),
    "epe_nas": Metric(_epe_nas, "how input gradients correlate within classes"),
    "params": Metric(lambda p: float(p.parameters), "trainable weights"),
    "flops": Metric(lambda p: float(p.operations), "operations for one example"),
    "ntk_condition": Metric(
        lambda p: samples.ntk_condition(p.tangents()), "condition number of the tangent kernel", better=-1
    ),
    "zico": Metric(lambda p: gradients.zico(p.halves()), "how steady gradients are between batches"),
    "az_expressivity": Metric(lambda p: maps.expressivity(p.entropies()), "entropy of the blocks' features"),
    "az_progressivity": Metric(lambda p: maps.progressivity(p.entropies()), "growth of that entropy"),
    "az_trainability": Metric(
        lambda p: maps.trainability(p.spectral_norms()), "spectral norms of the blocks"
    ),
    "meco": Metric(
        lambda p: maps.meco(p.smallest_correlations()), "smallest correlation of feature maps", _needs("maps")
    ),
    "swap": Metric(lambda p: samples.swap(p.patterns()), "distinct activation patterns", _needs("patterns")),
    "regularised_swap": Metric(
        _regularised_swap, "the same, around a size of network", _needs("patterns"), options=("mu", "sigma")
    ),
}
"""By name. Those of AZ-NAS go with `flops` and are put together over a pool by `rank_log_sum`."""

PAPER_METRICS = ("grad_norm", "snip", "grasp", "fisher", "synflow", "jacob_cov")
"""The six that the publication of RoBoT combines."""


def check_metrics(names: Iterable[str], options: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        OptionError: one is unknown, or an option is.
    """
    found = tuple(dict.fromkeys(names))
    if not found:
        raise OptionError(f"metrics: name at least one of {', '.join(METRICS)}.", "metrics")
    for name in [*found, *options]:
        if name not in METRICS:
            hint = did_you_mean(name, METRICS)
            raise OptionError(f"unknown metric {name!r}.{hint} Known: {', '.join(METRICS)}.", "metrics")
    for name, given in options.items():
        allowed = METRICS[name].options
        wrong = next((key for key in given if key not in allowed), None)
        if wrong is not None:
            takes = f"It takes {', '.join(allowed)}." if allowed else "It takes none."
            raise OptionError(f"metric {name!r} has no option {wrong!r}. {takes}", "options")
    return found
