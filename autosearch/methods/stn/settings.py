"""Options of self-tuning: the two presets."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

from autosearch.core.errors import OptionError
from autosearch.space import did_you_mean

Linearise = Literal["auto", "forward", "double", "off"]
HyperOptimizer = Literal["adam", "rmsprop"]
_CHOICES = {"linearise": get_args(Linearise), "hyper_optimizer": get_args(HyperOptimizer)}


@dataclass(frozen=True, slots=True)
class Settings:
    """How hyperparameters are tuned; steps are optimizer steps of the network.

    Attributes:
        centred: responses are to the difference from the present values, and the network itself trains at these; else
            network and responses train together on perturbed values.
        linearise: responses are fitted to predictions linear in them: by `forward` differentiation, by `double`
            backward where a layer lacks it (`auto` finds out), or `off`.
        tied: responses scale and shift units instead of having weights of their own.
        response_every: steps between those of the responses.
        hyper_every: steps between those of the hyperparameters.
        warmup: steps before the first of these.
        hyper_optimizer: of the hyperparameters; RMSprop's first steps are ten times as long as its later ones.
        hyper_lr: its learning rate, unconstrained scale.
        sigma: standard deviation of the perturbations at the start, unconstrained scale.
        tune_sigma: whether it is tuned too.
        sigma_low: smallest.
        sigma_high: largest.
        entropy: weight of the perturbations' entropy in the validation loss.
        response_lr: of the responses, as a factor of the network's; None for 1, or 0.1 beside Adam and its
            like, whose steps are as long where gradients are noise as where they are not.
        scale_init: standard deviation of the initial responses.
        clip: largest absolute entry of a gradient of hyperparameters.
    """

    centred: bool = True
    linearise: Linearise = "auto"
    tied: bool = True
    response_every: int = 1
    hyper_every: int = 2
    warmup: int = 0
    hyper_optimizer: HyperOptimizer = "adam"
    hyper_lr: float = 0.1
    sigma: float = 1.0
    tune_sigma: bool = True
    sigma_low: float = 0.01
    sigma_high: float = 1.5
    entropy: float = 1e-3
    response_lr: float | None = None
    scale_init: float = 0.0
    clip: float = 1.0

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise OptionError(f"{name}: one of {', '.join(known)}, got {getattr(self, name)!r}.", name)
        for name in ("response_every", "hyper_every"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}: at least 1, got {getattr(self, name)}.", name)
        for name in ("warmup", "entropy", "scale_init"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name}: at least 0, got {getattr(self, name)}.", name)
        for name in ("hyper_lr", "sigma", "sigma_low", "response_lr", "clip"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise OptionError(f"{name}: above 0, got {getattr(self, name)}.", name)
        if not self.sigma_low <= self.sigma <= self.sigma_high:
            raise OptionError(
                f"sigma: between sigma_low {self.sigma_low} and sigma_high {self.sigma_high}, got {self.sigma}.",
                "sigma",
            )
        if not self.centred and (self.linearise not in ("auto", "off") or self.response_every != 1):
            raise OptionError(
                "centred: without it responses train with the network, so linearise and response_every do nothing.",
                "centred",
            )

    @property
    def cost(self) -> float:
        """What a step costs, in steps of the plain network, counted in matrix products.

        A plain step is one pass forward and two backward. A response makes a second product in each layer; a pass for
        responses alone, or for hyperparameters alone, needs no gradients of the network's own weights.
        """
        forward_hyper, backward_hyper = (1, 1) if self.tied else (2, 2)
        hyper = (forward_hyper + backward_hyper) / 3 / self.hyper_every
        if not self.centred:
            return (1 if self.tied else 2) + hyper
        # Values, responses and derivatives forward; backward through the derivatives, and to the response weights.
        response = (3 if self.tied else 5) / 3 / self.response_every
        return 1 + response + hyper


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "paper": {
            "centred": False,
            "linearise": "off",
            "tied": False,
            "hyper_lr": 3e-3,
            "sigma": 0.5,
            "scale_init": 0.01,
            "sigma_high": 10.0,
            "clip": 1e9,
        },
        "modern": {},
    }
)
"""What each preset sets besides the defaults of `Settings`, which are those of modern."""


def resolve(preset: str, options: Mapping[str, Any]) -> Settings:
    """The settings of a preset with `options` over them.

    Raises:
        OptionError: for an unknown preset or option, or impossible values.
    """
    if preset not in PRESETS:
        raise OptionError(f"preset: modern or paper, got {preset!r}.", "preset")
    known = [f.name for f in fields(Settings)]
    for name in options:
        if name not in known:
            raise OptionError(f"unknown option {name!r}.{did_you_mean(name, known)}", name)
    return Settings(**{**PRESETS[preset], **options})
