"""Reads one parameter from the form that study files use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from autosearch.space.errors import SpaceError, Where, join
from autosearch.space.nearest import did_you_mean, nearest
from autosearch.space.operators import Value, show
from autosearch.space.parameters import (
    CONFIDENCES,
    Categorical,
    Derived,
    Fixed,
    Float,
    Int,
    Ordinal,
    Parameter,
    Prior,
    is_value,
)

_KINDS: dict[str, type[Parameter]] = {
    kind.kind: kind for kind in (Float, Int, Categorical, Ordinal, Fixed, Derived)
}
_REQUIRED = {
    "float": ("low", "high"),
    "int": ("low", "high"),
    "categorical": ("choices",),
    "ordinal": ("choices",),
    "fixed": ("value",),
    "derived": ("expr",),
}


def parse_parameter(definition: object, where: Where = ()) -> Parameter:
    """The parameter that a definition describes: a mapping, a list, a scalar, or a parameter already.

    Raises:
        SpaceError: the definition breaks a rule; `problems` holds every one, `where` leads each.
    """
    if isinstance(definition, Parameter):
        return definition
    try:
        if isinstance(definition, Mapping):
            return _from_mapping(definition)
        if isinstance(definition, list | tuple):
            return Categorical(definition)
        if is_value(definition):
            return Fixed(definition)  # type: ignore[arg-type]
    except SpaceError as error:
        raise error.under(where) from None
    raise SpaceError(f"must be a mapping, a list of choices or a scalar, not {show(definition)}", where)


def _from_mapping(definition: Mapping[Any, Any]) -> Parameter:
    kind = _kind_of(definition)
    names = [entry.name for entry in fields(_KINDS[kind]) if entry.init]
    problems = [
        SpaceError(f"unknown key.{did_you_mean(str(key), ['type', *names])}", (str(key),))
        for key in definition
        if key != "type" and key not in names
    ]
    missing = [name for name in _REQUIRED[kind] if name not in definition]
    meant = {name for key in definition if key not in names for name in nearest(str(key), names)}
    problems.extend(
        SpaceError(f"'{name}' is missing; a {kind} parameter needs it")
        for name in missing
        if name not in meant
    )
    given = {key: value for key, value in definition.items() if key in names}
    if isinstance(given.get("prior"), Mapping):
        try:
            given["prior"] = _prior(given["prior"])
        except SpaceError as error:
            problems.append(error.under(("prior",)))
            del given["prior"]
    if not missing:
        try:
            parameter = _KINDS[kind](**given)
        except SpaceError as error:
            problems.append(error)
    if problems:
        raise join(problems)
    return parameter


def _kind_of(definition: Mapping[Any, Any]) -> str:
    if "use" in definition:
        raise SpaceError("'use' works in a study file only; in Python pass the Subspace itself", ("use",))
    if "type" in definition:
        kind = definition["type"]
        if isinstance(kind, str) and kind in _KINDS:
            return kind
        hint = did_you_mean(kind, _KINDS) if isinstance(kind, str) else ""
        raise SpaceError(f"must be one of {', '.join(_KINDS)}; not {show(kind)}.{hint}", ("type",))
    for key, kind in (("expr", "derived"), ("value", "fixed")):
        if key in definition:
            return kind
    hints = [(str(key), did_you_mean(str(key), ["type", "expr", "value", "use"])) for key in definition]
    near = [SpaceError(f"unknown key.{hint}", (key,)) for key, hint in hints if hint]
    raise near[0] if near else SpaceError(f"'type' is missing; it is one of {', '.join(_KINDS)}")


def _prior(definition: Mapping[Any, Any]) -> Prior:
    known = ("center", "confidence")
    problems = [
        SpaceError(f"unknown key.{did_you_mean(str(key), known)}", (str(key),))
        for key in definition
        if key not in known
    ]
    if "center" not in definition:
        problems.append(SpaceError("'center' is missing; a prior needs it"))
    confidence = definition.get("confidence", "medium")
    if confidence not in CONFIDENCES:
        problems.append(SpaceError(f"must be low, medium or high, not {show(confidence)}", ("confidence",)))
    if problems:
        raise join(problems)
    center: Value = definition["center"]
    return Prior(center, confidence)
