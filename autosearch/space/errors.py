"""What the search space raises when a definition, an expression or a configuration is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Where = tuple[str | int, ...]
"""A path inside the study file, such as ``("space", "lr", "high")`` or ``("require", 0)``."""


class AutosearchError(Exception):
    """Root of everything autosearch raises."""


class SpaceError(AutosearchError, ValueError):
    """A definition or a configuration breaks a rule of the search space.

    Attributes:
        message: the rule, the value and the way out, without the place.
        where: path of the offending entry inside the study file; empty if there is no file position.
        problems: every single problem; `(self,)` unless this error joins several.
    """

    def __init__(self, message: str, where: Where = ()) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self._parts: tuple[SpaceError, ...] = ()

    @property
    def problems(self) -> tuple[SpaceError, ...]:
        return self._parts or (self,)

    @property
    def located(self) -> str:
        """The message behind its place: `space.lr.high: must be finite`."""
        return f"{'.'.join(map(str, self.where))}: {self.message}" if self.where else self.message

    def under(self, where: Where) -> SpaceError:
        """The same error seen from an enclosing place: `where` is put in front of every path."""
        if self._parts:
            return join([part.under(where) for part in self._parts])
        copy = type(self).__new__(type(self))
        copy.args = self.args
        copy.__dict__.update(self.__dict__)
        copy.where = where + self.where
        return copy


class ExpressionError(SpaceError):
    """An expression is refused, or cannot be evaluated with the values given."""


class InactiveError(ExpressionError):
    """An expression touched a parameter that is inactive in this configuration."""

    def __init__(self, name: str, where: Where = ()) -> None:
        super().__init__(f"'{name}' has no value in this configuration", where)
        self.name = name

    def __reduce__(self) -> tuple[type[InactiveError], tuple[str, Where]]:
        return (InactiveError, (self.name, self.where))


def join(errors: Sequence[SpaceError]) -> SpaceError:
    """One error for several problems: a line each, all of them in `problems`.

    Raises:
        ValueError: `errors` is empty.
    """
    parts = tuple(part for error in errors for part in error.problems)
    if not parts:
        raise ValueError("there is no problem to join")
    if len(parts) == 1:
        return parts[0]
    return report(parts)


def report(errors: Sequence[SpaceError], subject: str = "") -> SpaceError:
    """As `join`, for people who see no file position: the message names the place even of a single problem.

    Args:
        errors: at least one problem.
        subject: what the problems are about; leads each line.
    """
    parts = tuple(part for error in errors for part in error.problems)
    lead = f"{subject}: " if subject else ""
    whole = SpaceError("\n".join(lead + part.located for part in parts), parts[0].where)
    whole._parts = parts
    return whole
