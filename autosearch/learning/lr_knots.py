"""A free-form learning-rate schedule: log factors at equally spaced knots, joined without overshoot.

| symbol | meaning |
|---|---|
| `y_i` | logarithm of the factor at knot i; `y_0 = 0` |
| `s_i` | slope of the straight line from knot i to knot i + 1 |
| `m_i` | slope of the curve at knot i |

Source: Fritsch and Butland 1984, "A method for constructing local monotone piecewise cubic interpolants".
"""

import itertools
import math
from dataclasses import dataclass, field

from autosearch.core.errors import OptionError


@dataclass(frozen=True, slots=True)
class LrKnots:
    """Six knots, at 0, 20, ..., 100 % of the run; each but the first is given as a step from the one before.

    Attributes:
        steps: N.
        knot1: change of the natural logarithm of the factor from knot 0 to knot 1; so on for the others.
    """

    steps: int
    knot1: float = 0.0
    knot2: float = 0.0
    knot3: float = 0.0
    knot4: float = 0.0
    knot5: float = 0.0
    _heights: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _slopes: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        changes = (self.knot1, self.knot2, self.knot3, self.knot4, self.knot5)
        if not all(map(math.isfinite, changes)):
            raise OptionError(f"knots: finite numbers, got {changes}.", "knot1")
        heights = [0.0]
        for change in changes:
            heights.append(heights[-1] + change)
        object.__setattr__(self, "_heights", tuple(heights))
        object.__setattr__(self, "_slopes", _monotone_slopes(changes))

    def __call__(self, step: int) -> float:
        parts = len(self._heights) - 1
        place = min(1.0, step / max(1, self.steps)) * parts
        i = min(parts - 1, int(place))
        u = place - i
        y, m = self._heights, self._slopes
        return math.exp(
            (1 + 2 * u) * (1 - u) ** 2 * y[i]
            + u * (1 - u) ** 2 * m[i]
            + u**2 * (3 - 2 * u) * y[i + 1]
            + u**2 * (u - 1) * m[i + 1]
        )


def _monotone_slopes(s: tuple[float, ...]) -> tuple[float, ...]:
    """Slopes at the knots, in units of the spacing, that keep the curve monotone between them."""
    inner = [2 * a * b / (a + b) if a * b > 0 else 0.0 for a, b in itertools.pairwise(s)]
    return (_end_slope(s[0], s[1]), *inner, _end_slope(s[-1], s[-2]))


def _end_slope(near: float, far: float) -> float:
    """Three-point slope at an end, cut so that the curve does not turn."""
    slope = (3 * near - far) / 2
    if slope * near <= 0:
        return 0.0
    return 3 * near if near * far < 0 and abs(slope) > 3 * abs(near) else slope
