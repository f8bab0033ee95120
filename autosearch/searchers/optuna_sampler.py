"""Any searcher as a sampler of Optuna: `optuna.create_study(sampler=autosearch.OptunaSampler())`."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from autosearch.core import plugins
from autosearch.core.errors import OptionError
from autosearch.core.history import History
from autosearch.core.protocols import Searcher
from autosearch.core.records import Failure, Goal, Problem, Report, State, Transition, Trial
from autosearch.core.seeds import derive_seed
from autosearch.searchers.optuna_rules import Part, Rule, decompose
from autosearch.space import Categorical, Expression, Float, Int, SearchSpace, SpaceError, Value

_NOTES = "autosearch"  # key of the attribute that keeps what was proposed for a trial, and why
_CONSTRAINTS = "constraints"  # where Optuna's own samplers keep what `constraints_func` returned
_STATES = {
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.STOPPED,
    TrialState.FAIL: State.FAILED,
    TrialState.RUNNING: State.RUNNING,
}


class OptunaSampler(BaseSampler):
    """A searcher of autosearch that proposes the trials of an Optuna study.

    It goes on with a study that has trials already, whoever proposed them. Parameters, their ranges and when they
    are active are read from the complete trials, so the first trial is random. Where a parameter's presence follows
    from the value of another one, it is modelled as conditional on that; parameters for which no such rule is found
    get a model of their own. Running trials count as pending, pruned ones as stopped early, failed ones as failures
    of their configuration, and constraints (`trial.set_constraint` or `constraints_func`) as outcome constraints.

    Args:
        searcher: a name, a mapping `{"method": NAME, …options}`, or a Searcher.
        seed: proposals are a function of it and of the study's trials.
        constraints_func: margins of the constraints of a finished trial, feasible where <= 0.

    Raises:
        ResolveError: there is no such searcher.
        OptionError: an option is unknown or refused, or the searcher needs stages of work before its first trial.
    """

    def __init__(
        self,
        searcher: str | Mapping[str, Any] | Searcher = "bayesian",
        *,
        seed: int = 0,
        constraints_func: Callable[[FrozenTrial], Sequence[float]] | None = None,
    ) -> None:
        self.searcher = cast(Searcher, plugins.build("searchers", searcher))
        self.seed, self.constraints_func = seed, constraints_func
        self._spaces: dict[str, SearchSpace] = {}
        self._lock = threading.Lock()

    def infer_relative_search_space(
        self,
        study: optuna.Study,
        trial: FrozenTrial,  # noqa: ARG002 - Optuna's signature
    ) -> dict[str, BaseDistribution]:
        """Every parameter of the complete trials that leaves a choice, as it was last asked for."""
        found: dict[str, BaseDistribution] = {}
        for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            found.update(other.distributions)
        return {name: found[name] for name in sorted(found) if not found[name].single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of the parameters that are active in the searcher's next configuration."""
        if not search_space:
            return {}
        proposed: dict[str, float] = {}
        notes = []
        with (
            self._lock
        ):  # the threads of one study share its sampler, and each must see what the others were given
            everyone = study.get_trials(deepcopy=False)
            others = [_Other.of(other, search_space) for other in everyone if other.number != trial.number]
            complete = [other.values for other in others if other.trial.state is TrialState.COMPLETE]
            for part in decompose(tuple(search_space), _parents(search_space), complete):
                translation = _Translation(part, search_space, self._spaces)
                history = _history(study, others, translation, self.seed)
                self._check(history.problem)
                for suggestion in self.searcher.suggest(history, 1):
                    proposed |= translation.outward(suggestion.config)
                    notes.append(dict(suggestion.info))
            # Other processes must not propose again what the objective has yet to ask for.
            noted: Any = {"proposed": proposed, "info": notes}
            study._storage.set_trial_system_attr(trial._trial_id, _NOTES, noted)
        return {name: search_space[name].to_external_repr(value) for name, value in proposed.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value: a function of the seed, the trial's number and the parameter's name."""
        sampler = RandomSampler(derive_seed(self.seed, "optuna", trial.number, param_name) % 2**32)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,  # noqa: ARG002 - Optuna's signature
    ) -> None:
        """Keep the margins of `constraints_func` with the trial.

        Raises:
            ValueError: a margin is NaN.
        """
        if self.constraints_func is None or state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return
        margins = tuple(float(margin) for margin in self.constraints_func(trial))
        if any(math.isnan(margin) for margin in margins):
            raise ValueError(f"constraints_func: a margin of trial {trial.number} is NaN: {margins}")
        study._storage.set_trial_system_attr(trial._trial_id, _CONSTRAINTS, margins)

    def _check(self, problem: Problem) -> None:
        check = getattr(self.searcher, "check", None)
        if check is not None:
            check(problem)
        stages = getattr(self.searcher, "stages", None)
        if stages is not None and stages(problem):
            raise OptionError(
                "needs stages of work before its first trial, which Optuna cannot run: use an autosearch.Study.",
                "searcher",
            )


@dataclass(frozen=True, slots=True)
class _Other:
    """A trial of the study.

    Attributes:
        trial: as Optuna keeps it.
        values: of its parameters within the present ranges, a choice as its place; of a running trial also those
            that it was proposed and has not asked for yet.
    """

    trial: FrozenTrial
    values: Mapping[str, float]

    @classmethod
    def of(cls, trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> "_Other":
        values: dict[str, float] = {}
        if trial.state is TrialState.RUNNING:
            values |= trial.system_attrs.get(_NOTES, {}).get("proposed", {})
        for name, value in trial.params.items():
            if name in space:
                values[name] = trial.distributions[name].to_internal_repr(value)
        return cls(trial, {name: value for name, value in values.items() if space[name]._contains(value)})


def _parents(space: Mapping[str, BaseDistribution]) -> dict[str, bool]:
    """Parameters that others may depend on; whether their values have an order."""
    return {
        name: isinstance(distribution, IntDistribution)
        for name, distribution in space.items()
        if isinstance(distribution, IntDistribution | CategoricalDistribution)
    }


class _Translation:
    """Between the parameters of one part and a search space.

    Names of Optuna's parameters may be any text and choices any object: in the space they are numbered.

    Attributes:
        space: the search space.
    """

    def __init__(
        self, part: Part, search_space: Mapping[str, BaseDistribution], known: dict[str, SearchSpace]
    ) -> None:
        self._inner = {name: f"p{i}" for i, name in enumerate(search_space) if name in part.names}
        self._names = {inner: name for name, inner in self._inner.items()}
        definition = {
            inner: _parameter(search_space[name], _condition(part.rules.get(name), self._inner))
            for inner, name in self._names.items()
        }
        # The same object for the same definition: searchers keep what they derive from a space.
        space = SearchSpace(definition)
        self.space = known.setdefault(space.fingerprint(), space)

    def inward(self, values: Mapping[str, float]) -> dict[str, Value] | None:
        """The configuration, None where the values are none of this space."""
        own = {self._inner[name]: value for name, value in values.items() if name in self._inner}
        try:
            return self.space.complete({name: self._typed(name, value) for name, value in own.items()})
        except SpaceError:
            return None

    def outward(self, config: Mapping[str, Value]) -> dict[str, float]:
        """Values by Optuna's names, a choice as its place."""
        whole = self.space.complete(config)
        return {self._names[name]: float(cast(float, value)) for name, value in whole.items()}

    def _typed(self, name: str, value: float) -> Value:
        return value if isinstance(self.space.parameters[name], Float) else int(value)


def _condition(rule: Rule | None, inner: Mapping[str, str]) -> str | None:
    if rule is None:
        return None
    values = [int(value) for value in rule.values]
    return f"{inner[rule.parent]} {rule.comparison} {values if rule.comparison == 'in' else values[0]}"


def _parameter(distribution: BaseDistribution, when: str | None) -> Float | Int | Categorical:
    if isinstance(distribution, CategoricalDistribution):
        return Categorical(tuple(range(len(distribution.choices))), when=when)
    if isinstance(distribution, IntDistribution):
        grid = None if distribution.log else distribution.step
        return Int(distribution.low, distribution.high, log=distribution.log, grid=grid, when=when)
    if isinstance(distribution, FloatDistribution):
        spacing = distribution.step
        return Float(distribution.low, distribution.high, log=distribution.log, grid=spacing, when=when)
    raise OptionError(f"parameters of {type(distribution).__name__} are not known to autosearch.", "searcher")


def _history(study: optuna.Study, others: Sequence[_Other], translation: _Translation, seed: int) -> History:
    """The study's trials of one part, numbered anew."""
    goals = tuple(
        Goal(f"value{i}", direction is optuna.study.StudyDirection.MAXIMIZE)
        for i, direction in enumerate(study.directions)
    )
    known = [(other, config) for other in others if (config := translation.inward(other.values)) is not None]
    names = sorted({name for other, _ in known for name in other.trial.constraints})
    problem = Problem(
        translation.space,
        goals,
        constraints=tuple(Expression.parse(f"margin{i} <= 0") for i in range(len(names))),
        workers=1 + sum(other.trial.state is TrialState.RUNNING for other in others),
        seed=seed,
    )
    trials: list[Trial] = []
    for other, config in known:
        if other.trial.state in _STATES:
            before = trials[-1] if trials else None
            event = 0 if before is None else before.transitions[-1].event + len(before.reports) + 1
            trials.append(_trial(other.trial, config, len(trials), event, problem, names))
    return History(problem, trials)


def _trial(
    frozen: FrozenTrial,
    config: dict[str, Value],
    number: int,
    event: int,
    problem: Problem,
    names: Sequence[str],
) -> Trial:
    """A trial of the history; its events are numbered from `event` on, as if each trial had waited for the last."""
    state = _STATES[frozen.state]
    reports = _reports(frozen, problem, event + 1)
    transitions = [Transition(event, State.RUNNING)]
    if state.finished:
        transitions.append(Transition(event + len(reports) + 1, state))
    metrics: dict[str, float] = {}
    violations: tuple[float, ...] = ()
    if state is State.COMPLETE:
        metrics = {goal.metric: v for goal, v in zip(problem.objectives, frozen.values, strict=True)}
        violations = tuple(frozen.constraints.get(name, math.inf) for name in names)
    return Trial(
        number=number,
        config=config,
        state=state,
        seen=event,
        transitions=tuple(transitions),
        reports=reports,
        values=problem.signed(metrics),
        violations=violations,
        metrics=metrics,
        failure=Failure("crash", "failed") if state is State.FAILED else None,
    )


def _reports(frozen: FrozenTrial, problem: Problem, event: int) -> tuple[Report, ...]:
    """Reported values by step; Optuna has none with several objectives."""
    metric = problem.objectives[0].metric
    return tuple(
        Report(step, {metric: value}, seconds=0.0, event=event + i)
        for i, (step, value) in enumerate(sorted(frozen.intermediate_values.items()))
    )
