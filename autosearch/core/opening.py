"""From names to things: shipped spaces and records."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autosearch.core import plugins
from autosearch.core.errors import OptionError, RecordError, SpaceError
from autosearch.core.protocols import Record
from autosearch.core.records import Problem
from autosearch.space import SearchSpace, Subspace


def resolve_space(space: SearchSpace | Mapping[str, Any] | str, require: Sequence[str] = ()) -> SearchSpace:
    """A SearchSpace from a mapping of parameters, a shipped space's name, or one that is ready."""
    if isinstance(space, SearchSpace):
        if require:
            raise SpaceError("require: give it to the SearchSpace itself.", ("require",))
        return space
    if isinstance(space, str):
        return SearchSpace({"": load_subspace(space, {})}, require)
    if not isinstance(space, Mapping):
        raise SpaceError(f"space: must be a mapping of parameters, a SearchSpace or a name, not {space!r}.")
    return SearchSpace({name: resolve_use(value) for name, value in space.items()}, require)


def resolve_use(definition: Any) -> Any:
    """`{use: NAME, …options}` as the Subspace it names; anything else as it is."""
    if isinstance(definition, Mapping) and "use" in definition:
        options = dict(definition)
        return load_subspace(options.pop("use"), options)
    return definition


def load_subspace(name: str, options: Mapping[str, Any]) -> Subspace:
    """The shipped space registered as `name`, or a `package.module:object`, called with `options`.

    Raises:
        ResolveError, OptionError: if there is none, or it refuses an option.
    """
    found = plugins.load("spaces", name)
    if callable(found):
        found = plugins.build("spaces", {"method": name, **options})
    elif options:
        raise OptionError(f"space {name!r} takes no options.", next(iter(options)))
    if not isinstance(found, Subspace):
        raise SpaceError(f"space {name!r} must be a Subspace or a function that returns one, got {found!r}.")
    return found


def record_kind(storage: str | Path | None) -> str:
    """Which record opens `storage`: `memory`, `journal`, `rdb`, or the URL scheme of a plug-in."""
    if storage is None:
        return "memory"
    scheme, separator, _ = str(storage).partition("://")
    if not separator:
        return "journal"
    return scheme if scheme in plugins.registered("records") else "rdb"


def open_record(
    storage: str | Path | None, name: str, problem: Problem | None = None, *, read_only: bool = False
) -> Record:
    """The record of study `name` in `storage`, made if it is not there.

    Args:
        storage: None for memory, a journal file's path, or an URL.
        name: of the study.
        problem: checked against the stored one, and stored; None takes the stored one (reading only).
        read_only: take no lock and write nothing.

    Raises:
        RecordError: if it cannot be opened, or is not there while `read_only`.
        StudyLockedError, StudyMismatchError: see there.
    """
    if problem is None and not read_only:
        raise RecordError("a record opened for writing needs its problem.")
    opener = plugins.load("records", record_kind(storage))
    record: Record = opener("" if storage is None else str(storage), name, problem, read_only=read_only)
    return record
