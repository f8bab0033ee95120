"""An expert's own acquisition: a function, or a class of BoTorch's."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from botorch.acquisition.acquisition import AcquisitionFunction
from torch import Tensor

from autosearch.core import OptionError
from autosearch.searchers.bayesian.acquisition import Acquisition, reference
from autosearch.searchers.bayesian.gp import GaussianProcess, Independent
from autosearch.searchers.bayesian.layout import Layout


@dataclass(frozen=True, slots=True)
class Context:
    """What an acquisition may want to know beside the models.

    Attributes:
        X: (n, D) observed points.
        values: (n, m) standardised values there, higher is better.
        feasible: (n,) which of them improvement is measured from: complete and within every constraint.
        pending: (p, D) points whose results are to come.
        layout: what the columns of a point are.
        seed: of whatever is drawn.
    """

    X: Tensor
    values: Tensor
    feasible: Tensor
    pending: Tensor
    layout: Layout
    seed: int


def label(function: Callable[..., Any]) -> str:
    """Its name, for the trial's info."""
    return getattr(function, "__name__", type(function).__name__)


def own_acquisition(
    function: Callable[..., Any], models: Sequence[GaussianProcess], context: Context
) -> Acquisition:
    """The acquisition that `function` is; see `BayesianSearcher`.

    Raises:
        OptionError: it is a class that needs more than can be given to it, or returns something of another shape.
    """
    call = cast(Any, function)
    if inspect.isclass(function) and issubclass(function, AcquisitionFunction):
        built = call(**_arguments(function, models, context))
        return _checked(function, lambda X: built(X.unsqueeze(-2)))
    return _checked(function, lambda X: call(tuple(models), X, context))


def _checked(function: Callable[..., Any], acquisition: Acquisition) -> Acquisition:
    def checked(X: Tensor) -> Tensor:
        values = acquisition(X)
        if not isinstance(values, Tensor) or values.shape != X.shape[:1]:
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise OptionError(
                f"{label(function)} must return a tensor ({len(X)},) for {len(X)} points, got {shape}.",
                "acquisition",
            )
        return values

    return checked


def _arguments(
    function: Callable[..., Any], models: Sequence[GaussianProcess], context: Context
) -> dict[str, Any]:
    """What a class of BoTorch's asks for by name and can be given."""
    feasible = context.values[context.feasible]
    baseline = context.X[context.feasible]
    single = len(models) == 1
    model = models[0] if single else Independent(models)
    given: dict[str, Callable[[], Any]] = {
        "model": lambda: model,
        "best_f": lambda: models[0].moments(baseline)[0].max(),
        "X_baseline": lambda: baseline,
        "X_pending": lambda: context.pending if len(context.pending) else None,
        "ref_point": lambda: reference(feasible),
    }
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in given and (single or name != "best_f"):
            arguments[name] = given[name]()
        elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            known = ", ".join(given)
            raise OptionError(
                f"{label(function)} needs {name!r}; known are {known}. Write a function around it.",
                "acquisition",
            )
    return arguments
