"""JSON that survives every storage: non-finite numbers are tagged, long texts are cut into parts."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from autosearch.core.errors import RecordError
from autosearch.core.records import Json
from autosearch.record.store import MAX_TEXT

_FLOAT, _MAP, _PARTS = "$float", "$map", "$parts"
_TAGS = frozenset({_FLOAT, _MAP, _PARTS})


def pack(value: Any, where: str) -> Json:
    """`value` as strict JSON: NaN and infinities become `{"$float": "nan"}`, tuples lists.

    Args:
        value: None, bool, int, float, str, numpy scalars, sequences and string-keyed mappings of these.
        where: what the value is called in an error.

    Raises:
        RecordError: for anything else.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)  # of an enum its value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}
    if isinstance(value, np.generic):
        return pack(value.item(), where)
    if isinstance(value, Mapping):
        return _pack_mapping(value, where)
    if isinstance(value, list | tuple):
        return [pack(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise RecordError(
        f"{where}: only JSON can be recorded (numbers, text, lists, mappings), got {type(value).__name__}."
    )


def _pack_mapping(value: Mapping[Any, Any], where: str) -> Json:
    for key in value:
        if not isinstance(key, str):
            raise RecordError(f"{where}: keys of a recorded mapping are text, got {key!r}.")
    packed = {str(key): pack(item, f"{where}[{key!r}]") for key, item in value.items()}
    return {_MAP: list(map(list, packed.items()))} if _TAGS & packed.keys() else packed


def unpack(value: Json) -> Json:
    """The inverse of `pack`."""
    if isinstance(value, dict):
        if _FLOAT in value:
            return float(value[_FLOAT])
        if _MAP in value:
            return {key: unpack(item) for key, item in value[_MAP]}
        return {key: unpack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unpack(item) for item in value]
    return value


def numbers(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Metrics as strict JSON: a number that is not finite becomes its text."""
    return {name: value if math.isfinite(value) else repr(float(value)) for name, value in metrics.items()}


def read_numbers(packed: Mapping[str, float | str]) -> dict[str, float]:
    """The inverse of `numbers`."""
    return {name: float(value) if type(value) is str else value for name, value in packed.items()}  # type: ignore[misc]


def split(name: str, value: Json) -> dict[str, Json]:
    """Attributes that hold the packed `value`: one, or where its text is too long several with a head written last."""
    text = json.dumps(value, allow_nan=False)
    if len(text) <= MAX_TEXT:
        return {name: value}
    # A part is encoded once more as a JSON text, which at worst doubles its quotes and backslashes.
    size = MAX_TEXT // 2
    parts = [text[i : i + size] for i in range(0, len(text), size)]
    return {**{f"{name}~{i}": part for i, part in enumerate(parts)}, name: {_PARTS: len(parts)}}


def join(name: str, attributes: Mapping[str, Any]) -> Json:
    """The value that `split` stored under `name`; None if there is none."""
    value = attributes.get(name)
    if isinstance(value, dict) and _PARTS in value:
        return json.loads("".join(attributes[f"{name}~{i}"] for i in range(value[_PARTS])))
    return value
