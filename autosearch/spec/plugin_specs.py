"""Searcher, scheduler, task and training methods: found by name, their options checked where they stand."""

import inspect
from collections.abc import Collection, Mapping
from typing import Any, Protocol, get_type_hints, runtime_checkable

from autosearch.core import plugins
from autosearch.core.errors import OptionError, ResolveError, SpaceError
from autosearch.space import Where, nearest
from autosearch.space.operators import show
from autosearch.spec.document import Document
from autosearch.spec.paths import is_source, split_reference
from autosearch.spec.study_spec import PluginSpec

_METHODS = {
    "searchers": ("suggest",),
    "schedulers": ("decide", "propose"),
    "tasks": ("run",),
    "training": ("takes",),
}
MAX_OPTIONS = 500
_PROVIDED = ("data_dir",)  # handed to a task by the engine, from the top of the file
_PLAIN = (bool, int, float, str)


@runtime_checkable
class TrainingMethod(Protocol):
    """What a study file needs of a class in the group `autosearch.training`, before any trial runs.

    Optional attributes:
        standalone: name of the class to use in one's own loop, as it hangs from `autosearch`.
    """

    @staticmethod
    def takes(options: Mapping[str, Any]) -> Collection[str]:
        """Names of the parameters that the method sets itself when it is given these options."""
        ...


def find(kind: str, name: str) -> Any:
    """The plug-in called `name`, checked to have the methods of its kind before anything of it is called.

    Raises:
        ResolveError: it is unknown, cannot be imported, or is something else.
    """
    if name not in plugins.registered(kind) and ":" in name:
        reference = split_reference(name)
        if reference is None or is_source(reference[0]):
            raise ResolveError(f"must be a registered name or package.module:object, not {show(name)}.")
    found = plugins.load(kind, name)
    made = found if inspect.isclass(found) else returned(found)
    missing = [method for method in _METHODS.get(kind, ()) if not callable(getattr(made, method, None))]
    if missing:
        raise ResolveError(
            f"{show(name)} must be a class with {' and '.join(_METHODS[kind])}, "
            f"or a function annotated to return one."
        )
    return found


def returned(function: Any) -> Any:
    """What a function is annotated to return, None if that cannot be told."""
    try:
        return get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return None


def read_plugin(document: Document, kind: str, where: Where, data: Any) -> PluginSpec | None:
    """`NAME` or `{method: NAME, …options}` with a plug-in that can be built from it; None if there is a problem."""
    if isinstance(data, str):
        name, options = data, {}
    elif isinstance(data, Mapping):
        options = dict(data)
        name = options.pop("method", None)
        if name is None:
            _note_missing_name(document, where, options)
            return None
        if not isinstance(name, str):
            document.add((*where, "method"), f"must be a name, not {show(name)}")
            return None
    else:
        document.add(where, f"must be NAME or {{method: NAME, …options}}, not {show(data)}")
        return None
    place = (*where, "method") if isinstance(data, Mapping) else where
    factory = read_factory(document, kind, name, options, where, place)
    if factory is None:
        return None
    return PluginSpec(name, options, defaults_of(factory, options))


def _note_missing_name(document: Document, where: Where, options: Mapping[str, Any]) -> None:
    close = [key for key in options if nearest(key, ["method"])]
    if close:
        document.add((*where, close[0]), "unknown key. Did you mean 'method'?")
    else:
        document.add(where, "'method' is missing; it names the plug-in")


def read_factory(
    document: Document,
    kind: str,
    name: str,
    options: Mapping[str, Any],
    where: Where,
    place: Where,
    *,
    provided: Collection[str] = (),
) -> Any:
    """The plug-in if it exists and takes the options, else None.

    Args:
        document: takes the problems.
        kind: plug-in group.
        name: of the plug-in.
        options: for it.
        where: path of the mapping that holds the options.
        place: path of the name.
        provided: options that come from elsewhere later and may be missing.
    """
    if len(options) > MAX_OPTIONS:
        document.add(place, f"is given {len(options)} options; at most {MAX_OPTIONS} are read")
        return None
    try:
        factory = find(kind, name)
    except ResolveError as error:
        document.add(place, str(error))
        return None
    try:
        problems = [
            error
            for error in plugins.check_options(factory, options)
            if error.option in options or error.option not in (*_PROVIDED, *provided)
        ]
    except (
        TypeError,
        ValueError,
        NameError,
    ) as error:  # no signature, or annotations that cannot be resolved
        document.add(place, f"{name} cannot be checked: {error}")
        return None
    for problem in problems:
        document.add((*where, problem.option) if problem.option in options else place, str(problem))
    return None if problems else factory


def try_building(document: Document, kind: str, where: Where, spec: PluginSpec) -> None:
    """Build a searcher or a scheduler once, so that values which its constructor refuses are found here."""
    try:
        plugins.build(kind, spec.definition)
    except OptionError as error:
        inside = error.option in spec.options
        document.add((*where, error.option) if inside else where, str(error))
    except SpaceError as error:
        document.add(where, error.message)


def defaults_of(factory: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Values that the plug-in's signature gives to options left out; None and what no file can hold are not told."""
    parameters = plugins.option_parameters(factory) or {}
    return {
        name: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        for name, parameter in parameters.items()
        if name not in options and name not in _PROVIDED and _is_plain(parameter.default)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, _PLAIN) for item in value)
    return isinstance(value, _PLAIN)
