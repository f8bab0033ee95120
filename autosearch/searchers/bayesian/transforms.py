"""What is done to measured values before a Gaussian process sees them.

Symbols: y measured, higher is better; z what the model sees, about standard normal.
"""

from dataclasses import dataclass

import numpy as np

# Beyond so many robust standard deviations below the median a value only says "bad": it is bent to a logarithm.
_KNEE = 3.0
# Spreads from the center that are told apart; squares of more would overflow.
_FAR = 1e150


@dataclass(frozen=True, slots=True)
class Outcome:
    """An increasing map of values, chosen by the values alone; z = (bend((y - center) / spread) - shift) / scale.

    It commutes with affine changes of the objective of positive slope: z stays the same.
    """

    center: float = 0.0
    spread: float = 1.0
    shift: float = 0.0
    scale: float = 1.0
    knee: float = np.inf

    @classmethod
    def of_gap(cls, y: np.ndarray) -> "Outcome | None":
        """About the logarithm of the gap to the best of values `y` (n,); None where most of them are the best.

        In a basin values get better by orders of magnitude, and such a map is simpler to model. It is straight for gaps
        far below the median one.
        """
        top = float(y.max())
        spread = float(np.median(top - y))
        if not 1e-12 * max(abs(top), 1e-290) < spread < np.inf:
            return None
        bent = _bend((y - top) / spread, 0.0)
        return cls(top, spread, float(np.mean(bent)), float(np.std(bent)), 0.0)

    @classmethod
    def fit(cls, y: np.ndarray, *, bend: bool = True) -> "Outcome":
        """The map for values `y` (n,), all finite.

        Long lower tails are bent: what is far below the median is told apart only by order of magnitude, as in the
        half-rank warping of Song et al. 2024, "The Vizier Gaussian Process Bandit Algorithm", section 4.3.
        """
        center = float(np.median(y))
        good = y[y >= center]
        spread = _root_mean_square(good - center)
        if spread <= 1e-12 * max(abs(center), 1e-290) or not np.isfinite(spread):
            low, high = np.quantile(y, [0.25, 0.75])
            spread = float(high - low) or _root_mean_square(y - center) or 1.0
        knee = _KNEE if bend else np.inf
        bent = _bend(_apart(y, center, spread), knee)
        scale = float(np.std(bent))
        return cls(center, spread, float(np.mean(bent)), scale if scale > 1e-9 else 1.0, knee)

    def forward(self, y: np.ndarray) -> np.ndarray:
        """Z of values y."""
        return (_bend(_apart(y, self.center, self.spread), self.knee) - self.shift) / self.scale

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Y of model values z."""
        u = np.asarray(z) * self.scale + self.shift
        below = np.minimum(u, -self.knee)
        # exp is kept below the overflow; such values are far outside anything observed.
        tail = -self.knee - np.expm1(np.minimum(-below - self.knee, 600.0)) if np.isfinite(self.knee) else u
        return np.where(u < -self.knee, tail, u) * self.spread + self.center

    def slope(self, y: np.ndarray) -> np.ndarray:
        """dz/dy at values y, for carrying standard errors over."""
        u = _apart(y, self.center, self.spread)
        bent = 1 / (1 + np.maximum(-self.knee - u, 0.0)) if np.isfinite(self.knee) else np.ones_like(u)
        return bent / (self.spread * self.scale)


def _apart(y: np.ndarray, center: float, spread: float) -> np.ndarray:
    """Spreads that values lie above the center, at most `_FAR` either way."""
    with np.errstate(over="ignore"):
        return np.clip((np.asarray(y) - center) / spread, -_FAR, _FAR)


def _bend(u: np.ndarray, knee: float) -> np.ndarray:
    """U above -knee, logarithmic below, with a continuous slope."""
    if not np.isfinite(knee):
        return u
    return np.where(u < -knee, -knee - np.log1p(np.maximum(-knee - u, 0.0)), u)


def _root_mean_square(x: np.ndarray) -> float:
    top = float(np.max(np.abs(x), initial=0.0))
    # Scaled first: squares of values above 1e154 overflow.
    return top * float(np.sqrt(np.mean((x / top) ** 2))) if top > 0 else 0.0
