"""What a single entry may be: each kind checks a value, brings it into shape and describes itself as JSON schema."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from autosearch.space import Where, did_you_mean, nearest
from autosearch.space.operators import show
from autosearch.spec.document import Document


class Kind(Protocol):
    """A rule for one value that is not null."""

    def problem(self, value: Any) -> str:
        """The rule broken, empty if none."""
        ...

    def read(self, value: Any) -> Any:
        """A value without problem as the program wants it."""
        ...

    def schema(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Number:
    """A number; `above` is a bound that it must exceed, `low` one that it may equal."""

    low: float | None = None
    above: float | None = None
    whole: bool = False

    def problem(self, value: Any) -> str:
        what = "a whole number" if self.whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be {what}, not {show(value)}"
        if self.whole and value != int(value):
            return f"must be a whole number, not {value}"
        if self.above is not None and not value > self.above:
            return f"must be {what} above {self.above:g}, not {value}"
        if self.low is not None and not value >= self.low:
            return f"must be {what} of at least {self.low:g}, not {value}"
        return ""

    def read(self, value: Any) -> int | float:
        return int(value) if self.whole else float(value)

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "integer" if self.whole else "number"}
        if self.above is not None:
            schema["exclusiveMinimum"] = self.above
        if self.low is not None:
            schema["minimum"] = self.low
        return schema


@dataclass(frozen=True, slots=True)
class NumberOr:
    """A number, or one word that stands for None."""

    number: Number
    word: str

    def problem(self, value: Any) -> str:
        if value == self.word:
            return ""
        message = self.number.problem(value)
        return message and f"{message}; '{self.word}' is allowed too"

    def read(self, value: Any) -> int | float | None:
        return None if value == self.word else self.number.read(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.number.schema(), {"const": self.word}]}


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is not empty."""

    def problem(self, value: Any) -> str:
        if isinstance(value, str):
            return "" if value.strip() else "must not be empty"
        quote = f"; write '{value}' in quotes" if isinstance(value, int | float) else ""
        return f"must be text, not {show(value)}{quote}"

    def read(self, value: Any) -> str:
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True, slots=True)
class StudyName:
    """A text that can be a folder and stand in front of `/STAGE`."""

    def problem(self, value: Any) -> str:
        message = Text().problem(value)
        if message:
            return message
        if (
            value != value.strip()
            or not value.isprintable()
            or any(c in value for c in "/\\")
            or value[0] == "."
        ):
            return (
                f"must be printable text without / and \\ that does not begin with a dot, not {show(value)}"
            )
        if len(value.encode()) > 100:
            return f"must have at most 100 bytes, not {len(value.encode())}"
        return ""

    def read(self, value: Any) -> str:
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": 100, "pattern": r"^[^./\\][^/\\]*$"}


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]

    def problem(self, value: Any) -> str:
        if value in self.words:
            return ""
        hint = did_you_mean(value, self.words) if isinstance(value, str) else ""
        return f"must be {' or '.join(self.words)}, not {show(value)}.{hint}"

    def read(self, value: Any) -> str:
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a mapping: its name, rule, default and meaning."""

    name: str
    kind: Kind
    default: Any
    about: str


def read_keys(document: Document, where: Where, data: Any, keys: tuple[Key, ...]) -> dict[str, Any]:
    """The values of a mapping whose keys are all known; defaults stand for null, for what is missing or wrong."""
    values = {key.name: key.default for key in keys}
    if data is None:
        return values
    if not isinstance(data, Mapping):
        names = ", ".join(values)
        document.add(where, f"must be a mapping with any of {names}, not {show(data)}")
        return values
    check_known(document, where, data, values)
    for key in keys:
        value = data.get(key.name)
        if value is None:
            continue
        message = key.kind.problem(value)
        if message:
            document.add((*where, key.name), message)
        else:
            values[key.name] = key.kind.read(value)
    return values


def check_known(
    document: Document, where: Where, data: Mapping[str, Any], known: Collection[str]
) -> set[str]:
    """Note every unknown key; the known keys that they may have been meant for."""
    meant: set[str] = set()
    for name in data:
        if name in known or document.full:
            continue
        close = nearest(name, known)
        meant.update(close)
        hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
        document.add((*where, name), f"unknown key.{hint}")
    return meant
