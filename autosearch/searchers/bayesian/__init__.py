"""Bayesian optimisation: surrogates of the objectives decide what runs next.

The names load when they are first used, so that `GridSurrogate` costs numpy and nothing more.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autosearch.searchers.bayesian.grid_surrogate import GridSurrogate
    from autosearch.searchers.bayesian.searcher import BayesianSearcher
    from autosearch.searchers.bayesian.surrogate import Surrogate

_HOMES = {"BayesianSearcher": "searcher", "GridSurrogate": "grid_surrogate", "Surrogate": "surrogate"}
__all__ = ["BayesianSearcher", "GridSurrogate", "Surrogate"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
