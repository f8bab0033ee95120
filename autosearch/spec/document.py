"""A YAML file as plain data, with the place of every entry and every problem found on the way."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autosearch.core.errors import SpecError
from autosearch.space import SpaceError, Where

MAX_LINES = 100
"""Problems listed at most; what comes after is counted."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place: line and column from 1 in the file, or the key of a `--set` (which then comes after the file)."""

    override: str = ""
    line: int = 1
    column: int = 1


@dataclass(slots=True)
class Document:
    """What a file holds.

    Attributes:
        label: the file as the user typed it.
        data: mappings with text keys, lists, and None, bool, int, float, str; all numbers finite.
        marks: path of an entry -> place of its key, or of the item in a list.
        problems: (place, path, rule) of everything wrong so far.
    """

    label: str
    data: Any = None
    marks: dict[Where, Mark] = field(default_factory=dict)
    problems: list[tuple[Mark, Where, str]] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether more problems would no longer be listed."""
        return len(self.problems) > MAX_LINES

    def add(self, where: Where, message: str) -> None:
        """Note that the entry at `where`, or the nearest one around it, breaks a rule."""
        self.problems.append((self.mark(where), where, message))

    def add_all(self, errors: Iterable[SpaceError]) -> None:
        for error in errors:
            self.add(error.where, error.message)

    def mark(self, where: Where) -> Mark:
        """Place of the innermost entry on the path that the file holds."""
        for length in range(len(where), -1, -1):
            if where[:length] in self.marks:
                return self.marks[where[:length]]
        return Mark()

    def part(self, name: str) -> "Document":
        """The mapping under a key of the top, as a document of its own; `join` brings its problems back."""
        marks = {where[1:]: mark for where, mark in self.marks.items() if where[:1] == (name,)}
        return Document(self.label, self.data[name], marks)

    def join(self, name: str, part: "Document") -> None:
        """Take over the problems of a part."""
        self.problems += [(mark, (name, *where), message) for mark, where, message in part.problems]

    def refusal(self, where: Where, message: str) -> SpecError:
        """The error for one problem found after all others."""
        return SpecError([_line(self.label, self.mark(where), where, message)])

    def error(self, others: "Sequence[Document]" = ()) -> SpecError | None:
        """Every problem of this file and of others that it uses; None if there is none."""
        lines: list[str] = []
        for document in (self, *others):
            for mark, where, message in sorted(document.problems, key=lambda problem: problem[0]):
                lines.append(_line(document.label, mark, where, message))
        lines = list(dict.fromkeys(lines))
        if not lines:
            return None
        if len(lines) > MAX_LINES:
            lines[MAX_LINES:] = [f"{self.label}: and {len(lines) - MAX_LINES} problems more"]
        return SpecError(lines)


def show_path(where: Where) -> str:
    """A path as users read it: `space.lr.high`, `require[0]`."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part:
            text += f".{part}"
    return _one_line(text.removeprefix("."), 120)


def _line(label: str, mark: Mark, where: Where, message: str) -> str:
    path = show_path(where)
    if mark.override:
        key = _one_line(mark.override, 120)
        place = f"--set {key}" if path in ("", mark.override) else f"--set {key}: {path}"
    else:
        place = f"{label}:{mark.line}:{mark.column} {path}".rstrip()
    return f"{place}: {_one_line(message, 1000)}"


def _one_line(text: str, length: int) -> str:
    text = re.sub(r"\s*\n\s*", "; ", text.strip())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= length else text[: length - 3] + "..."


def subtree(marks: Mapping[Where, Mark], where: Where) -> list[Where]:
    """The paths at and below `where`."""
    return [path for path in marks if path[: len(where)] == where]
