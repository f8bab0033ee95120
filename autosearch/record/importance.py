"""Which parameters mattered: PED-ANOVA with intervals from resampled trials."""

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from autosearch.core import History, Trial
from autosearch.core.seeds import derive_rng
from autosearch.record import encoding

LEAST_TRIALS = 10
RESAMPLES = 20
MOST_TRIALS = 2000
_QUANTILE = 0.1


class _Given(optuna.Study):
    """A study of given trials; the evaluator reads nothing else, and adding trials one by one would cost seconds."""

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial]) -> None:
        self.__dict__.update(study.__dict__)
        self._given = trials

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:  # noqa: ARG002, FBT001, FBT002 - its signature
        return self._given


def ped_anova(
    history: History, *, resamples: int = RESAMPLES
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Share of each searched parameter in reaching the best tenth, for each objective.

    Watanabe, Bansal and Hutter 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
    Subspaces"; conditional parameters as in Optuna 5. Infeasible and stopped trials are left out. The newest 2,000
    trials are read.

    Args:
        history: the study.
        resamples: bootstrap samples for the intervals.

    Returns:
        metric -> parameter -> (share, 5 % quantile, 95 % quantile); shares sum to 1. Empty with fewer than ten
        complete trials, or where nothing is searched.
    """
    trials = [t for t in history.complete if t.values and t.feasible][-MOST_TRIALS:]
    names = list(history.problem.space.searched)
    if len(trials) < LEAST_TRIALS or not names:
        return {}
    frozen = _frozen(history, trials)
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for index, goal in enumerate(history.problem.objectives):
        values = np.array([t.values[index] for t in trials if t.values])
        if values.min() == values.max():
            continue
        rng = derive_rng(history.problem.seed, "ped-anova", goal.metric)
        whole = _shares(frozen, values, names)
        samples = [
            _shares([frozen[i] for i in picks], values[picks], names)
            for picks in (rng.integers(len(trials), size=len(trials)) for _ in range(resamples))
        ]
        low, high = np.quantile([*samples, whole], [0.05, 0.95], axis=0)
        found[goal.metric] = {
            name: (float(whole[i]), float(low[i]), float(high[i])) for i, name in enumerate(names)
        }
    return found


def _frozen(history: History, trials: Sequence[Trial]) -> list[FrozenTrial]:
    known = history.problem.space.parameters
    distributions = {
        name: optuna.distributions.json_to_distribution(encoding.distribution(known[name]))
        for name in history.problem.space.searched
    }
    return [
        FrozenTrial(
            number=i,
            trial_id=i,
            state=TrialState.COMPLETE,
            value=0.0,
            datetime_start=None,
            datetime_complete=None,
            params={name: trial.config[name] for name in distributions if name in trial.config},
            distributions={name: d for name, d in distributions.items() if name in trial.config},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        for i, trial in enumerate(trials)
    ]


def _shares(frozen: Sequence[FrozenTrial], values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(d,) shares that sum to 1; all equal where no parameter tells the best tenth apart."""
    for trial, value in zip(frozen, values, strict=True):
        trial.value = float(value)
    # A resample may hold no trial in which a conditional parameter is active; the evaluator refuses such a name.
    known = [name for name in names if any(name in trial.params for trial in frozen)]
    evaluator = PedAnovaImportanceEvaluator(target_quantile=_QUANTILE)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # quantiles that fall together: the shares are then equal, as documented
        raw = evaluator.evaluate(_Given(_empty_study(), list(frozen)), known)
    found = np.array([max(0.0, float(raw.get(name, 0.0))) for name in names])
    total = found.sum()
    return found / total if total > 0 else np.full(len(names), 1 / len(names))


@cache
def _empty_study() -> optuna.Study:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study()
    finally:
        optuna.logging.set_verbosity(level)
