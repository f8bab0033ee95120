"""The JSON schema of study files, for editors: draft 2020-12, made from the same table that reading uses."""

from dataclasses import fields
from typing import Any

from autosearch.core import plugins
from autosearch.space import Categorical, Derived, Fixed, Float, Int, Ordinal
from autosearch.space.base import Base
from autosearch.spec.keys import DIRECTIONS, FORMS, PATHS, REQUIRED, SECTIONS, SEED, STUDY, TOP
from autosearch.spec.values import Key

Schema = dict[str, Any]

_NULL: Schema = {"type": "null"}
_NUMBER: Schema = {"type": "number"}
_TEXT: Schema = {"type": "string", "minLength": 1}
_SCALAR: Schema = {"type": ["null", "boolean", "number", "string"]}
_CHOICES: Schema = {"type": "array", "items": _SCALAR, "minItems": 1}
_EXPRESSIONS: Schema = {"type": "array", "items": _TEXT}
_OBJECTIVES: Schema = {
    "type": "object",
    "additionalProperties": DIRECTIONS.schema(),
    "minProperties": 1,
}
_REFERENCE: Schema = {"type": "string", "pattern": "^.+:.+$"}
_PRIOR: Schema = {
    "type": "object",
    "properties": {"center": _SCALAR, "confidence": {"enum": ["low", "medium", "high"]}},
    "required": ["center"],
    "additionalProperties": False,
}
_FIELDS: dict[str, Schema] = {
    "choices": _CHOICES,
    "default": _SCALAR,
    "expr": _TEXT,
    "grid": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _NULL]},
    "high": _NUMBER,
    "log": {"type": "boolean"},
    "low": _NUMBER,
    "prior": {"anyOf": [_PRIOR, _NULL]},
    "value": _SCALAR,
    "when": {"type": ["string", "null"]},
}
_KINDS: dict[type[Base], tuple[str, ...]] = {
    Float: ("type", "low", "high"),
    Int: ("type", "low", "high"),
    Categorical: ("type", "choices"),
    Ordinal: ("type", "choices"),
    Fixed: ("value",),
    Derived: ("expr",),
}


def json_schema() -> Schema:
    """The schema of a study file; registered plug-ins are listed by name, their options are free."""
    properties: dict[str, Schema] = {key.name: key.kind.schema() for key in (STUDY, SEED, *PATHS)}
    properties |= {name: _mapping(keys) for name, keys in SECTIONS.items()}
    properties |= {
        "run": {"oneOf": [_run(form) for form in FORMS]},
        "objectives": _OBJECTIVES,
        "constraints": _EXPRESSIONS,
        "space": _space(),
        "require": _EXPRESSIONS,
        "searcher": _plugin("searchers"),
        "scheduler": _plugin("schedulers"),
        "finally": _last(),
        "training": {"type": "array", "items": _plugin("training")},
        "loggers": {
            "type": "array",
            "items": {"enum": list(plugins.registered("loggers"))},
            "uniqueItems": True,
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "autosearch study",
        "type": "object",
        "properties": {name: _described(properties[name], name) for name in TOP},
        "required": [name for name in REQUIRED if name != "space"],
        # `optuna:` alone brings a space of its own.
        "anyOf": [
            {"required": ["space"]},
            {"properties": {"run": {"required": ["optuna"]}}},
        ],
        "additionalProperties": False,
    }


def _described(schema: Schema, name: str) -> Schema:
    """The schema of a top-level key with its meaning; null stands for the default of an optional one."""
    if name not in REQUIRED:
        schema = {"anyOf": [schema, _NULL]}
    return {"description": TOP[name], **schema}


def _mapping(keys: tuple[Key, ...]) -> Schema:
    return {
        "type": "object",
        "properties": {
            key.name: {"description": key.about, "default": key.default, "anyOf": [key.kind.schema(), _NULL]}
            for key in keys
        },
        "additionalProperties": False,
    }


def _run(form: str) -> Schema:
    target = {
        "task": {"anyOf": [{"enum": list(plugins.registered("tasks"))}, _REFERENCE]},
        "function": _REFERENCE,
        "optuna": _REFERENCE,
        "command": _TEXT,
    }[form]
    others: Schema = {name: False for name in FORMS if name != form}
    return {
        "type": "object",
        "properties": {form: target, **(others if form == "task" else {})},
        "required": [form],
        "additionalProperties": form == "task",
    }


def _last() -> Schema:
    """Arguments of the task stand beside these keys."""
    return {
        "type": "object",
        "properties": {
            "task": {"anyOf": [{"enum": list(plugins.registered("tasks"))}, _REFERENCE]},
            "objectives": _OBJECTIVES,
            "constraints": _EXPRESSIONS,
            "space": _space(),
            "require": _EXPRESSIONS,
            "searcher": _plugin("searchers"),
            "budget": _mapping(SECTIONS["budget"]),
        },
        "required": ["task"],
    }


def _space() -> Schema:
    return {"anyOf": [_TEXT, {"type": "object", "additionalProperties": _parameter(), "minProperties": 1}]}


def _plugin(kind: str) -> Schema:
    name: Schema = {"anyOf": [{"enum": list(plugins.registered(kind))}, _REFERENCE]}
    return {"anyOf": [name, {"type": "object", "properties": {"method": name}, "required": ["method"]}]}


def _parameter() -> Schema:
    kinds = []
    for kind, required in _KINDS.items():
        names = [entry.name for entry in fields(kind) if entry.init]
        kinds.append(
            {
                "type": "object",
                "properties": {"type": {"const": kind.kind}, **{name: _FIELDS[name] for name in names}},
                "required": list(required),
                "additionalProperties": False,
            }
        )
    used = {"type": "object", "properties": {"use": _TEXT}, "required": ["use"]}
    return {"anyOf": [_SCALAR, _CHOICES, *kinds, used]}
