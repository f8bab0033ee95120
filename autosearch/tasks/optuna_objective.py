"""`optuna:` - an objective written for Optuna, unchanged."""

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.exceptions import TrialPruned
from optuna.trial import BaseTrial

from autosearch.core import Decision, Job, Problem, Progress, StudyError
from autosearch.core.records import Json
from autosearch.core.seeds import derive_rng
from autosearch.runners.session import Report
from autosearch.space import Categorical, Float, Int, Ordinal, Parameter, SearchSpace, SpaceError
from autosearch.tasks.code import Code
from autosearch.tasks.command import flatten
from autosearch.tasks.handoff import as_generator

_MOST_TEXT = 1000


class PrunedByItselfError(Exception):
    """The objective raised TrialPruned although nothing had told it to stop: the configuration has no result."""

    failure_cause = "invalid"


class OptunaObjective:
    """Calls `objective(trial)` with a trial that asks the study.

    A suggestion gets its value from the configuration. A parameter that the space does not know is drawn at random
    and noted with the trial, under `parameters`. `should_prune` carries the scheduler's answer; a paused trial begins
    again when it goes on, for Optuna's objectives have no checkpoints.

    Args:
        objective: `package.module:name`, `FILE.py:name`, or the function.
        space: the study's parameters; without it they are found out by calling the objective a few times, in a
            process of its own and up to its first report.
        folder: that a relative file is relative to.
    """

    reusable = False

    def __init__(
        self,
        objective: str | Callable[[Any], Any],
        *,
        space: SearchSpace | None = None,
        folder: Path | None = None,
    ) -> None:
        self._target, self._folder = objective, folder or Path.cwd()
        self._code = Code(objective, folder)
        self._given = space
        self._metrics: tuple[str, ...] = ()

    @cached_property
    def space(self) -> SearchSpace:
        """The parameters: those given, else those that the objective asks for.

        Raises:
            SpaceError: if it is a function without a name to import, or asks for nothing.
        """
        if self._given is not None:
            return self._given
        if not isinstance(self._target, str):
            raise SpaceError("give `space` beside a function, or name the objective as `file.py:name`.")
        from autosearch.tasks.optuna_objective_probe import discover

        return discover(self._target, self._folder)

    def check(self, problem: Problem) -> None:
        """Import the objective and learn the names of its results.

        Raises:
            ResolveError: if it cannot be found.
        """
        self._code.load()
        self._metrics = problem.metric_names
        if self._given is not None:
            self._given = problem.space

    def prepare(self) -> None:
        """Import the objective's module."""
        self._code.load()

    def run(self, job: Job) -> Generator[Progress, Decision, Progress | None]:
        """The objective in a thread of its own, for runners that share its process."""
        return as_generator(self.drive, job)

    def drive(self, job: Job, report: Report) -> Progress | None:
        """Call the objective; the values that it returns are the result.

        Raises:
            PrunedByItselfError: if it raises TrialPruned without having been told to.
            StudyError: if it returns another number of values than the study has objectives.
        """
        trial = StudyTrial(job, report, self._metrics, self._given)
        try:
            returned = self._code.load()(trial)
        except TrialPruned as error:
            if trial.decision is Decision.CONTINUE:
                raise PrunedByItselfError(f"the objective raised TrialPruned by itself. {error}") from error
            return Progress({}, data=trial.notes)
        values = returned if isinstance(returned, Sequence) else [returned]
        if len(values) != len(self._metrics):
            raise StudyError(f"the objective returned {returned!r} for {', '.join(self._metrics)}.")
        try:
            results = {name: float(value) for name, value in zip(self._metrics, values, strict=True)}
        except (TypeError, ValueError) as error:
            raise StudyError(
                f"the objective returned {returned!r} for {', '.join(self._metrics)}."
            ) from error
        return Progress({**results, **trial.constraints}, data=trial.notes)


class StudyTrial(BaseTrial):
    """Optuna's trial, with the study behind it."""

    def __init__(
        self, job: Job, report: Report, metrics: Sequence[str], space: SearchSpace | None = None
    ) -> None:
        self.decision = Decision.CONTINUE
        self._job, self._report, self._metrics = job, report, metrics
        self._space, self._config = space, flatten(job.config)
        self._params: dict[str, Any] = {}
        self._distributions: dict[str, BaseDistribution] = {}
        self._drawn: dict[str, Json] = {}
        self._user_attrs: dict[str, Any] = {}
        self._constraints: dict[str, float] = {}
        self._begun = datetime.now()

    # -- suggestions ---------------------------------------------------------------------------------------

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._suggest(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._suggest(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._suggest(name, CategoricalDistribution(list(choices)))

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        return self.suggest_float(name, low, high, step=q)

    def _suggest(self, name: str, asked: BaseDistribution) -> Any:
        if name in self._params:
            check_distribution_compatibility(self._distributions[name], asked)
            return self._params[name]
        if self._space is not None and name in self._space.parameters:
            _refuse_difference(name, asked, self._space.parameters[name])
        value = self._config.get(name)
        if name not in self._config or not contains(asked, value):
            value = draw(asked, derive_rng(self._job.seed, "optuna", name).random())
            self._drawn[name] = {"value": value, **definition(asked)}
        self._params[name], self._distributions[name] = value, asked
        return value

    # -- reports -------------------------------------------------------------------------------------------

    def report(self, value: float, step: int) -> None:
        if len(self._metrics) != 1:
            raise NotImplementedError("Trial.report is not supported for multi-objective optimization.")
        self.decision = self._report(Progress({self._metrics[0]: float(value)}, int(step), data=self.notes))

    def should_prune(self) -> bool:
        return self.decision is not Decision.CONTINUE

    @property
    def notes(self) -> dict[str, Json]:
        """What the record keeps besides values."""
        notes: dict[str, Json] = {}
        if self._drawn:
            notes["parameters"] = self._drawn
        if self._user_attrs:
            notes["user_attrs"] = _noted(self._user_attrs)
        return notes

    def set_user_attr(self, key: str, value: Any) -> None:
        self._user_attrs[str(key)] = value

    def set_constraint(self, key: str, value: float) -> None:
        self._constraints[key] = float(value)

    @property
    def constraints(self) -> dict[str, float]:
        return dict(self._constraints)

    @property
    def params(self) -> dict[str, Any]:
        return dict(self._params)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return dict(self._distributions)

    @property
    def user_attrs(self) -> dict[str, Any]:
        return dict(self._user_attrs)

    @property
    def datetime_start(self) -> datetime:
        return self._begun

    @property
    def number(self) -> int:
        return self._job.number


def _noted(value: Any) -> Json:
    """A user's attribute as JSON; Optuna keeps any object in memory, of others than these the text stays."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _noted(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_noted(part) for part in value]
    if hasattr(value, "tolist"):  # an array, a tensor, or a number of theirs
        return _noted(value.tolist())
    return repr(value)[:_MOST_TEXT]


# -- distributions and parameters ----------------------------------------------------------------------------


def definition(asked: BaseDistribution) -> dict[str, Json]:
    """What an objective asks for, as a study file writes it."""
    if isinstance(asked, CategoricalDistribution):
        return {"type": "categorical", "choices": list(asked.choices)}
    if not isinstance(asked, FloatDistribution | IntDistribution):
        raise TypeError(f"unknown distribution {asked!r}.")
    kind = "float" if isinstance(asked, FloatDistribution) else "int"
    found: dict[str, Json] = {"type": kind, "low": asked.low, "high": asked.high}
    if asked.log:
        found["log"] = True
    elif asked.step is not None and not (kind == "int" and asked.step == 1):
        found["grid"] = asked.step
    return found


def contains(asked: BaseDistribution, value: Any) -> bool:
    """Whether `value` is one that the objective allows."""
    if isinstance(asked, CategoricalDistribution):
        return value in asked.choices
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return bool(asked._contains(asked.to_internal_repr(value)))


def draw(asked: BaseDistribution, share: float) -> Any:
    """The value at `share` (0 to 1) of what the objective asks for."""
    if isinstance(asked, CategoricalDistribution):
        return asked.choices[min(int(share * len(asked.choices)), len(asked.choices) - 1)]
    parameter = _parameter(definition(asked))
    return SearchSpace({"value": parameter}).decode([[share]])[0]["value"]  # type: ignore[arg-type]


def _parameter(entry: Mapping[str, Any]) -> Parameter:
    return SearchSpace({"value": dict(entry)}).parameters["value"]


def _refuse_difference(name: str, asked: BaseDistribution, known: Parameter) -> None:
    wanted = _parameter(definition(asked))
    if isinstance(known, Float | Int) and type(known) is type(wanted):
        same = (known.low, known.high, known.log, known.grid) == (
            wanted.low,
            wanted.high,
            wanted.log,
            wanted.grid,
        )
    elif isinstance(known, Categorical | Ordinal) and isinstance(wanted, Categorical):
        same = list(known.choices) == list(wanted.choices)
    else:
        same = not isinstance(
            known, Float | Int | Categorical | Ordinal
        )  # fixed and derived: the value decides
    if not same:
        raise SpaceError(
            f"{name}: the objective asks for {definition(asked)}, `space` says {known!r}. They must agree."
        )
