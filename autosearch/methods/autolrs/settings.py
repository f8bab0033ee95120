"""Options of AutoLRS: the two presets, and the numbers that follow from the length of the run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from autosearch.core.errors import OptionError
from autosearch.space import did_you_mean

Preset = Literal["modern", "paper"]


Choice = Literal["bound", "improvement"]
Score = Literal["exponential", "smoothed", "cooled", "last"]
_CHOICES, _SCORES = get_args(Choice), get_args(Score)


@dataclass(frozen=True, slots=True)
class Settings:
    """How AutoLRS searches; steps are optimizer steps.

    Attributes:
        low: smallest learning rate tried.
        high: largest.
        start: first learning rate, None for the range test's.
        total_steps: length of the run, search included; None without an end.
        tau: steps that the first stage trains.
        tau_max: and no stage more than these; from there on `validation` is used.
        ratio: a candidate trains `tau / ratio` steps.
        min_probe: and these at least.
        candidates: learning rates tried in a stage.
        first_candidates: in the first stage.
        choice: of candidates: the paper's lower confidence `bound`, or expected `improvement`.
        kappa: weight of the standard deviation in the bound.
        score: of a candidate: `exponential` or `smoothed` forecast of the loss at the stage's end, or the loss `cooled`
            down at the end of its own steps, or the `last` loss as it is.
        trust: largest factor between a stage's learning rate and the one before; 0 for the whole interval.
        first_trust: in the first stage.
        until: share of the run in which stages search.
        keep_winner: go on from the state in which the winner's own steps ended.
        range_test: steps of a learning-rate range test before the first stage, 0 without.
        warmup_steps: straight rise before the first stage, not searched.
        warmup_lr: where that ends; None: at `start`.
        validate_every: steps between validation losses of a candidate.
        horizon_exponent: e, where the best learning rate of a run of n steps goes as n to the power -e: a candidate's
            few steps are made with a learning rate higher than what is then used for the rest of the run.
        hysteresis: standard deviations by which a candidate must beat the present learning rate.
        side_by_side: candidates that an executor is given at once; what is found does not depend on it.
    """

    low: float
    high: float
    start: float | None = None
    total_steps: int | None = None
    tau: int = 1000
    tau_max: int | None = 8000
    ratio: int = 10
    min_probe: int = 1
    candidates: int = 10
    first_candidates: int = 10
    choice: Choice = "bound"
    kappa: float = 1000.0
    score: Score = "smoothed"
    trust: float = 0.0
    first_trust: float = 0.0
    until: float = 1.0
    keep_winner: bool = False
    range_test: int = 0
    warmup_steps: int = 0
    warmup_lr: float | None = None
    validate_every: int = 50
    horizon_exponent: float = 0.0
    hysteresis: float = 0.0
    side_by_side: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise OptionError(
                f"lr_range: two learning rates, 0 < low < high, got {self.low}, {self.high}.", "lr_range"
            )
        for name in (
            "tau",
            "ratio",
            "min_probe",
            "candidates",
            "first_candidates",
            "validate_every",
            "side_by_side",
        ):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}: at least 1, got {getattr(self, name)}.", name)
        if self.total_steps is not None and self.total_steps < 1:
            raise OptionError(f"total_steps: at least 1, got {self.total_steps}.", "total_steps")
        if not 0 <= self.until <= 1:
            raise OptionError(f"until: a share of the run in [0, 1], got {self.until}.", "until")
        if self.until < 1 and self.total_steps is None:
            raise OptionError("until: needs total_steps, the length of the run.", "total_steps")
        self._check_numbers()
        if self.start is None and self.warmup_steps and self.warmup_lr is None:
            raise OptionError("warmup_lr: needed where the start is not known.", "warmup_lr")

    def _check_numbers(self) -> None:
        for name, known in (("choice", _CHOICES), ("score", _SCORES)):
            if getattr(self, name) not in known:
                raise OptionError(f"{name}: one of {', '.join(known)}, got {getattr(self, name)!r}.", name)
        for name in ("warmup_steps", "range_test", "kappa", "horizon_exponent", "hysteresis"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name}: at least 0, got {getattr(self, name)}.", name)
        for name in ("trust", "first_trust"):
            if getattr(self, name) != 0 and not getattr(self, name) > 1:
                raise OptionError(
                    f"{name}: a factor above 1, or 0 for none, got {getattr(self, name)}.", name
                )
        if self.start is not None and not self.low <= self.start <= self.high:
            raise OptionError(f"start: between {self.low:g} and {self.high:g}, got {self.start:g}.", "start")
        if self.warmup_lr is not None and not self.warmup_lr > 0:
            raise OptionError(f"warmup_lr: above 0, got {self.warmup_lr}.", "warmup_lr")

    def probe(self, tau: int) -> int:
        """Steps of a candidate in a stage of `tau` steps."""
        return max(self.min_probe, tau // self.ratio, 1)


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "paper": {},
        "modern": {
            "tau_max": None,
            "min_probe": 20,
            "candidates": 3,
            "first_candidates": 4,
            "choice": "improvement",
            "score": "cooled",
            "trust": 3.0,
            "first_trust": 16.0,
            "until": 0.4,
            "keep_winner": True,
            # Bjorck et al. 2024, "Scaling Optimal LR Across Token Horizons", section 4.
            "horizon_exponent": 0.32,
            "hysteresis": 1.0,
        },
    }
)
"""What each preset sets besides the defaults of `Settings`, which are the paper's."""

# The modern preset trains a third of the run in its first stage, so that a candidate has a thirtieth: long enough that
# the order of learning rates is that of the whole run, once the horizon is allowed for. The next stage begins behind
# `until`; shorter stages, by `tau`, search again.
_TAU_SHARE = 3


def resolve(
    preset: str,
    *,
    lr: float,
    lr_range: tuple[float, float] | None,
    total_steps: int | None,
    options: Mapping[str, Any],
) -> Settings:
    """The settings of a preset for one run, with `options` over them.

    Args:
        preset: modern or paper.
        lr: the optimizer's.
        lr_range: smallest and largest; None: around `lr` (modern), an error (paper).
        total_steps: length of the run.
        options: fields of `Settings`.

    Raises:
        OptionError: for an unknown preset or option, or numbers that fit no run.
    """
    if preset not in PRESETS:
        raise OptionError(f"preset: modern or paper, got {preset!r}.", "preset")
    known = [f.name for f in fields(Settings)]
    for name in options:
        if name not in known:
            raise OptionError(f"unknown option {name!r}.{did_you_mean(name, known)}", name)
    values = {**PRESETS[preset], **options}
    if preset == "paper":
        if lr_range is None:
            raise OptionError("lr_range: the paper's search needs (smallest, largest).", "lr_range")
        return Settings(*lr_range, total_steps=total_steps, **values)
    if total_steps is None:
        raise OptionError("total_steps: the modern preset needs the length of the run.", "total_steps")
    values.setdefault("tau", max(1, total_steps // _TAU_SHARE))
    if lr_range is not None:
        # Without a learning rate to start from, a sweep through the interval finds one.
        values.setdefault("range_test", min(max(20, min(100, total_steps // 20)), total_steps // 2))
        found = Settings(*lr_range, total_steps=total_steps, **values)
        return found if found.range_test else replace(found, start=_inside(lr, *lr_range))
    if not lr > 0:
        raise OptionError(f"lr: the optimizer's must be above 0 to search around it, got {lr}.", "lr")
    reach = max(values["first_trust"], values["trust"], 1.0) ** 2
    return Settings(lr / reach, lr * reach, start=lr, total_steps=total_steps, **values)


def _inside(lr: float, low: float, high: float) -> float:
    return lr if low <= lr <= high else math.sqrt(low * high)
