"""The bridge to Optuna's samplers: any of them as a searcher that is a function of the history."""

import inspect
import logging
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, CmaEsSampler, QMCSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from autosearch.core import plugins
from autosearch.core.errors import OptionError
from autosearch.core.history import History
from autosearch.core.records import Problem, State, Suggestion, Trial
from autosearch.core.seeds import derive_rng, derive_seed
from autosearch.space import Categorical, Config, Float, Int, Ordinal, SearchSpace, SpaceError, Value, nearest

_TRIES = 16  # proposals that may break `require` before a feasible configuration is drawn at random
_STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.STOPPED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}
_LARGEST = 1e60  # samplers multiply the values of several objectives; beyond it products would overflow
_NOTES = "optuna"  # key in `info` under which a sampler's own notes about a trial are kept
_quiet = threading.Lock()


class OptunaSearcher:
    """Any Optuna sampler, by name.

    For each suggestion an in-memory Optuna study is built anew from the history, with a sampler seeded by study and
    trial number; what a sampler notes at a trial (the state of CMA-ES, a generation) is kept in the trial's `info`.
    Parameters are asked for as conditions make them active; an ordinal is its place among the choices. Proposals
    against `require` are taken back and count as running while the sampler is asked again; after 16 of them the
    configuration is a random one, and `info` says so. May repeat configurations where the sampler does.

    Args:
        sampler: a class of `optuna.samplers`, or `package.module:Class`.
        options: passed to the sampler; `seed` and other samplers are refused, for the study's seed governs.

    Raises:
        OptionError: if there is no such sampler, or it refuses an option.
    """

    def __init__(self, sampler: str = "TPESampler", **options: Any) -> None:
        self.sampler, self.options = sampler, options
        self._class = _sampler_class(sampler)
        self._accepted = _accepted(self._class)
        self._check_options()
        self._make(0)
        self._known: dict[int, tuple[Trial, SearchSpace, FrozenTrial]] = {}

    def check(self, problem: Problem) -> None:
        """Raises OptionError for a problem without objectives, and where the sampler's package is missing."""
        if not problem.objectives:
            raise OptionError("optuna: needs an objective. Use random, sobol or grid.", "method")
        if issubclass(self._class, CmaEsSampler) and find_spec("cmaes") is None:
            raise OptionError(f"{self.sampler} needs the package cmaes: pip install cmaes.", "sampler")

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """`n` suggestions that know of each other.

        Raises:
            SpaceError: hardly any configuration meets the constraints.
            OptionError: the sampler refuses the problem (several objectives, say).
        """
        space = history.problem.space
        distributions = {name: _distribution(space, name) for name in space.searched}
        frozen = [self._frozen(trial, distributions, history.problem) for trial in history]
        suggestions: list[Suggestion] = []
        for number in range(len(history), len(history) + n):
            suggestion = self._suggestion(history.problem, number, frozen, distributions)
            suggestions.append(suggestion)
            pending = Trial(number, space.complete(suggestion.config), info=suggestion.info)
            frozen.append(_freeze(pending, distributions, history.problem))
        return suggestions

    def _suggestion(
        self,
        problem: Problem,
        number: int,
        before: list[FrozenTrial],
        distributions: Mapping[str, BaseDistribution],
    ) -> Suggestion:
        # A sampler's seed is a number below 2**32.
        study = _study(problem, before, self._make(derive_seed(problem.seed, "optuna", number) % 2**32))
        for _ in range(_TRIES):
            try:
                trial = study.ask()
                config = _config(problem.space, trial, distributions)
            except (ValueError, NotImplementedError, ImportError) as error:
                if isinstance(error, SpaceError):
                    raise
                raise OptionError(f"{self.sampler}: {error}", "sampler") from error
            if config is not None:
                return Suggestion(config, info=self._info(study, trial))
        config = problem.space.sample(derive_rng(problem.seed, "optuna", number), 1)[0]
        return Suggestion(
            config, info={"reason": f"random: {_TRIES} proposals of {self.sampler} were infeasible"}
        )

    def _info(self, study: optuna.Study, trial: optuna.Trial) -> dict[str, Any]:
        info: dict[str, Any] = {"reason": self.sampler}
        alone = sorted(set(trial.params) - set(trial.relative_params))
        if trial.relative_params and alone:
            info["independent"] = alone  # not modelled together with the others: conditional ones, mostly
        attributes = study._storage.get_trial_system_attrs(trial._trial_id)
        # Some samplers tell other processes their values before the parameters are written: nothing new for us.
        notes = {key: value for key, value in attributes.items() if ":relative_params:" not in key}
        return {**info, _NOTES: notes} if notes else info

    # -- the sampler ---------------------------------------------------------------------------------------

    def _check_options(self) -> None:
        for name, value in self.options.items():
            if name == "seed" or isinstance(value, BaseSampler):
                raise OptionError(
                    f"{self.sampler}: {name!r} is not for you to set: the study's seed governs.", name
                )
            if self._accepted is not None and name not in self._accepted:
                close = nearest(name, self._accepted)
                hint = (
                    f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(self._accepted))}."
                )
                raise OptionError(f"{self.sampler} has no option {name!r}. {hint}", name)

    def _make(self, seed: int) -> BaseSampler:
        options = dict(self.options)
        if self._accepted is None or "seed" in self._accepted:
            options["seed"] = seed
        if self._accepted is not None and self._accepted.get("warn_independent_sampling") is True:
            options.setdefault("warn_independent_sampling", False)  # `info` says it, once per trial
        try:
            return self._class(**options)
        except (TypeError, ValueError) as error:
            raise OptionError(f"{self.sampler}: {error}", "sampler") from error

    def _frozen(
        self, trial: Trial, distributions: Mapping[str, BaseDistribution], problem: Problem
    ) -> FrozenTrial:
        known = self._known.get(trial.number)
        if known is None or known[0] is not trial or known[1] is not problem.space:
            known = (trial, problem.space, _freeze(trial, distributions, problem))
            self._known[trial.number] = known
        return known[2]


def _sampler_class(name: str) -> type[BaseSampler]:
    found: Any = plugins.load("samplers", name) if ":" in name else getattr(optuna.samplers, name, None)
    if not (inspect.isclass(found) and issubclass(found, BaseSampler)) or found is BaseSampler:
        known = [n for n in optuna.samplers.__all__ if n.endswith("Sampler") and not n.startswith("Base")]
        close = nearest(name, known)
        hint = (
            f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}, or package.module:Class."
        )
        raise OptionError(f"optuna has no sampler {name!r}. {hint}", "sampler")
    if issubclass(found, QMCSampler):
        raise OptionError(
            f"{name} keeps count of its points outside the trials. Use `searcher: sobol`, the same by number.",
            "sampler",
        )
    return found


def _accepted(sampler: type[BaseSampler]) -> dict[str, Any] | None:
    """The sampler's options with their defaults, None if it takes any."""
    parameters = inspect.signature(sampler).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return None
    return {p.name: p.default for p in parameters}


# -- an Optuna study from a history ----------------------------------------------------------------------------


def _study(problem: Problem, trials: list[FrozenTrial], sampler: BaseSampler) -> optuna.Study:
    storage = optuna.storages.InMemoryStorage()
    with _silent("optuna.storages._in_memory"):
        identity = storage.create_new_study(
            [optuna.study.StudyDirection.MINIMIZE] * len(problem.objectives), "history"
        )
    for trial in trials:
        storage.create_new_trial(identity, template_trial=trial)
    return optuna.Study("history", storage, sampler=sampler)


@contextmanager
def _silent(logger: str) -> Iterator[None]:
    """Keep one of Optuna's loggers from announcing a study that nobody should hear of."""
    with _quiet:
        target = logging.getLogger(logger)
        before = target.disabled
        target.disabled = True
        try:
            yield
        finally:
            target.disabled = before


def _distribution(space: SearchSpace, name: str) -> BaseDistribution:
    parameter = space.parameters[name]
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter, Ordinal):
        return IntDistribution(0, len(parameter.choices) - 1)
    # Optuna wants the upper bound on the grid.
    top: Any = parameter.from_unit(1.0) if isinstance(parameter, Float | Int) else None
    if isinstance(parameter, Int):
        return IntDistribution(parameter.low, top, log=parameter.log, step=parameter.grid or 1)
    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, top, log=parameter.log, step=parameter.grid)
    raise TypeError(f"{name} is not searched")


def _freeze(trial: Trial, distributions: Mapping[str, BaseDistribution], problem: Problem) -> FrozenTrial:
    active = [name for name in distributions if name in trial.config]
    state = _STATES.get(trial.state, TrialState.RUNNING)
    notes = trial.info.get(_NOTES)
    attributes = dict(notes) if isinstance(notes, Mapping) else {}
    if trial.violations:
        attributes["constraints"] = [_bounded(v) for v in trial.violations]
    return create_trial(
        state=state,
        values=[_bounded(v) for v in trial.values] if state is TrialState.COMPLETE and trial.values else None,
        params={name: _outward(problem.space, name, trial.config[name]) for name in active},
        distributions={name: distributions[name] for name in active},
        system_attrs=attributes,
        intermediate_values=_intermediate(trial, problem),
    )


def _intermediate(trial: Trial, problem: Problem) -> dict[int, float]:
    """Reported values by step; none with several objectives, for which Optuna has no such thing."""
    if len(problem.objectives) != 1:
        return {}
    reported = ((report.step, problem.signed(report.metrics)) for report in trial.curve)
    return {step: _bounded(values[0]) for step, values in reported if values is not None}


def _bounded(value: float) -> float:
    return value if math.isnan(value) else min(max(value, -_LARGEST), _LARGEST)


def _outward(space: SearchSpace, name: str, value: Value) -> Any:
    parameter = space.parameters[name]
    return parameter.choices.index(value) if isinstance(parameter, Ordinal) else value


# -- a configuration from an Optuna trial ----------------------------------------------------------------------


class _Asking(Mapping[str, Value]):
    """Values of searched parameters, each asked of the sampler when it is first read."""

    def __init__(
        self, space: SearchSpace, trial: optuna.Trial, distributions: Mapping[str, BaseDistribution]
    ) -> None:
        self._space, self._trial, self._distributions = space, trial, distributions

    def __getitem__(self, name: str) -> Value:
        value = self._trial._suggest(name, self._distributions[name])
        parameter = self._space.parameters[name]
        chosen: Value = parameter.choices[value] if isinstance(parameter, Ordinal) else value
        return chosen

    def __contains__(self, name: object) -> bool:
        return name in self._distributions

    def __iter__(self) -> Iterator[str]:
        return iter(self._distributions)

    def __len__(self) -> int:
        return len(self._distributions)


def _config(
    space: SearchSpace, trial: optuna.Trial, distributions: Mapping[str, BaseDistribution]
) -> Config | None:
    """What the sampler proposes, None where it is infeasible. Only active parameters are asked for."""
    try:
        config = space.complete(_Asking(space, trial, distributions))
    except SpaceError:
        return None  # a condition or derived value cannot be evaluated here
    return config if space.satisfies(config) else None
