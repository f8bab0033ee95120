"""Learning-rate schedules: callables from the optimizer step to a factor of the peak learning rate.

Each also drives `torch.optim.lr_scheduler.LambdaLR`, which wants nothing else.

| symbol | meaning |
|---|---|
| `n` | optimizer step, from 0 |
| `N` | all steps of the run |
| `W` | steps of warm-up |
"""

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autosearch.core.errors import OptionError
from autosearch.learning.lr_family import LrFamily, one_cycle
from autosearch.learning.lr_knots import LrKnots
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


@dataclass(frozen=True, slots=True)
class Recorded:
    """An lr schedule that was found by another run: each factor holds from its point to the next.

    Attributes:
        steps: N of the run that replays it.
        points: (step, factor), steps rising from 0.
        recorded_steps: N of the run that found it; the points are stretched to `steps`. None: they fit as they are.
    """

    steps: int
    points: tuple[tuple[int, float], ...]
    recorded_steps: int | None = None

    def __post_init__(self) -> None:
        starts = [n for n, _ in self.points]
        if not starts or starts[0] != 0 or any(b <= a for a, b in itertools.pairwise(starts)):
            raise OptionError(f"points: steps must rise from 0, got {starts[:5]}.", "points")
        if any(not (0 <= factor < math.inf) for _, factor in self.points):
            raise OptionError("points: factors must be finite and at least 0.", "points")

    def __call__(self, step: int) -> float:
        stretch = 1.0 if self.recorded_steps is None else self.recorded_steps / max(1, self.steps)
        place = bisect_right(self.points, (step * stretch, math.inf)) - 1
        return self.points[max(0, place)][1]

    def definition(self) -> dict[str, Any]:
        """JSON that `build_lr_schedule` and `lr_schedule:` of a study file take, for a run of any length."""
        points = [list(point) for point in self.points]
        return {"method": "recorded", "points": points, "recorded_steps": self.recorded_steps or self.steps}


def _constant(steps: int) -> LrSchedule:  # noqa: ARG001 - one signature for all
    return Constant()


def _cosine(steps: int, *, final: float = 0.0) -> LrSchedule:
    return Cosine(steps, final)


def _step(steps: int, *, milestones: tuple[float, ...] = (0.5, 0.75), gamma: float = 0.1) -> LrSchedule:
    return Steps(steps, tuple(milestones), gamma)


def _recorded(
    steps: int, *, points: Sequence[Sequence[float]], recorded_steps: int | None = None
) -> LrSchedule:
    return Recorded(steps, tuple((int(n), float(factor)) for n, factor in points), recorded_steps)


LR_SCHEDULES: dict[str, Callable[..., LrSchedule]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "one_cycle": one_cycle,
    "family": LrFamily,
    "knots": LrKnots,
    "recorded": _recorded,
}


def peak_lr(definition: str | Mapping[str, Any], otherwise: float) -> float:
    """The learning rate that factors multiply: `peak` of the definition, or `otherwise` where it has none."""
    return otherwise if isinstance(definition, str) else float(definition.get("peak", otherwise))


def build_lr_schedule(definition: str | Mapping[str, Any], steps: int, warmup: float = 0.0) -> LrSchedule:
    """The lr schedule `NAME` or `{method: NAME, …options}` over a run of `steps` steps.

    Args:
        definition: a name of `LR_SCHEDULES`, or a mapping with `method` and the options of that one. Its `peak`, if
            any, is what `peak_lr` reads; factors do not depend on it.
        steps: N, warm-up included.
        warmup: share of the run that rises in a straight line, in [0, 1).

    Raises:
        OptionError: for a name or an option that is not known, or a warm-up outside its range.
    """
    options: dict[str, Any] = {"method": definition} if isinstance(definition, str) else dict(definition)
    name = options.pop("method", None)
    if not 0 < peak_lr(definition, 1.0) < math.inf:
        raise OptionError("peak: a learning rate above 0.", "lr_schedule")
    options.pop("peak", None)
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
