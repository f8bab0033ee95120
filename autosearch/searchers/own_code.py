"""An expert's own code in a searcher's options: `package.module:object` or `FILE.py:object`."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from autosearch.core import OptionError, ResolveError, plugins
from autosearch.space import nearest


def resolve(
    value: str | Callable[..., Any], built_in: Collection[str], option: str
) -> str | Callable[..., Any]:
    """A built-in name as it is; else the callable that is meant.

    Args:
        value: a name, `package.module:object`, `FILE.py:object` (relative to the directory of the process), or a
            callable.
        built_in: names.
        option: that the value is of.

    Raises:
        OptionError: there is nothing of that name, or it is not callable.
    """
    if not isinstance(value, str):
        return value
    if value in built_in:
        return value
    home, colon, name = value.rpartition(":")
    if not colon:
        close = nearest(value, built_in)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(built_in)}."
        raise OptionError(f"unknown {option} {value!r}. {hint} Or write package.module:object.", option)
    try:
        found = _from_file(home, name) if home.endswith(".py") else plugins.load(option, value)
    except ResolveError as error:
        raise OptionError(str(error), option) from error
    if not callable(found):
        raise OptionError(f"{value!r} is not callable.", option)
    return found  # type: ignore[no-any-return]


def _from_file(home: str, name: str) -> Any:
    path = Path(home).resolve()
    if not path.is_file():
        raise ResolveError(f"no file {path}.")
    # A name that no import statement takes, and one for each file.
    module_name = f"{path.stem}__{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise ResolveError(f"{path} is not a Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[module_name]
            if isinstance(error, Exception):
                raise ResolveError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
            raise
    found: Any = sys.modules[module_name]
    for part in name.split("."):
        if not hasattr(found, part):
            raise ResolveError(f"{path} has no {name!r}.")
        found = getattr(found, part)
    return found
