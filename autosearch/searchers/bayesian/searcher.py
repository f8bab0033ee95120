"""The Bayesian searcher: models of what was observed decide what runs next."""

import dataclasses
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch

from autosearch.core import History, OptionError, Problem, Suggestion
from autosearch.core.ranking import ranks
from autosearch.core.seeds import derive_rng, derive_seed
from autosearch.searchers.bayesian.acquisition import Acquisition, LogHypervolume, LogImprovement, Sum
from autosearch.searchers.bayesian.beliefs import NUMERICAL, Beliefs, believe
from autosearch.searchers.bayesian.data import Data, gather, has_partial
from autosearch.searchers.bayesian.design import initial_config, initial_size
from autosearch.searchers.bayesian.layout import Domain, Layout
from autosearch.searchers.bayesian.maximise import Choice, Maximiser, any_free
from autosearch.searchers.bayesian.predictor import BayesianPredictor
from autosearch.searchers.bayesian.priors import LogPrior
from autosearch.searchers.bayesian.threads import isolated
from autosearch.searchers.bayesian.transforms import Outcome

_GOOD = 5  # best configurations that perturbations start from
_MOST_VOLUME = 4  # objectives; the volume of more is too costly, they are scalarised


class BayesianSearcher:
    """Bayesian optimisation on every kind of space, one or several objectives, with constraints and failures.

    A Gaussian process models each objective, each outcome constraint and where trials fail. The next configuration
    maximises the expected improvement (several objectives: the expected gain of dominated volume), weighed by the
    probability of being feasible and by the users' priors while little is known.

    Args:
        initial: trials of the quasi-random initial design; None: from dimensions, budget and workers.
        conditional: model conditional parameters by their own part of the kernel.
        prior_weight: weight of the users' priors, which falls with the number of observations.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self, *, initial: int | None = None, conditional: bool = True, prior_weight: float = 10.0
    ) -> None:
        if initial is not None and initial < 1:
            raise OptionError(f"must be at least 1, not {initial}", "initial")
        if not prior_weight >= 0:
            raise OptionError(f"must be at least 0, not {prior_weight}", "prior_weight")
        self.initial, self.conditional, self.prior_weight = initial, conditional, prior_weight
        self._domain: Domain | None = None

    def check(self, problem: Problem) -> None:
        """Raises OptionError for a problem without objectives."""
        if not problem.objectives:
            raise OptionError("the bayesian searcher needs an objective; use random, sobol or grid", "method")

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """Up to `n` suggestions that know of each other; fewer where the space is exhausted."""
        if n <= 0:
            return []
        self.check(history.problem)
        with isolated(derive_seed(history.problem.seed, "bayesian", len(history))):
            return _Batch(self, history, self._domain_of(history)).suggest(n)

    def predictor(self, history: History) -> BayesianPredictor:
        """Predictions of the models after `history`.

        Raises:
            StudyError: no trial is complete.
        """
        return BayesianPredictor(history, self._domain_of(history))

    def _domain_of(self, history: History) -> Domain:
        # Kept between calls because conditions are parsed and small spaces enumerated; a function of its key alone.
        space, fidelity = history.problem.space, has_partial(history)
        known = self._domain
        if known is None or known.space is not space or (known.layout.fidelity is not None) != fidelity:
            layout = Layout.of(space, conditional=self.conditional, fidelity=fidelity)
            self._domain = known = Domain(space, layout)
        return known


class _Batch:
    """The suggestions of one call."""

    def __init__(self, searcher: BayesianSearcher, history: History, domain: Domain) -> None:
        self.searcher, self.problem, self.domain = searcher, history.problem, domain
        self.data = gather(history, domain)
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
        size = self.searcher.initial or initial_size(self.problem)
        if number < size:
            return self._designed(number, "initial design")
        if not len(self.data.X):
            return self._designed(number, "no trial has a result yet: initial design goes on")
        try:
            return self._modelled(number)
        except NUMERICAL as error:
            return self._designed(number, f"no model could be fitted ({error}): initial design goes on")

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
            self.beliefs = believe(self._scalarised(number), self.domain.layout)
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
        elif len(beliefs.objectives) == 1:
            name = "log noisy expected improvement"
            terms.append(self._improvement(beliefs, pending, seed))
        else:
            name = "log noisy expected hypervolume improvement"
            terms.append(self._volume(beliefs, pending, seed))
        prior = LogPrior(
            self.problem.space, self.domain.layout, self.searcher.prior_weight / len(self.data.X)
        )
        if prior:
            terms.append(prior)
        return name, Sum(tuple(terms))

    def _improvement(self, beliefs: Beliefs, pending: torch.Tensor, seed: int) -> Acquisition:
        likely = torch.ones(len(pending), dtype=torch.bool)
        with torch.no_grad():
            for limit in beliefs.limits if len(pending) else ():
                likely &= limit(pending) > np.log(0.5)
            model = beliefs.objectives[0].model
            return LogImprovement([model, *model.others], pending, beliefs.feasible, likely, seed)

    def _volume(self, beliefs: Beliefs, pending: torch.Tensor, seed: int) -> LogHypervolume:
        models = [belief.model for belief in beliefs.objectives]
        values = torch.stack([model.y for model in models], dim=1)[beliefs.feasible]
        return LogHypervolume(models, beliefs.X[beliefs.feasible], values, pending, seed)

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
