"""The search space: named parameters with conditions and constraints, and their encoding in the unit cube.

Symbols:

| symbol | meaning | shape |
|---|---|---|
| `n` | configurations | |
| `d` | searched parameters, in declaration order | |
| `X` | encoded configurations, entries in [0, 1]; 0.5 where a parameter is inactive | `(n, d)` |
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from autosearch.space.building import Blueprint, build
from autosearch.space.errors import InactiveError, SpaceError, Where, report
from autosearch.space.grid import Grid
from autosearch.space.moves import neighbours
from autosearch.space.nearest import did_you_mean
from autosearch.space.operators import Value, show, truth
from autosearch.space.parameters import Derived, Fixed, Parameter, Searched
from autosearch.space.priors import log_prior
from autosearch.space.sampling import met, sample
from autosearch.space.subspace import Config, Group, Subspace

if TYPE_CHECKING:
    from autosearch.space.expressions import Expression

Definition = Parameter | Subspace | Mapping[str, Any] | Sequence[Any] | Value


class SearchSpace:
    """Named parameters with conditions and input constraints. Immutable, picklable, equal by definition.

    Args:
        parameters: name -> parameter, subspace, or the form that study files use. The parameters of a
            subspace under `layer` are called `layer.inner`; a key `layer.inner` beside it overrides one of
            them; the key `""` places a subspace without a prefix.
        require: input constraints, expressions over parameters.

    Raises:
        SpaceError: the definition breaks a rule; `problems` holds every one.
    """

    def __init__(
        self, parameters: Mapping[str, Definition], require: Sequence[str | Expression] = ()
    ) -> None:
        plan = build(parameters, require)
        if plan.problems:
            raise report(plan.problems)
        try:
            self._adopt(plan)
        except SpaceError as error:
            raise report([error]) from None

    @classmethod
    def collect(
        cls, definition: Mapping[str, Any], require: Sequence[str] = ()
    ) -> tuple[SearchSpace | None, list[SpaceError]]:
        """The space, or every problem of its definition: `where` is `("space", name, key…)` or `("require", i)`."""
        plan = build(definition, require)
        if plan.problems:
            return None, [part for problem in plan.problems for part in problem.problems]
        space = cls.__new__(cls)
        try:
            space._adopt(plan)
        except SpaceError as error:
            return None, list(error.problems)
        return space, []

    def _adopt(self, plan: Blueprint) -> None:
        self._parameters = plan.parameters
        self._groups: tuple[Group, ...] = tuple(plan.groups)
        self._plan = tuple(
            (name, plan.parameters[name], plan.parameters[name].condition) for name in plan.order
        )
        self._columns: dict[str, Searched] = {
            name: parameter for name, parameter in plan.parameters.items() if isinstance(parameter, Searched)
        }
        self._position = {name: i for i, name in enumerate(plan.parameters)}
        # Sorting by position is needed only if an expression uses a parameter that is declared later.
        self._in_order = plan.order == tuple(plan.parameters)
        self.require: tuple[Expression, ...] = tuple(expression for _, expression in plan.require)
        self.searched: tuple[str, ...] = tuple(self._columns)
        self.dimensions: int = len(self.searched)
        self.first: tuple[dict[str, Value], ...] = self._first()

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """All parameters, in declaration order."""
        return MappingProxyType(self._parameters)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The subspaces that the parameters came from."""
        return self._groups

    @property
    def size(self) -> int | None:
        """Number of combinations of values, conditions and constraints aside; None if one is continuous."""
        counts = [parameter.n_values for parameter in self._columns.values()]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    @property
    def conditions(self) -> Mapping[str, Expression]:
        """Name -> its own `when`; a condition that touches an inactive parameter is not met."""
        return {name: p.condition for name, p in self._parameters.items() if p.condition is not None}

    def parents(self, name: str) -> frozenset[str]:
        """The names that the condition of `name` uses."""
        condition = self._parameters[name].condition
        return frozenset() if condition is None else condition.names

    def __repr__(self) -> str:
        return f"SearchSpace({len(self._parameters)} parameters, {len(self.require)} constraints)"

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, SearchSpace) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    # Configurations

    def complete(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The canonical configuration that values of the searched parameters stand for.

        Inactive parameters are dropped, fixed and derived ones added. Constraints are not checked.

        Raises:
            SpaceError: an active parameter is missing, a name is unknown, a value is not allowed, a fixed or
                derived value is contradicted, or a condition cannot be evaluated; all in one message.
        """
        problems = [
            SpaceError(
                f"there is no such parameter.{did_you_mean(str(name), self._parameters)}", (str(name),)
            )
            for name in values
            if name not in self._parameters
        ]
        config = self._assemble(values, problems, trusted=False)
        if problems:
            raise report(problems)
        return config

    def _assemble(self, values: Config, problems: list[SpaceError], *, trusted: bool) -> dict[str, Value]:
        """Evaluate conditions in order of dependence; `trusted` values are canonical already."""
        config: dict[str, Value] = {}
        for name, parameter, condition in self._plan:
            try:
                if condition is not None and not truth(condition.evaluate(config)):
                    continue
                if not isinstance(parameter, Searched):
                    config[name] = _settled(parameter, config, values.get(name), given=name in values)
                elif trusted:
                    config[name] = values[name]
                elif name in values:
                    config[name] = parameter.canonical(values[name])
                else:
                    problems.append(SpaceError("has no value, but is active", (name,)))
            except InactiveError:
                continue
            except SpaceError as error:
                problems.append(error.under((name,)))
        if self._in_order:
            return config
        return dict(sorted(config.items(), key=lambda item: self._position[item[0]]))

    def validate(self, config: Mapping[str, Value]) -> dict[str, Value]:
        """`complete`, with the constraints checked.

        Raises:
            SpaceError: as in `complete`, or a constraint is violated.
        """
        completed = self.complete(config)
        problems = []
        for expression in self.require:
            if not met(expression, completed):
                used = ", ".join(
                    f"{name} = {show(completed[name])}" for name in sorted(expression.names & set(completed))
                )
                problems.append(SpaceError(f"the constraint {expression.text} is violated with {used}"))
        if problems:
            raise report(problems)
        return completed

    def satisfies(self, config: Config) -> bool:
        """Whether the constraints hold; one that touches an inactive parameter does, one that fails does not."""
        return all(met(expression, config) for expression in self.require)

    def sample(self, rng: np.random.Generator, n: int) -> list[dict[str, Value]]:
        """`n` feasible configurations, uniform in the unit cube apart from subspaces that sample themselves.

        Raises:
            SpaceError: hardly any draw meets the constraints.
        """
        return sample(self, rng, n)

    def neighbours(self, config: Config, rng: np.random.Generator, n: int) -> list[dict[str, Value]]:
        """Up to `n` different feasible configurations that differ from `config` in one searched parameter.

        Numbers take a Gaussian step of 0.2 in the unit cube, ordinals one of one or two places, categoricals
        another choice. Parameters that become active are drawn at random.

        Raises:
            SpaceError: `config` is not valid in this space.
        """
        return neighbours(self, config, rng, n)

    def key(self, config: Config) -> Hashable:
        """The identity of a configuration: equal for duplicates, by a subspace's own `canonical` if it has one."""
        hooked = [group for group in self._groups if group.subspace.canonical is not None]
        covered = {name for group in hooked for name in group.names.values()}
        plain = tuple(
            (name, config[name]) for name in self.searched if name in config and name not in covered
        )
        keys = tuple(
            group.subspace.canonical(group.inner(config)) for group in hooked if group.subspace.canonical
        )
        return (plain, keys)

    def grid(self, points: int, *, every: bool = False) -> Grid:
        """All combinations, lazily: `points` values for a Float and an Int of many values, else every value.

        With `every` also every value of an Int or a gridded Float, however many; ask `cells` first.

        Raises:
            SpaceError: `points` is below 1.
        """
        return Grid(self, points, every=every)

    def cells(self, points: int) -> int:
        """Number of cells of `grid(points, every=True)`, without making it."""
        counts = (parameter.n_values for parameter in self._columns.values())
        return math.prod(points if count is None else count for count in counts)

    @property
    def start(self) -> dict[str, Value]:
        """A value for every searched parameter: its default, else the middle of its range."""
        return {name: parameter.start for name, parameter in self._columns.items()}

    def _first(self) -> tuple[dict[str, Value], ...]:
        start = self.start
        queue: list[dict[str, Value]] = []
        if any(getattr(parameter, "default", None) is not None for parameter in self._columns.values()):
            queue.append(self.complete(start))
        for group in self._groups:
            for i, inner in enumerate(group.subspace.first):
                try:
                    queue.append(self.complete({**start, **group.outer(inner)}))
                except SpaceError as error:
                    raise error.under(("space", group.place, "first", i)) from None
        unique: dict[Hashable, dict[str, Value]] = {}
        for config in queue:
            if self.satisfies(config):
                unique.setdefault(self.key(config), config)
        return tuple(unique.values())

    # Encoding

    def encode(self, configs: Sequence[Config]) -> np.ndarray:
        """Configurations as points of the unit cube, shape `(n, d)`; inactive entries are 0.5.

        Raises:
            SpaceError: a value is not allowed.
        """
        encoded = np.full((len(configs), self.dimensions), 0.5)
        for j, (name, parameter) in enumerate(self._columns.items()):
            rows = [i for i, config in enumerate(configs) if name in config]
            if rows:
                try:
                    encoded[rows, j] = parameter.to_unit_array([configs[i][name] for i in rows])
                except SpaceError as error:
                    raise report([error.under((name,))]) from None
        return encoded

    def active(self, configs: Sequence[Config]) -> np.ndarray:
        """Which searched parameters each configuration has, bool, shape `(n, d)`."""
        flags = [[name in config for name in self.searched] for config in configs]
        return np.array(flags, dtype=bool).reshape(len(configs), self.dimensions)

    def decode(self, X: np.ndarray) -> list[dict[str, Value]]:  # noqa: N803
        """Configurations at points of the unit cube, shape `(n, d)`; the exact inverse of `encode`.

        Entries outside [0, 1] are clipped. Constraints are not checked.

        Raises:
            SpaceError: the shape is wrong, an entry is NaN, or a condition cannot be evaluated.
        """
        configs = []
        for values in self._values_at(X):
            problems: list[SpaceError] = []
            configs.append(self._assemble(values, problems, trusted=True))
            if problems:
                raise report(problems)
        return configs

    def decode_feasible(self, X: np.ndarray) -> list[dict[str, Value] | None]:  # noqa: N803
        """As `decode`, with None where a constraint is violated or an expression cannot be evaluated.

        Raises:
            SpaceError: the shape is wrong or an entry is NaN.
        """
        return [self._feasible(values) for values in self._values_at(X)]

    def _feasible(self, values: Config) -> dict[str, Value] | None:
        problems: list[SpaceError] = []
        config = self._assemble(values, problems, trusted=True)
        return None if problems or not self.satisfies(config) else config

    def _values_at(self, X: np.ndarray) -> list[dict[str, Value]]:  # noqa: N803
        X = np.asarray(X, dtype=np.float64)  # noqa: N806
        if X.ndim != 2 or X.shape[1] != self.dimensions:
            raise SpaceError(f"points must have the shape (n, {self.dimensions}), not {X.shape}")
        if not self.dimensions:
            return [{} for _ in range(len(X))]
        columns = []
        for j, (name, parameter) in enumerate(self._columns.items()):
            try:
                columns.append(parameter.from_unit_array(X[:, j]))
            except SpaceError as error:
                raise report([error.under((name,))]) from None
        return [dict(zip(self.searched, row, strict=True)) for row in zip(*columns, strict=True)]

    def log_prior(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        """Log density of the users' priors at encoded points, shape `(n,)`; zero without priors."""
        return log_prior(self, np.asarray(X, dtype=np.float64))

    # Parts

    def part(self, names: Collection[str]) -> SearchSpace:
        """The space of the searched parameters `names` alone, in the order of this space.

        Conditions, constraints, derived parameters and subspaces that also need others are left out of it: what is
        chosen in it becomes a configuration of the whole space only together with the rest.

        Raises:
            SpaceError: a name is no searched parameter.
        """
        unknown = [name for name in names if name not in self._columns]
        if unknown:
            raise SpaceError("is no searched parameter", (unknown[0],))
        kept: dict[str, Parameter] = {}
        for name, parameter, condition in self._plan:
            inside = condition is None or condition.names <= kept.keys()
            if isinstance(parameter, Searched):
                if name in names:
                    kept[name] = parameter if inside else replace(parameter, when=None)
            elif inside and (not isinstance(parameter, Derived) or parameter.expression.names <= kept.keys()):
                kept[name] = parameter
        parameters = {name: kept[name] for name in self._parameters if name in kept}
        groups = [group for group in self._groups if set(group.searched) <= set(names) and group.searched]
        require: list[tuple[Where, Expression]] = [
            ((), expression) for expression in self.require if expression.names <= kept.keys()
        ]
        order = tuple(name for name, _, _ in self._plan if name in kept)
        space = SearchSpace.__new__(SearchSpace)
        space._adopt(Blueprint(parameters=parameters, require=require, groups=groups, order=order))
        return space

    # Travelling and comparing

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form with an exact way back; the hooks of subspaces do not travel."""
        return {
            "parameters": {name: parameter.to_dict() for name, parameter in self._parameters.items()},
            "require": [expression.text for expression in self.require],
            "first": [dict(config) for config in self.first],
        }

    @classmethod
    def from_dict(cls, definition: Mapping[str, Any]) -> SearchSpace:
        """The space that `to_dict` described.

        Raises:
            SpaceError: the description breaks a rule.
        """
        if not isinstance(definition, Mapping) or not {"parameters", "require"} <= definition.keys():
            raise SpaceError("a described space has the keys 'parameters' and 'require'")
        inner = Subspace(
            definition["parameters"], tuple(definition["require"]), tuple(definition.get("first", ()))
        )
        return cls({"": inner})

    def fingerprint(self) -> str:
        """A stable hash of the definition; configurations to try first do not count."""
        described = self.to_dict()
        content = [list(described["parameters"].items()), described["require"]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def diff(self, other: SearchSpace) -> list[str]:
        """What `other` changes, a line each: `lr: high 0.1 -> 0.2`, `+ momentum`, `- width`; empty if equal."""
        mine, theirs = self.to_dict(), other.to_dict()
        lines = []
        for name, old in mine["parameters"].items():
            new = theirs["parameters"].get(name)
            if new is None:
                lines.append(f"- {name}")
                continue
            lines.extend(
                f"{name}: {key} {_side(old, key)} -> {_side(new, key)}"
                for key in dict.fromkeys([*old, *new])
                # As JSON, for which 1, 1.0 and true differ.
                if json.dumps(old.get(key)) != json.dumps(new.get(key))
            )
        lines.extend(f"+ {name}" for name in theirs["parameters"] if name not in mine["parameters"])
        lines.extend(f"- require {text}" for text in mine["require"] if text not in theirs["require"])
        lines.extend(f"+ require {text}" for text in theirs["require"] if text not in mine["require"])
        shared = [name for name in mine["parameters"] if name in theirs["parameters"]]
        if shared != [name for name in theirs["parameters"] if name in mine["parameters"]]:
            lines.append(f"order of the parameters: {', '.join(theirs['parameters'])}")
        return lines


def _side(definition: Mapping[str, Any], key: str) -> str:
    return show(definition[key]) if key in definition else "(none)"


def _settled(parameter: Parameter, config: Config, given_value: Value, *, given: bool) -> Value:
    """The value of a fixed or derived parameter; what the user gave must agree with it."""
    if isinstance(parameter, Fixed):
        value = parameter.value
    elif isinstance(parameter, Derived):
        value = parameter.expression.evaluate(config)
    else:
        raise TypeError(f"{type(parameter).__name__} is searched")
    if given and given_value != value:
        both = isinstance(value, float) and isinstance(given_value, int | float)
        if not (both and math.isclose(value, given_value, rel_tol=1e-9)):  # type: ignore[arg-type]
            raise SpaceError(f"is {show(value)} here, not {show(given_value)}; leave it out")
    return value


def nest(config: Config) -> dict[str, Any]:
    """A configuration with dotted names as nested mappings: `{"a.b": 1}` becomes `{"a": {"b": 1}}`.

    Raises:
        SpaceError: a name is both a value and the prefix of another name.
    """
    nested: dict[str, Any] = {}
    for name, value in config.items():
        *path, leaf = name.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise SpaceError(f"'{name}' lies below a name that has a value itself")
        if leaf in place:
            raise SpaceError(f"'{name}' is a value and also the prefix of another name")
        place[leaf] = value
    return nested
