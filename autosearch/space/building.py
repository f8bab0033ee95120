"""Turns a definition into named parameters, constraints and an order of evaluation, with every problem at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from autosearch.space.errors import ExpressionError, SpaceError, Where
from autosearch.space.expressions import Expression
from autosearch.space.operators import show
from autosearch.space.parameters import Derived, Parameter
from autosearch.space.parsing import parse_parameter
from autosearch.space.scanning import odd_names
from autosearch.space.subspace import Group, Subspace, full_name, group_of

_MAX_NAME = 200
_MAX_HINTS = 50  # the search for similar names is not free, and nobody reads more


@dataclass
class Blueprint:
    """A search space taking shape.

    Attributes:
        parameters: full name -> parameter, in declaration order.
        places: full name -> path in the study file.
        require: constraints.
        groups: the subspaces.
        order: names such that each comes after those that its expressions use.
        problems: everything that is wrong.
    """

    parameters: dict[str, Parameter] = field(default_factory=dict)
    places: dict[str, Where] = field(default_factory=dict)
    require: list[tuple[Where, Expression]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    order: tuple[str, ...] = ()
    problems: list[SpaceError] = field(default_factory=list)
    # Names of parameters that are wrong themselves: others may still refer to them.
    failed: set[str] = field(default_factory=set)


def build(definition: object, require: object) -> Blueprint:
    """Read a definition; the blueprint is usable if it has no problems."""
    plan = Blueprint()
    if not isinstance(definition, Mapping):
        plan.problems.append(
            SpaceError(f"must be a mapping of parameters, not {show(definition)}", ("space",))
        )
        definition = {}
    for name, entry in definition.items():
        problem = _name_problem(name, is_subspace=isinstance(entry, Subspace))
        if problem:
            plan.problems.append(SpaceError(problem, ("space", str(name))))
        elif isinstance(entry, Subspace):
            _expand(plan, name, entry, definition)
        elif name not in plan.parameters:  # a subspace before it may have used it as an override
            _add(plan, name, entry)
    _read_require(plan, require)
    _check_prefixes(plan)
    _check_expressions(plan)
    _sort(plan)
    return plan


def _name_problem(name: object, *, is_subspace: bool) -> str | None:
    if not isinstance(name, str):
        return f"a parameter's name is text, not {show(name)}"
    if is_subspace and not name:
        return None
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable() or any(c.isspace() or c == "`" for c in name):
        return (
            f"a parameter's name is printable text of 1 to {_MAX_NAME} characters without blanks and backticks, "
            f"not {show(name)}"
        )
    if not all(name.split(".")):
        return f"a dot in a name stands between two parts, not as in {show(name)}"
    return None


def _add(plan: Blueprint, name: str, entry: object) -> None:
    plan.places[name] = ("space", name)
    try:
        plan.parameters[name] = parse_parameter(entry, plan.places[name])
    except SpaceError as error:
        plan.failed.add(name)
        plan.problems.extend(error.problems)


def _expand(plan: Blueprint, place: str, subspace: Subspace, definition: Mapping[Any, Any]) -> None:
    inner = {name: full_name(place, name) for name in subspace.parameters}
    overridden = frozenset(name for name, full in inner.items() if full in definition)
    for name, full in inner.items():
        problem = _name_problem(full, is_subspace=False)
        if problem:
            plan.problems.append(SpaceError(problem, ("space", place)))
        elif name in overridden:
            if full not in plan.parameters and full not in plan.failed:
                _add(plan, full, definition[full])
        elif full in plan.parameters:
            plan.problems.append(SpaceError(f"two subspaces define the parameter '{full}'", ("space", place)))
        else:
            plan.places[full] = ("space", place, name)
            plan.parameters[full] = _rename(plan, subspace.parameters[name], inner, plan.places[full])
    for i, text in enumerate(subspace.require):
        where = ("space", place, "require", i)
        try:
            expression = Expression.parse(text, where)
            plan.require.append((where, expression.renamed(inner) if place else expression))
        except ExpressionError as error:
            plan.problems.append(ExpressionError(error.message, where))
    plan.groups.append(group_of(place, subspace, overridden))


def _rename(plan: Blueprint, parameter: Parameter, names: Mapping[str, str], where: Where) -> Parameter:
    if not where[1]:  # without a prefix nothing changes, not even the blanks in an expression
        return parameter
    try:
        if isinstance(parameter, Derived):
            parameter = replace(parameter, expr=parameter.expression.renamed(names))
        if parameter.condition is not None:
            parameter = replace(parameter, when=parameter.condition.renamed(names))
    except ExpressionError as error:
        plan.problems.append(ExpressionError(error.message, where))
    return parameter


def _read_require(plan: Blueprint, require: object) -> None:
    if isinstance(require, str) or not isinstance(require, Sequence):
        plan.problems.append(SpaceError(f"must be a list of expressions, not {show(require)}", ("require",)))
        return
    for i, text in enumerate(require):
        where: Where = ("require", i)
        try:
            plan.require.append(
                (where, text if isinstance(text, Expression) else Expression.parse(text, where))
            )
        except ExpressionError as error:
            plan.problems.append(error)


def _check_prefixes(plan: Blueprint) -> None:
    names = plan.parameters.keys() | plan.failed
    for name in [*plan.parameters, *sorted(plan.failed)]:
        parts = name.split(".")
        for n in range(1, len(parts)):
            prefix = ".".join(parts[:n])
            if prefix in names:
                message = f"'{prefix}' is a parameter and also the prefix of '{name}'; rename one of them"
                plan.problems.append(SpaceError(message, plan.places[name]))


def _expressions(plan: Blueprint, name: str) -> list[tuple[str, Expression]]:
    parameter = plan.parameters[name]
    found = [("when", parameter.condition)] if parameter.condition is not None else []
    return [*found, ("expr", parameter.expression)] if isinstance(parameter, Derived) else [*found]


def _check_expressions(plan: Blueprint) -> None:
    known = frozenset(plan.parameters.keys() | plan.failed)
    odd = odd_names(known)

    def check(expression: Expression, where: Where) -> None:
        hints = known if len(plan.problems) < _MAX_HINTS else ()
        plan.problems.extend(expression.name_problems(known, odd, hints, where))

    for name in plan.parameters:
        for key, expression in _expressions(plan, name):
            where = (*plan.places[name], key)
            check(expression, where)
            if key == "when" and not expression.names:
                plan.problems.append(ExpressionError(f"names no parameter: {expression.text}", where))
    for where, expression in plan.require:
        check(expression, where)
        if not expression.names:
            plan.problems.append(ExpressionError(f"names no parameter: {expression.text}", where))


def _sort(plan: Blueprint) -> None:
    graph = {
        # Sorted, as the order of a set of strings changes from one process to the next.
        name: sorted(
            {used for _, e in _expressions(plan, name) for used in e.names if used in plan.parameters}
        )
        for name in plan.parameters
    }
    try:
        plan.order = tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        key = next(k for k, e in _expressions(plan, cycle[0]) if cycle[1] in e.names)
        message = f"the expressions go in a circle: {' -> '.join(cycle)}"
        plan.problems.append(SpaceError(message, (*plan.places[cycle[0]], key)))
