"""What a problem of the searcher benchmark is, and short forms to write one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Config = Mapping[str, Any]
Truth = Callable[[Config, int], dict[str, float] | None]


@dataclass(frozen=True)
class Problem:
    """A function of a configuration and a seed, with the study that asks for it.

    Attributes:
        family: problems that are hard for the same reason; differences are tested family by family.
        space: as in a study file.
        truth: metrics without noise; None where a trial with that configuration fails.
        objectives, constraints: as in a study file; a constraint reads `METRIC <= NUMBER`.
        noise: standard deviation added to `loss`.
        measure: what a trial sees instead of the truth with `noise` added.
        batch: trials at once.
        reference: worst values that count for the dominated volume, with several objectives.
        optimum: the best score of a seed; None: the best that any searcher ever found counts.
        data: file below the data folder that the problem reads.
    """

    name: str
    family: str
    space: Mapping[str, Any]
    truth: Truth
    objectives: Mapping[str, str] = field(default_factory=lambda: {"loss": "minimize"})
    constraints: Sequence[str] = ()
    noise: float = 0.0
    measure: Callable[[Config, int, np.random.Generator], dict[str, float]] | None = None
    batch: int = 1
    reference: tuple[float, ...] = ()
    optimum: Callable[[int], float] | None = None
    data: str | None = None

    def violations(self, metrics: Mapping[str, float]) -> list[float]:
        """By how much each constraint is broken; at most 0 where it holds."""
        parts = [constraint.split(" <= ") for constraint in self.constraints]
        return [metrics[name] - float(bound) for name, bound in parts]


def number(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, **more}


def whole(low: int, high: int, **more: Any) -> dict[str, Any]:
    return {"type": "int", "low": low, "high": high, **more}


def ordinal(*choices: Any) -> dict[str, Any]:
    return {"type": "ordinal", "choices": list(choices)}


def loss(f: Callable[[Config, int], float]) -> Truth:
    return lambda config, seed: {"loss": f(config, seed)}
