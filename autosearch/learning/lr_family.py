"""One family of learning-rate schedules in which the usual ones are points: warm-up, cool-down, plateau, decay.

| symbol | meaning |
|---|---|
| `n`, `N` | optimizer step from 0; steps of the run |
| `W`, `K`, `D` | steps of warm-up, of the cool-down behind it, of the decay at the end |
| `c` | factor on the plateau |
| `u` | progress within a part, in [0, 1] |

Sources: Loshchilov and Hutter 2017, "SGDR", equation 5; Smith and Topin 2019, "Super-Convergence"; Hu et al. 2024,
"MiniCPM", section 4; Singh et al. 2025, "Beyond Cosine Decay", section 3 (infinite schedule).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from autosearch.core.errors import OptionError

# An exponential decay never reaches 0; where 0 is asked for it ends so low that the rest moves no weight.
_EXPONENTIAL_FLOOR = 1e-6


def _cosine(u: float) -> float:
    return (1 - math.cos(math.pi * u)) / 2


def _linear(u: float) -> float:
    return u


def _one_minus_sqrt(u: float) -> float:
    return math.sqrt(u)


def _inverse_sqrt(u: float) -> float:
    return (1 / math.sqrt(1 + 10 * u) - 1) / (1 / math.sqrt(11) - 1)


_RISES: dict[str, Callable[[float], float]] = {"linear": _linear, "cosine": _cosine}
_COOLS: dict[str, Callable[[float], float]] = {"cosine": _cosine, "inverse_sqrt": _inverse_sqrt}
_DECAYS: dict[str, Callable[[float], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "one_minus_sqrt": _one_minus_sqrt,
}


@dataclass(frozen=True, slots=True)
class LrFamily:
    """A factor of the peak learning rate: up to 1, down to `c`, on at `c`, down to `c * fin`.

    Continuous, except that a cool-down of no length drops to `c` at once and that restarts jump back to 1. Shares are
    relative to what is left, so every combination is possible.

    Attributes:
        steps: N.
        warmup: share of the run that rises, in [0, 1].
        r0: factor at step 0 of the warm-up, in [0, 1].
        warmup_shape: linear or cosine.
        k_rel: share of what follows the warm-up that cools down from 1 to `c`, in [0, 1].
        cool: shape of that: cosine or inverse_sqrt.
        c: factor of the plateau, in (0, 1].
        cycles: above 1, the plateau is cut into so many equal parts, each a cosine from 1 to `c` (warm restarts).
        d_rel: share of what is then left that decays at the end, in [0, 1].
        shape: of the decay: linear, cosine, one_minus_sqrt or exponential.
        fin: last factor relative to `c`, in [0, 1]; exponential decay ends at 1e-6 instead of 0.

    Raises:
        OptionError: for a value outside its range.
    """

    steps: int
    warmup: float = 0.0
    r0: float = 0.01
    warmup_shape: Literal["linear", "cosine"] = "linear"
    k_rel: float = 0.0
    cool: Literal["cosine", "inverse_sqrt"] = "cosine"
    c: float = 1.0
    cycles: int = 1
    d_rel: float = 1.0
    shape: Literal["linear", "cosine", "one_minus_sqrt", "exponential"] = "cosine"
    fin: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("warmup", "r0", "k_rel", "c", "d_rel", "fin"):
            value = getattr(self, name)
            if not 0 <= value <= 1 or (name == "c" and value == 0):
                raise OptionError(f"{name}: a share in [0, 1] (c above 0), got {value}.", name)
        if self.cycles < 1:
            raise OptionError(f"cycles: at least 1, got {self.cycles}.", "cycles")
        shapes = (("warmup_shape", _RISES), ("cool", _COOLS), ("shape", {**_DECAYS, "exponential": None}))
        for name, known in shapes:
            if getattr(self, name) not in known:
                raise OptionError(f"{name}: {', '.join(known)}, got {getattr(self, name)!r}.", name)

    def __call__(self, step: int) -> float:
        rise = self.warmup * self.steps
        if step < rise:
            return self.r0 + (1 - self.r0) * _RISES[self.warmup_shape](step / rise)
        cool = self.k_rel * (self.steps - rise)
        if step < rise + cool:
            return 1 + (self.c - 1) * _COOLS[self.cool]((step - rise) / cool)
        rest = self.steps - rise - cool
        decay = self.d_rel * rest
        plateau = rest - decay
        into = step - rise - cool
        if into < plateau:
            return self._plateau(into / plateau)
        return self._decay(min(1.0, (into - plateau) / decay)) if decay > 0 else self.c

    def _plateau(self, u: float) -> float:
        if self.cycles == 1:
            return self.c
        return 1 + (self.c - 1) * _cosine(math.fmod(u * self.cycles, 1.0))

    def _decay(self, u: float) -> float:
        if self.shape == "exponential":
            return float(self.c * max(self.fin, _EXPONENTIAL_FLOOR) ** u)
        return self.c * (1 + (self.fin - 1) * _DECAYS[self.shape](u))


LR_POINTS: Mapping[str, Mapping[str, float | int | str]] = MappingProxyType(
    {
        "cosine": {"shape": "cosine", "fin": 0.0},
        "wsd": {"warmup": 0.03, "r0": 0.0, "d_rel": 0.2, "shape": "linear", "fin": 0.0},
        "linear": {"shape": "linear", "fin": 0.0},
        "constant": {"d_rel": 0.0},
        # torch's defaults: from 1 / 25 over 30 % of the run to the peak, then to 1 / 25 / 1e4.
        "one_cycle": {"warmup": 0.3, "r0": 0.04, "warmup_shape": "cosine", "shape": "cosine", "fin": 4e-6},
        # Ends of the parts at 5 %, 15 % and 80 % of the run.
        "infinite": {
            "warmup": 0.05, "r0": 0.0, "k_rel": 0.1 / 0.95, "c": 0.25, "d_rel": 0.2 / 0.85, "shape": "exponential",
            "fin": 0.04,
        },
        "inverse_sqrt": {
            "warmup": 0.05, "r0": 0.0, "k_rel": 0.75 / 0.95, "cool": "inverse_sqrt", "c": 0.25, "d_rel": 1.0,
            "shape": "exponential", "fin": 0.04,
        },
    }
)  # fmt: skip
"""The usual lr schedules as options of `LrFamily`."""


def one_cycle(
    steps: int, *, warmup: float = 0.3, start_divisor: float = 25.0, end_divisor: float = 1e4
) -> LrFamily:
    """The learning rate of `torch.optim.lr_scheduler.OneCycleLR(total_steps=steps)`; momentum is left alone.

    Args:
        steps: N, at least 4; torch's own has no rise in shorter runs.
        warmup: share of the run that rises (torch's `pct_start`).
        start_divisor: peak over first learning rate (`div_factor`).
        end_divisor: first over last (`final_div_factor`).
    """
    # Torch reaches the peak one step early and the end at the last step, not behind it.
    last = max(1, steps - 1)
    return LrFamily(
        last,
        warmup=min(1.0, max(0.0, warmup * steps - 1) / last),
        r0=1 / start_divisor,
        warmup_shape="cosine",
        shape="cosine",
        fin=1 / (start_divisor * end_divisor),
    )
