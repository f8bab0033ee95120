"""A group of parameters that is placed under a name as a whole."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autosearch.space.errors import SpaceError, report
from autosearch.space.operators import Value
from autosearch.space.parameters import Parameter, Searched
from autosearch.space.parsing import parse_parameter

if TYPE_CHECKING:
    import numpy as np

Config = Mapping[str, Value]
"""Flat: dotted names of the active parameters, fixed and derived ones included."""


@dataclass(frozen=True)
class Subspace:
    """A shipped space, or a user's: parameters with their constraints and, for architectures, their own moves.

    Attributes:
        parameters: inner name -> parameter; the forms of a study file are accepted too.
        require: input constraints on inner names.
        first: configurations on inner names to try first; what they leave out is completed.
        neighbours: `(config, rng, n) -> configs` on inner names; replaces the default move.
        canonical: `config -> key` on inner names; configurations with equal keys are the same function.
        sample: `rng -> config` on inner names; replaces uniform sampling. Names left out are drawn uniformly.

    Raises:
        SpaceError: a parameter's definition breaks a rule.
    """

    parameters: Mapping[str, Parameter]
    require: tuple[str, ...] = ()
    first: tuple[Mapping[str, Value], ...] = ()
    neighbours: Callable[[Config, np.random.Generator, int], list[dict[str, Value]]] | None = None
    canonical: Callable[[Config], Hashable] | None = None
    sample: Callable[[np.random.Generator], dict[str, Value]] | None = None

    def __post_init__(self) -> None:
        parsed, problems = {}, []
        for name, definition in self.parameters.items():
            try:
                parsed[name] = parse_parameter(definition, (name,))
            except SpaceError as error:
                problems.append(error)
        if problems:
            raise report(problems, "Subspace")
        object.__setattr__(self, "parameters", parsed)
        object.__setattr__(self, "require", tuple(self.require))
        object.__setattr__(self, "first", tuple(dict(config) for config in self.first))


@dataclass(frozen=True)
class Group:
    """Where a subspace stands in a search space.

    Attributes:
        place: the name it was placed under; empty at the top.
        subspace: the subspace itself.
        names: inner name -> full name, of every parameter that it still governs.
        overridden: inner names that the user defined anew; the subspace's hooks do not touch them.
        searched: full names of the searched parameters among `names`.
    """

    place: str
    subspace: Subspace
    names: Mapping[str, str]
    overridden: frozenset[str] = field(default_factory=frozenset)
    searched: tuple[str, ...] = ()

    def inner(self, config: Config) -> dict[str, Value]:
        """The part of a configuration that belongs here, on inner names; overridden parameters included."""
        places = {**self.names, **{name: full_name(self.place, name) for name in self.overridden}}
        return {name: config[full] for name, full in places.items() if full in config}

    def outer(self, values: Config) -> dict[str, Value]:
        """Inner values on full names, without overridden parameters.

        Raises:
            SpaceError: a hook returned a name that is no parameter of the subspace.
        """
        unknown = [name for name in values if name not in self.names and name not in self.overridden]
        if unknown:
            raise SpaceError(
                f"a hook of the subspace '{self.place}' returned the unknown name '{unknown[0]}'"
            )
        return {self.names[name]: value for name, value in values.items() if name in self.names}


def full_name(place: str, name: str) -> str:
    """The name of a subspace's parameter in the search space."""
    return f"{place}.{name}" if place else name


def group_of(place: str, subspace: Subspace, overridden: frozenset[str]) -> Group:
    """The group that a subspace forms under `place`."""
    names = {name: full_name(place, name) for name in subspace.parameters if name not in overridden}
    searched = tuple(full for name, full in names.items() if isinstance(subspace.parameters[name], Searched))
    return Group(place, subspace, names, overridden, searched)
