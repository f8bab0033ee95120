"""Takes backticked names out of an expression before Python's parser sees it."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autosearch.space.errors import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Scan:
    """An expression prepared for parsing.

    Attributes:
        source: one line; every backticked name replaced by a marker identifier.
        quoted: marker -> the name that stood in backticks.
        bare: what is left without strings and backticked names, blanks squeezed to one.
    """

    source: str
    quoted: dict[str, str]
    bare: str

    def has_bare(self, name: str) -> bool:
        """Whether `name`, such as `val/acc`, stands outside strings and backticks, blanks or not."""
        if name not in self.bare.replace(" ", ""):  # quick, for spaces with thousands of names
            return False
        pattern = "".join(c if c.isalnum() or c == "_" else rf"\s*{re.escape(c)}\s*" for c in name)
        return re.search(rf"(?<![\w.]){pattern}(?![\w.])", self.bare) is not None


def is_plain_name(name: str) -> bool:
    """Whether a name can be written without backticks: dotted identifiers, none of them a Python keyword."""
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))


def odd_names(names: Iterable[str]) -> list[str]:
    """Names such as `val/acc` that, without backticks, would be read as arithmetic of something else."""
    return [
        name for name in names if not all(map(str.isidentifier, name.split("."))) and not _is_number(name)
    ]


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def quote_name(name: str) -> str:
    """The name as it is written in an expression."""
    return name if is_plain_name(name) else f"`{name}`"


def scan(text: str) -> Scan:
    """Split an expression into strings, backticked names and the rest.

    Raises:
        ExpressionError: a backtick or a quote is not closed, a backticked name is empty, or there is a comment.
    """
    marker = "_q"
    while marker in text:  # so that no marker can be mistaken for a name of the user's
        marker += "q"
    source: list[str] = []
    bare: list[str] = []
    quoted: dict[str, str] = {}
    position = 0
    while position < len(text):
        character = text[position]
        if character == "`":
            end = text.find("`", position + 1)
            if end < 0:
                raise ExpressionError("a backtick is not closed")
            name = text[position + 1 : end]
            if not name.strip():
                raise ExpressionError("a name in backticks must not be empty")
            # Blanks keep a`b` and `a``b` from becoming one name.
            before = " " if _joins(text[position - 1 : position]) else ""
            after = " " if _joins(text[end + 1 : end + 2]) else ""
            source.append(f"{before}{marker}{len(quoted)}_{after}")
            quoted[f"{marker}{len(quoted)}_"] = name
            bare.append("\0")
        elif character in "'\"":
            end = _end_of_string(text, position)
            source.append(text[position : end + 1])
            bare.append("\0")
        elif character == "#":
            raise ExpressionError("comments are not allowed; a name with '#' stands in `backticks`")
        else:
            end = position
            source.append(" " if character in "\r\n\t\f" else character)
            bare.append(" " if character.isspace() else character)
        position = end + 1
    return Scan("".join(source).strip(), quoted, " ".join("".join(bare).split()))


def _joins(character: str) -> bool:
    return character.isalnum() or character in ("_", "`")


def _end_of_string(text: str, start: int) -> int:
    if text.startswith(text[start] * 3, start):
        raise ExpressionError("triple quotes are not allowed")
    position = start + 1
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == text[start]:
            return position
        position += 1
    raise ExpressionError("a string is not closed")
