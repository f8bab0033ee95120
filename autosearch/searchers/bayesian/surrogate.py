"""The surrogate for methods: plain arrays in, predictions, improvement and samples out."""

import numpy as np
import torch

from autosearch.searchers.bayesian.acquisition import LogImprovement
from autosearch.searchers.bayesian.beliefs import Belief
from autosearch.searchers.bayesian.gp import GaussianProcess
from autosearch.searchers.bayesian.layout import Layout
from autosearch.searchers.bayesian.threads import single_threaded
from autosearch.searchers.bayesian.transforms import Outcome


class Surrogate:
    """A Gaussian process of values over the unit cube, lower values being better.

    Attributes:
        belief: the process and the map between its values and the user's.
    """

    def __init__(self, belief: Belief) -> None:
        self.belief = belief

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        y: np.ndarray,
        noise: np.ndarray | float | None = None,
        *,
        layout: Layout | None = None,
    ) -> "Surrogate":
        """Fit to observations.

        Args:
            X: (n, d) points in [0, 1], n at least 1.
            y: (n,) values, finite, lower is better.
            noise: known variance of each value, (n,) or one for all; None or NaN: inferred.
            layout: of the columns; None: all are numeric.

        Raises:
            ValueError: shapes differ, or a number is not finite.
            FitError: the covariance of the observations is singular.
        """
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if X.ndim != 2 or y.shape != (len(X),) or not len(X):
            raise ValueError(f"X must be (n, d) and y (n,), n >= 1; got {X.shape} and {y.shape}")
        if not np.isfinite(X).all() or not np.isfinite(y).all():
            raise ValueError("X and y must be finite")
        given = (
            np.full(len(y), np.nan) if noise is None else np.broadcast_to(np.asarray(noise, float), y.shape)
        )
        if (given < 0).any():
            raise ValueError("noise must be at least 0")
        # The values that predictions are made of must not be bent: callers average and compare them.
        outcome = Outcome.fit(-y, bend=False)
        known = given * outcome.slope(-y) ** 2
        with single_threaded():
            model = GaussianProcess.fitted(
                layout or Layout(X.shape[1]),
                torch.from_numpy(X),
                torch.from_numpy(outcome.forward(-y)),
                torch.from_numpy(known),
            )
        return cls(Belief(model, outcome))

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the function at `X` (n, d), each (n,)."""
        with single_threaded(), torch.no_grad():
            mean, variance = self.belief.model.moments(self._points(X))
        scale = self.belief.outcome.spread * self.belief.outcome.scale
        return -self.belief.outcome.inverse(mean.numpy()), variance.sqrt().numpy() * scale

    def log_ei(self, X: np.ndarray) -> np.ndarray:
        """(n,) logarithm of the expected improvement, in units of y, below the lowest mean at an observed point."""
        model = self.belief.model
        every = torch.ones(len(model.X), dtype=torch.bool)
        nothing = torch.empty(0, model.X.shape[1], dtype=torch.float64)
        with single_threaded(), torch.no_grad():
            improvement = LogImprovement([model], nothing, every, every[:0], seed=0, certain=True)
            values = improvement(self._points(X)).numpy()
        return np.asarray(values + np.log(self.belief.outcome.spread * self.belief.outcome.scale))

    def sample(self, X: np.ndarray, n: int, *, seed: int) -> np.ndarray:
        """(n, k) joint samples of the function at `X` (k, d)."""
        model = self.belief.model
        with single_threaded(), torch.no_grad():
            mean, covariance = model.joint(self._points(X))
            jitter = 1e-8 * model.hyper.variance * torch.eye(len(mean), dtype=mean.dtype)
            root = torch.linalg.cholesky(covariance + jitter)
            generator = torch.Generator().manual_seed(seed)
            base = torch.randn(n, len(mean), dtype=mean.dtype, generator=generator)
            return -self.belief.outcome.inverse((mean + base @ root.mT).numpy())

    def _points(self, X: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(X, dtype=np.float64))
