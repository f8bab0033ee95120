"""What an expert may fix of the Bayesian searcher."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from autosearch.core import OptionError

KERNELS = ("additive", "product")
ACQUISITIONS = ("auto", "log_ei", "log_nei", "ucb")
Transform = Literal["auto", "tail", "gap", "none"]


@dataclass(frozen=True, slots=True)
class Options:
    """Choices of the models and of the acquisition; see `BayesianSearcher`.

    Raises:
        OptionError: a number is out of range.
    """

    initial: int | None = None
    conditional: bool = True
    prior_weight: float = 10.0
    kernel: str | Callable[..., Any] = "additive"
    acquisition: str | Callable[..., Any] = "auto"
    transform: Transform = "auto"
    noise: float | None = None
    draws: int = 3
    samples: int = 32

    def __post_init__(self) -> None:
        for option, least in (("initial", 1), ("draws", 0), ("samples", 1)):
            value = getattr(self, option)
            if value is not None and value < least:
                raise OptionError(f"must be at least {least}, not {value}", option)
        for option in ("prior_weight", "noise"):
            value = getattr(self, option)
            if value is not None and not 0 <= value < float("inf"):
                raise OptionError(f"must be a finite number of at least 0, not {value}", option)
