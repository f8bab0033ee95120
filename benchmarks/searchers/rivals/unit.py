"""Configurations as points of the unit cube, categories one-hot: for rivals that know numbers only."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


class Unit:
    """Every parameter, active or not, in one column; a categorical in one for each choice."""

    def __init__(self, space: Sequence[Mapping[str, Any]]) -> None:
        self.space = space
        self.widths = [len(p["choices"]) if p["kind"] == "categorical" else 1 for p in space]
        self.width = sum(self.widths)

    def values(self, point: Sequence[float]) -> dict[str, Any]:
        """The nearest configuration, inactive parameters included."""
        found, start = {}, 0
        for parameter, width in zip(self.space, self.widths, strict=True):
            found[parameter["name"]] = _value(parameter, point[start : start + width])
            start += width
        return found

    def point(self, values: Mapping[str, Any]) -> list[float]:
        """Where a configuration lies."""
        return [u for parameter in self.space for u in _units(parameter, values[parameter["name"]])]


def _value(parameter: Mapping[str, Any], u: Sequence[float]) -> Any:
    if parameter["kind"] == "categorical":
        return parameter["choices"][max(range(len(u)), key=u.__getitem__)]
    if parameter["kind"] == "ordinal":
        return parameter["choices"][min(int(u[0] * len(parameter["choices"])), len(parameter["choices"]) - 1)]
    low, high = _ends(parameter)
    x = low + u[0] * (high - low)
    x = min(max(math.exp(x) if parameter["log"] else x, parameter["low"]), parameter["high"])
    return round(x) if parameter["kind"] == "int" else x


def _units(parameter: Mapping[str, Any], value: Any) -> list[float]:
    choices = parameter.get("choices")
    if parameter["kind"] == "categorical":
        return [float(value == choice) for choice in choices]
    if parameter["kind"] == "ordinal":
        return [(choices.index(value) + 0.5) / len(choices)]
    low, high = _ends(parameter)
    return [((math.log(value) if parameter["log"] else value) - low) / (high - low)]


def _ends(parameter: Mapping[str, Any]) -> tuple[float, float]:
    low, high = parameter["low"], parameter["high"]
    return (math.log(low), math.log(high)) if parameter["log"] else (low, high)
