"""The suggestions of one call of the Bayesian searcher, from the data to what is said about them."""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch

from autosearch.core import History, Suggestion
from autosearch.core.ranking import ranks
from autosearch.core.seeds import derive_rng, derive_seed
from autosearch.searchers.bayesian.acquisition import (
    Acquisition,
    LogHypervolume,
    LogImprovement,
    Sum,
    UpperBound,
)
from autosearch.searchers.bayesian.beliefs import NUMERICAL, Beliefs, believe
from autosearch.searchers.bayesian.data import Data, gather, with_noise
from autosearch.searchers.bayesian.design import initial_config, initial_size
from autosearch.searchers.bayesian.layout import Domain
from autosearch.searchers.bayesian.maximise import Choice, Maximiser, any_free
from autosearch.searchers.bayesian.options import Options
from autosearch.searchers.bayesian.own_acquisition import Context, label, own_acquisition
from autosearch.searchers.bayesian.priors import LogPrior
from autosearch.searchers.bayesian.transforms import Outcome

_GOOD = 5  # best configurations that perturbations start from
_MOST_VOLUME = 4  # objectives; the volume of more is too costly, they are scalarised


class Batch:
    """The suggestions of one call."""

    def __init__(self, options: Options, history: History, domain: Domain) -> None:
        self.options, self.problem, self.domain = options, history.problem, domain
        self.data = with_noise(gather(history, domain), options.noise)
        self.number = len(history)
        self.keys: set[Hashable] = set(self.data.keys)
        self.pending = list(self.data.pending)
        # A repeated measurement tells something only where measurements are known to differ.
        self.noisy = bool(np.isfinite(self.data.sem).any())
        self.beliefs: Beliefs | None = None

    def suggest(self, n: int) -> list[Suggestion]:
        found: list[Suggestion] = []
        for number in range(self.number, self.number + n):
            suggestion = self._one(number)
            if suggestion is None:
                break
            found.append(suggestion)
            config = self.problem.space.complete(suggestion.config)
            self.keys.add(self.problem.space.key(config))
            self.pending.append(self.domain.points([config])[0])
        return found

    def _one(self, number: int) -> Suggestion | None:
        size = self.options.initial or initial_size(self.problem)
        if number < size and not self._lost(size):
            return self._designed(number, "initial design")
        if not len(self.data.X):
            return self._designed(number, "initial design prolonged, as no trial has succeeded")
        try:
            return self._modelled(number)
        except NUMERICAL as error:
            return self._designed(number, f"initial design prolonged, as no model could be fitted ({error})")

    def _lost(self, size: int) -> bool:
        """Whether half of the initial design has met no outcome constraint: models of these find a way in sooner."""
        n = len(self.data.X)
        return self.options.initial is None and 2 * n > size and not bool(self.data.feasible.any())

    def _taken(self, key: Hashable) -> bool:
        return key in self.keys

    def _info(self, model: str, acquisition: str, reason: str, **more: Any) -> dict[str, Any]:
        return {"searcher": "bayesian", "model": model, "acquisition": acquisition, "reason": reason, **more}

    def _designed(self, number: int, reason: str) -> Suggestion | None:
        config = initial_config(self.problem, self.domain, number, self._taken)
        if config is None:
            return self._repeated(number)
        return Suggestion(config, info=self._info("none", "sobol", reason))

    def _repeated(self, number: int) -> Suggestion | None:
        """Another measurement in an exhausted space with noise; nothing in one without."""
        if not self.noisy:
            return None
        rng = derive_rng(self.problem.seed, "bayesian", "repeat", number)
        config = any_free(self.domain, lambda _: False, rng)
        return None if config is None else Suggestion(config, info=self._info("none", "random", "repeat"))

    # -- with models ---------------------------------------------------------------------------------------

    def _modelled(self, number: int) -> Suggestion | None:
        if self.beliefs is None:
            self.beliefs = believe(self._scalarised(number), self.domain.layout, self.options)
        beliefs = self.beliefs
        name, acquisition = self._acquisition(beliefs, number)
        rng = derive_rng(self.problem.seed, "bayesian", number)
        choice = Maximiser(self.domain, self._good(), self._taken, rng).best(acquisition)
        if choice is None and self.noisy:
            choice = Maximiser(self.domain, self._good(), lambda _: False, rng).best(acquisition)
        if choice is None:
            free = any_free(self.domain, self._taken, rng)
            return None if free is None else Suggestion(free, info=self._info("none", "random", "last free"))
        return self._explained(choice, beliefs, name)

    def _scalarised(self, number: int) -> Data:
        """The data, with more objectives than a volume can be computed of as one weighted distance to the ideal."""
        data = self.data
        m = data.Y.shape[1]
        if m <= _MOST_VOLUME:
            return data
        weights = derive_rng(self.problem.seed, "bayesian", "weights", number).dirichlet(np.ones(m))
        Z = np.stack([Outcome.fit(column, bend=False).forward(column) for column in data.Y.T], axis=1)
        gap = (Z.max(axis=0) - Z) * weights
        # Augmented Chebyshev, Knowles 2006 ("ParEGO"), equation 2.
        single = -(gap.max(axis=1) + 0.05 * gap.sum(axis=1))
        rows = np.full((len(single), 1), np.nan)
        return dataclasses.replace(
            data,
            Y=single[:, None],
            sem=rows,
            X_partial=data.X_partial[:0],
            Y_partial=rows[:0],
            sem_partial=rows[:0],
            trial_partial=data.trial_partial[:0],
        )

    def _acquisition(self, beliefs: Beliefs, number: int) -> tuple[str, Acquisition]:
        terms: list[Acquisition] = list(beliefs.limits)
        pending = torch.from_numpy(
            np.array(self.pending).reshape(len(self.pending), self.domain.layout.width)
        )
        seed = derive_seed(self.problem.seed, "bayesian", "samples", number) % 2**31
        if not bool(beliefs.feasible.any()):
            name = "log feasibility"
        elif callable(self.options.acquisition):
            name = label(self.options.acquisition)
            terms.append(self._own(self.options.acquisition, beliefs, pending, seed))
        elif len(beliefs.objectives) == 1:
            name, term = self._single(beliefs, pending, seed)
            terms.append(term)
        else:
            name = "log noisy expected hypervolume improvement"
            terms.append(self._volume(beliefs, pending, seed))
        prior = LogPrior(self.problem.space, self.domain.layout, self.options.prior_weight / len(self.data.X))
        if prior:
            terms.append(prior)
        return name, Sum(tuple(terms))

    def _single(self, beliefs: Beliefs, pending: torch.Tensor, seed: int) -> tuple[str, Acquisition]:
        model, chosen = beliefs.objectives[0].model, self.options.acquisition
        models = [model, *model.others]
        if chosen == "ucb":
            return "upper confidence bound", UpperBound(models, pending)
        likely = torch.ones(len(pending), dtype=torch.bool)
        with torch.no_grad():
            for limit in beliefs.limits if len(pending) else ():
                likely &= limit(pending) > np.log(0.5)
            certain = chosen == "log_ei"
            improvement = LogImprovement(
                models, pending, beliefs.feasible, likely, seed, certain=certain, samples=self.options.samples
            )
        return f"log {'' if certain else 'noisy '}expected improvement", improvement

    def _own(
        self, function: Callable[..., Any], beliefs: Beliefs, pending: torch.Tensor, seed: int
    ) -> Acquisition:
        models = tuple(belief.model for belief in beliefs.objectives)
        values = torch.stack([model.y for model in models], dim=1)
        context = Context(beliefs.X, values, beliefs.feasible, pending, self.domain.layout, seed)
        with torch.no_grad():
            return own_acquisition(function, models, context)

    def _volume(self, beliefs: Beliefs, pending: torch.Tensor, seed: int) -> LogHypervolume:
        models = [belief.model for belief in beliefs.objectives]
        values = torch.stack([model.y for model in models], dim=1)[beliefs.feasible]
        return LogHypervolume(
            models, beliefs.X[beliefs.feasible], values, pending, seed, samples=self.options.samples
        )

    def _good(self) -> np.ndarray:
        """Encoded columns of the best trials, best first."""
        data = self.data
        over = np.maximum(data.V, 0.0).sum(axis=1) if data.V.shape[1] else None
        order = np.argsort(ranks(-data.Y, over), kind="stable")[:_GOOD]
        return data.X[order][:, : self.domain.layout.d]

    # -- explaining ----------------------------------------------------------------------------------------

    def _explained(self, choice: Choice, beliefs: Beliefs, name: str) -> Suggestion:
        own = len(beliefs.objectives) == len(self.problem.objectives)
        goals = self.problem.objectives if own else ()
        described = [b.describe(choice.point) for b in beliefs.objectives[: len(goals)]]
        # Models are of the metric where it is maximised, of its negative where it is minimised.
        means = [-goal.sign * mean for goal, (mean, _) in zip(goals, described, strict=True)]
        deviations = [deviation for _, deviation in described]
        more: dict[str, Any] = {"value": choice.value}
        if means:
            more["mean"] = means if len(means) > 1 else means[0]
            more["std"] = deviations if len(means) > 1 else deviations[0]
        if beliefs.notes:
            more["notes"] = "; ".join(beliefs.notes)
        reason = _reason(choice.point, beliefs)
        return Suggestion(choice.config, info=self._info("gaussian process", name, reason, **more))


def _reason(point: np.ndarray, beliefs: Beliefs) -> str:
    """Whether a choice is made for what is expected there, for what is unknown there, or to become feasible."""
    if not bool(beliefs.feasible.any()):
        return "feasibility"
    x = torch.from_numpy(point[None])
    for belief in beliefs.objectives:
        model = belief.model
        if float(model.moments(x)[0]) > float(model.moments(beliefs.X[beliefs.feasible])[0].max()):
            return "exploit"
    return "explore"
