"""What the models of a history say about configurations, in the units that users measure."""

from collections.abc import Sequence

import numpy as np
import torch

from autosearch.core import History, StudyError
from autosearch.core.seeds import derive_rng, derive_seed
from autosearch.searchers.bayesian.beliefs import Belief, believe
from autosearch.searchers.bayesian.data import gather, with_noise
from autosearch.searchers.bayesian.gp import GaussianProcess
from autosearch.searchers.bayesian.layout import Domain
from autosearch.searchers.bayesian.options import Options
from autosearch.searchers.bayesian.threads import isolated, single_threaded
from autosearch.space import Config

_PAIRS = 512  # configurations whose single changes importances are measured by


class BayesianPredictor:
    """Models of each objective after a history.

    Args:
        history: with at least one complete trial.
        domain: of its space.
        options: of the models.

    Raises:
        StudyError: no trial is complete.
    """

    def __init__(self, history: History, domain: Domain, options: Options) -> None:
        data = with_noise(gather(history, domain), options.noise)
        if not len(data.X):
            raise StudyError("predictor: no trial is complete yet, so there is nothing to predict from.")
        self._problem, self._domain = history.problem, domain
        with isolated(derive_seed(history.problem.seed, "bayesian", "predictor")):
            self._beliefs = believe(data, domain.layout, options)

    def predict(self, configs: Sequence[Config]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each objective without noise, each (n, m)."""
        return self._at(self._domain.points([self._problem.space.complete(c) for c in configs]))

    def cross_validate(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Observed values, and mean and standard deviation predicted from all other trials; each (n, m).

        One row a trial, by number: its result, or its last report where it was left before its end. All that a
        trial reported is left out together; hyperparameters stay those of all trials.
        """
        trials = [np.flatnonzero(self._beliefs.trial == number) for number in np.unique(self._beliefs.trial)]
        ends = [self._last(rows) for rows in trials]
        columns = []
        for belief in self._beliefs.objectives:
            with single_threaded(), torch.no_grad():
                left, deviation = _left_out(belief.model, trials)
            observed = belief.outcome.inverse(belief.model.y.numpy()[ends])
            columns.append((observed, *_units(belief, left[ends], deviation[ends])))
        observed, mean, deviation = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
        return observed * self._signs, mean * self._signs, deviation

    def importances(self) -> dict[str, float]:
        """Share of the variation of the objectives' means that each searched parameter explains, summing to 1.

        Total effects (Jansen 1999, "Analysis of variance designs for model output"): by how much the mean changes
        where this parameter alone is drawn anew, over feasible configurations.
        """
        space, d = self._problem.space, self._domain.layout.d
        rng = derive_rng(self._problem.seed, "bayesian", "importances")
        base = space.encode(space.sample(rng, _PAIRS))
        effects = np.zeros(d)
        here, legal_here = self._domain.realise(base)
        for j in range(d):
            changed = base.copy()
            changed[:, j] = rng.permutation(base[:, j])
            there, legal = self._domain.realise(changed)
            both = legal & legal_here
            if both.any():
                effects[j] = self._change(here[both], there[both])
        total = float(effects.sum())
        shares = effects / total if total > 0 else np.full(d, 1 / max(d, 1))
        return {name: float(share) for name, share in zip(space.searched, shares, strict=True)}

    def _change(self, here: np.ndarray, there: np.ndarray) -> float:
        """Mean squared change of the means from one set of points to another, each objective in units of its spread."""
        total = 0.0
        for belief in self._beliefs.objectives:
            with single_threaded(), torch.no_grad():
                one, two = (belief.model.moments(torch.from_numpy(points))[0] for points in (here, there))
            spread = float(belief.model.y.var(unbiased=False)) or 1.0
            total += float((one - two).square().mean()) / spread
        return total

    def _last(self, rows: np.ndarray) -> int:
        """The one of a trial's rows of highest fidelity; results come before reports of the same."""
        column = self._domain.layout.fidelity
        return int(rows[0] if column is None else rows[self._beliefs.X.numpy()[rows, column].argmax()])

    def _at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        columns = []
        for belief in self._beliefs.objectives:
            with single_threaded(), torch.no_grad():
                mean, variance = belief.model.moments(torch.from_numpy(points))
            columns.append(_units(belief, mean.numpy(), variance.sqrt().numpy()))
        means, deviations = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
        return means * self._signs, deviations

    @property
    def _signs(self) -> np.ndarray:
        """(m,) from higher-is-better to the metric as measured."""
        return np.array([-goal.sign for goal in self._problem.objectives])


def _left_out(model: GaussianProcess, groups: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (n,) at each observation, given those outside its group."""
    mean, deviation = np.empty(len(model.y)), np.empty(len(model.y))
    precision = torch.cholesky_inverse(model.L)
    for rows in groups:
        # The block form of Rasmussen & Williams 2006, "Gaussian Processes for Machine Learning", equation 5.12.
        covariance = torch.linalg.inv(precision[np.ix_(rows, rows)])
        mean[rows] = (model.y[rows] - covariance @ model.alpha[rows]).numpy()
        deviation[rows] = covariance.diagonal().sqrt().numpy()
    return mean, deviation


def _units(belief: Belief, mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moments of the process in the quantity's units, higher is better."""
    low, middle, high = (belief.outcome.inverse(mean + k * deviation) for k in (-1, 0, 1))
    return middle, (high - low) / 2
