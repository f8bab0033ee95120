"""The user's Python code, found by `package.module:name` or `./file.py:name`."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from autosearch.core import ResolveError
from autosearch.space import did_you_mean


class Code:
    """A callable of the user's, which travels to workers as its path and name where it has one.

    Args:
        target: a callable, `package.module:name`, or `FILE.py:name`.
        folder: that a relative file is relative to; the directory of the process without it.
    """

    def __init__(self, target: str | Callable[..., Any], folder: Path | None = None) -> None:
        self._target = target
        self._folder = str((folder or Path.cwd()).resolve())
        self._found: Callable[..., Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A function of a file that no import finds cannot be unpickled: the worker loads it from the file again.
        return {**self.__dict__, "_found": None}

    def load(self) -> Callable[..., Any]:
        """The callable.

        Raises:
            ResolveError: if the module cannot be imported or has nothing callable of that name.
        """
        if self._found is None:
            self._found = self._target if callable(self._target) else self._resolve(self._target)
        return self._found

    def _resolve(self, target: str) -> Callable[..., Any]:
        where, colon, name = target.rpartition(":")
        if not colon:
            raise ResolveError(f"{target!r}: write package.module:name or ./file.py:name.")
        # Behind everything else: a user's `random.py` must not stand before the library's.
        for folder in (self._folder, str(Path.cwd())):
            if folder not in sys.path:
                sys.path.append(folder)
        found: Any = self._from_file(where) if where.endswith(".py") else self._from_package(where, target)
        for part in name.split("."):
            if not hasattr(found, part):
                hint = did_you_mean(part, [known for known in dir(found) if not known.startswith("_")])
                raise ResolveError(f"{target!r}: {where} has no {name!r}.{hint}")
            found = getattr(found, part)
        if not callable(found):
            raise ResolveError(f"{target!r} is not callable.")
        result: Callable[..., Any] = found
        return result

    def _from_package(self, module: str, target: str) -> Any:
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
                raise  # a module that the user's code imports: its traceback says where
            raise ResolveError(
                f"{target!r}: no module {module!r} in {self._folder} or on the path."
            ) from error

    def _place(self, where: str) -> Path:
        """The file, on a node that lacks the study's folder in the copy of it that the process was started in."""
        path = (Path(self._folder) / where).resolve()
        if not path.is_file() and path.is_relative_to(self._folder):
            copy = Path.cwd() / path.relative_to(self._folder)
            return copy.resolve() if copy.is_file() else path
        return path

    def _from_file(self, where: str) -> Any:
        path = self._place(where)
        if not path.is_file():
            raise ResolveError(f"no file {path}.")
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        # A name that no import statement takes: two files may both be called train.py.
        name = f"{path.stem}__{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, path)
            if spec is None or spec.loader is None:
                raise ResolveError(f"{path} is not a Python file.")
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
        return sys.modules[name]
