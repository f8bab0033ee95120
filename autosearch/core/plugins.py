"""Plug-ins: found by name through entry points, built from keyword options, none privileged.

Groups are called `autosearch.KIND` with KIND one of `searchers`, `schedulers`, `runners`, `records`, `tasks`,
`training`, `layers`, `spaces`, `models`, `adapters`, `loggers`, `report_sections`, `drawings`. A distribution adds one
by an entry point; inside one study file `package.module:object` names a class that is not registered.
"""

import inspect
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_type_hints

from autosearch.core.errors import OptionError, ResolveError
from autosearch.space import nearest

PREFIX = "autosearch."


@cache
def registered(kind: str) -> Mapping[str, EntryPoint]:
    """Every registered name of `kind`, sorted; loads no plug-in."""
    found = {point.name: point for point in entry_points(group=PREFIX + kind)}
    return dict(sorted(found.items()))


def singular(kind: str) -> str:
    """What one plug-in of a kind is called: `searcher`, `criterion`."""
    return "criterion" if kind == "criteria" else kind.removesuffix("s")


def load(kind: str, name: str) -> Any:
    """The object registered as `name`, or the one at `package.module:object`.

    Raises:
        ResolveError: if nothing carries the name, or its module cannot be imported.
    """
    known = registered(kind)
    if name in known:
        return _import(kind, name, known[name].value)
    if ":" in name:
        return _import(kind, name, name)
    close = nearest(name, known)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ResolveError(f"unknown {singular(kind)} {name!r}.{hint} Known: {', '.join(known) or 'none'}.")


def _import(kind: str, name: str, target: str) -> Any:
    module, _, path = target.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ResolveError(f"{singular(kind)} {name!r} cannot be loaded from {target}: {error}") from error
    except (Exception, SystemExit) as error:  # the module may be a user's: any fault of it is one of the name
        raise ResolveError(f"{name} cannot be imported: {type(error).__name__}: {_cause(error)}") from error
    return found


def _cause(error: BaseException) -> str:
    """The error's text with the place in the user's code; a SyntaxError tells its place itself."""
    if isinstance(error, SyntaxError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error} ({last.filename}:{last.lineno})"


def split(definition: str | Mapping[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    """`NAME` or `{method: NAME, …options}` as name and options."""
    if isinstance(definition, str):
        return definition, {}
    options = dict(definition)
    name = options.pop("method", None)
    if not isinstance(name, str):
        raise OptionError(f"{kind}: needs `method: NAME`, got {dict(definition)!r}.", "method")
    return name, options


def build(kind: str, definition: Any, *args: Any) -> Any:
    """An instance from `NAME`, `{method: NAME, …options}`, or an instance, which is returned as it is.

    Args:
        kind: plug-in group.
        definition: what a study file or a caller says.
        args: positional arguments in front of the options.

    Raises:
        ResolveError: if the name is unknown.
        OptionError: if an option is unknown, missing or refused.
    """
    if not isinstance(definition, str | Mapping):
        return definition
    name, options = split(definition, singular(kind))
    factory = load(kind, name)
    problems = check_options(factory, options, skip=len(args))
    if problems:
        raise problems[0]
    try:
        return factory(*args, **coerce_options(factory, options))
    except ValueError as error:
        option = getattr(error, "option", "")
        raise OptionError(f"{name}: {error}", option) from error


def option_parameters(factory: Any, skip: int = 0) -> dict[str, inspect.Parameter] | None:
    """Options by name of a class or function, None where it takes any (`**options`)."""
    parameters = list(inspect.signature(factory).parameters.values())[skip:]
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return None
    return {p.name: p for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL}


def check_options(factory: Any, options: Mapping[str, Any], skip: int = 0) -> list[OptionError]:
    """Every unknown, missing or wrongly typed option of `factory`."""
    parameters = option_parameters(factory, skip)
    if parameters is None:
        return []
    problems = []
    for name in options:
        if name not in parameters:
            close = nearest(name, parameters)
            hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(parameters) or 'none'}."
            problems.append(OptionError(f"unknown option.{hint}", name))
    problems += [
        OptionError(f"option {name!r} is required.", name)
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in options
    ]
    for name, (_, message) in _validated(factory, options).items():
        if message and name in parameters:
            problems.append(OptionError(message, name))
    return problems


def coerce_options(factory: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as their annotations want them (a list as a tuple, 3 as 3.0)."""
    return {name: value for name, (value, _) in _validated(factory, options).items()}


def _validated(factory: Any, options: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Each option's value after validation against its annotation, with a message where it fails."""
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    result: dict[str, tuple[Any, str]] = {}
    for name, value in options.items():
        result[name] = (value, "")
        if name not in hints:
            continue
        try:
            # Strict except for whole numbers given as floats: "3" must not pass for 3, nor True for 1.
            adapter: TypeAdapter[Any] = TypeAdapter(hints[name], config=ConfigDict(strict=True))
        except PydanticSchemaGenerationError:
            continue
        try:
            result[name] = (adapter.validate_python(_tuples(value, hints[name])), "")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            result[name] = (value, f"{first['msg']}, got {first['input']!r}")
    return result


def _tuples(value: Any, hint: Any) -> Any:
    """Lists as tuples where the annotation speaks of tuples: YAML has no tuples, strict validation wants them."""
    return tuple(value) if isinstance(value, list) and "tuple" in str(hint) else value


def describe(kinds: Sequence[str]) -> dict[str, dict[str, str]]:
    """First docstring line of every registered plug-in, by kind and name; a broken one says why."""
    table: dict[str, dict[str, str]] = {}
    for kind in kinds:
        table[kind] = {}
        for name in registered(kind):
            try:
                text = inspect.getdoc(load(kind, name)) or ""
            except ResolveError as error:
                text = f"cannot be loaded: {error}"
            table[kind][name] = text.split("\n", 1)[0]
    return table
