"""Learning-rate schedules: callables from the optimizer step to a factor of the peak learning rate.

Each also drives `torch.optim.lr_scheduler.LambdaLR`, which wants nothing else.

| symbol | meaning |
|---|---|
| `n` | optimizer step, from 0 |
| `N` | all steps of the run |
| `W` | steps of warm-up |
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autosearch.core.errors import OptionError
from autosearch.space import did_you_mean

LrSchedule = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A straight rise to 1 over the first `steps` steps, `(n + 1) / (W + 1)`, and `after` from there on."""

    steps: int
    after: LrSchedule

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return (step + 1) / (self.steps + 1)
        return self.after(step - self.steps)


@dataclass(frozen=True, slots=True)
class Constant:
    """Always 1."""

    def __call__(self, step: int) -> float:  # noqa: ARG002 - every lr schedule is called with the step
        return 1.0


@dataclass(frozen=True, slots=True)
class Cosine:
    """Half a cosine from 1 at step 0 to `final` at `steps` and beyond.

    Source: Loshchilov and Hutter 2017, "SGDR", equation 5 without restarts.
    """

    steps: int
    final: float = 0.0

    def __call__(self, step: int) -> float:
        x = min(1.0, step / max(1, self.steps))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * x)) / 2


@dataclass(frozen=True, slots=True)
class Steps:
    """1, times `gamma` after each of the `milestones`, given as shares of `steps`."""

    steps: int
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1

    def __call__(self, step: int) -> float:
        passed = sum(step >= share * self.steps for share in self.milestones)
        return float(self.gamma**passed)


def _constant(steps: int) -> LrSchedule:  # noqa: ARG001 - one signature for all
    return Constant()


def _cosine(steps: int, *, final: float = 0.0) -> LrSchedule:
    return Cosine(steps, final)


def _step(steps: int, *, milestones: tuple[float, ...] = (0.5, 0.75), gamma: float = 0.1) -> LrSchedule:
    return Steps(steps, tuple(milestones), gamma)


LR_SCHEDULES: dict[str, Callable[..., LrSchedule]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
}


def build_lr_schedule(definition: str | Mapping[str, Any], steps: int, warmup: float = 0.0) -> LrSchedule:
    """The lr schedule `NAME` or `{method: NAME, …options}` over a run of `steps` steps.

    Args:
        definition: a name of `LR_SCHEDULES`, or a mapping with `method` and the options of that one.
        steps: N, warm-up included.
        warmup: share of the run that rises in a straight line, in [0, 1).

    Raises:
        OptionError: for a name or an option that is not known, or a warm-up outside its range.
    """
    options = {"method": definition} if isinstance(definition, str) else dict(definition)
    name = options.pop("method", None)
    if name not in LR_SCHEDULES:
        hint = did_you_mean(str(name), LR_SCHEDULES)
        raise OptionError(
            f"unknown lr schedule {name!r}.{hint} Known: {', '.join(LR_SCHEDULES)}.", "lr_schedule"
        )
    if not 0 <= warmup < 1:
        raise OptionError(f"warmup: a share of the run in [0, 1), got {warmup}.", "warmup")
    rise = round(warmup * steps)
    try:
        after = LR_SCHEDULES[name](steps - rise, **options)
    except TypeError as error:
        raise OptionError(f"lr_schedule {name!r}: {error}", "lr_schedule") from error
    return WarmUp(rise, after) if rise else after
