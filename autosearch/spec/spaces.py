"""`space` and `require`: parameters, shipped spaces by name or path, and every problem where it stands."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosearch.core import opening
from autosearch.core.errors import OptionError, ResolveError, SpaceError, SpecError
from autosearch.space import SearchSpace, Subspace, Where
from autosearch.space.operators import show
from autosearch.spec.document import Document
from autosearch.spec.paths import absolute
from autosearch.spec.plugin_specs import find, returned
from autosearch.spec.reading import read_file
from autosearch.spec.values import check_known

SPACE_FILE_KEYS = ("parameters", "require", "first")
Definition = Mapping[str, Any] | str


@dataclass(frozen=True, slots=True)
class SpaceSpec:
    """A space, and how a study file writes it with absolute paths."""

    space: SearchSpace
    definition: Definition
    require: tuple[str, ...]


class SpaceReader:
    """Reads `space` and `require` of a document; `files` are the documents of the space files that they use."""

    def __init__(self, document: Document, folder: Path) -> None:
        self.document = document
        self.folder = folder
        self.files: list[Document] = []

    def read(self, data: Any, require: list[str]) -> SpaceSpec | None:
        """The space; None if there is a problem, in `space` or in `require`."""
        before = self._count()
        resolved: dict[str, Any] = {}
        if isinstance(data, str):
            subspace = self._use(data, {}, ("space",), ("space",))
            resolved = {} if subspace is None else {"": subspace}
        elif isinstance(data, Mapping) and data:
            for name, entry in data.items():
                # A broken shipped space leaves names unknown: the checks of expressions would mislead.
                resolved[name] = self._entry(name, entry)
        else:
            what = "must not be empty" if data == {} else f"must be a mapping of parameters, not {show(data)}"
            self.document.add(("space",), what)
        if self._count() > before or not resolved:
            self._check_alone(resolved)
            return None
        space, problems = SearchSpace.collect(resolved, require)
        self.document.add_all(problems)
        if space is None:
            return None
        return SpaceSpec(space, self._definition(data, space), tuple(require))

    def _count(self) -> int:
        return len(self.document.problems) + sum(len(file.problems) for file in self.files)

    def _check_alone(self, resolved: Mapping[str, Any]) -> None:
        """Problems of the parameters that do not depend on those which could not be read."""
        known = {name: entry for name, entry in resolved.items() if entry is not None}
        _, problems = SearchSpace.collect(known)
        self.document.add_all(p for p in problems if not p.message.startswith("unknown name"))

    def _entry(self, name: str, entry: Any) -> Any:
        if not isinstance(entry, Mapping) or "use" not in entry:
            return entry
        options = dict(entry)
        used = options.pop("use")
        where: Where = ("space", name)
        if not isinstance(used, str):
            self.document.add(
                (*where, "use"), f"must be the name or path of a shipped space, not {show(used)}"
            )
            return None
        return self._use(used, options, where, (*where, "use"))

    def _use(self, used: str, options: Mapping[str, Any], where: Where, place: Where) -> Subspace | None:
        if is_path(used):
            if options:
                self.document.add((*where, next(iter(options))), "a space file takes no options")
                return None
            return self._from_file(used, place)
        try:
            found = find("spaces", used)
            # Whatever is called here is named by the file: it must say of itself that it makes a space.
            if not isinstance(found, Subspace) and not _makes_space(found):
                message = f"{used!r} must be a Subspace or a function annotated to return one"
                self.document.add(place, message)
                return None
            return opening.load_subspace(used, options)
        except OptionError as error:
            self.document.add((*where, error.option) if error.option in options else place, str(error))
        except ResolveError as error:
            self.document.add(place, str(error))
        except SpaceError as error:
            for problem in error.problems:
                self.document.add(place, problem.located)
        return None

    def _from_file(self, used: str, place: Where) -> Subspace | None:
        path = absolute(used, self.folder)
        label = str(absolute(used, Path(self.document.label).parent))
        try:
            file = read_file(path, label)
        except SpecError as error:
            self.document.add(place, "; ".join(error.problems))
            return None
        self.files.append(file)
        return read_space_file(file)

    def _definition(self, data: Any, space: SearchSpace) -> Definition:
        if isinstance(data, str):
            return str(absolute(data, self.folder)) if is_path(data) else data
        definition: dict[str, Any] = {}
        for name, entry in data.items():
            if isinstance(entry, Mapping) and "use" in entry:
                used = entry["use"]
                place = str(absolute(used, self.folder)) if is_path(used) else used
                definition[name] = {**entry, "use": place}
            else:
                definition[name] = space.parameters[name].to_dict()
        return definition


def is_path(used: str) -> bool:
    """Whether a shipped space is meant by its file and not by its name."""
    return used.endswith((".yaml", ".yml"))


def _makes_space(found: Any) -> bool:
    made = returned(found) if callable(found) and not inspect.isclass(found) else found
    return inspect.isclass(made) and issubclass(made, Subspace)


def read_space_file(file: Document) -> Subspace | None:
    """The subspace in a YAML file of `parameters`, `require` and `first`; None if there is a problem."""
    data = file.data
    if not isinstance(data, Mapping) or "parameters" not in data:
        file.add((), f"a space file is a mapping with {', '.join(SPACE_FILE_KEYS)}; 'parameters' is required")
        return None
    check_known(file, (), data, SPACE_FILE_KEYS)
    parameters, require, first = data["parameters"], data.get("require") or [], data.get("first") or []
    if not isinstance(parameters, Mapping) or not parameters:
        file.add(("parameters",), f"must be a mapping of parameters, not {show(parameters)}")
    if not isinstance(require, list):
        file.add(("require",), f"must be a list of expressions, not {show(require)}")
    if not isinstance(first, list) or not all(isinstance(config, Mapping) for config in first):
        file.add(("first",), f"must be a list of configurations, not {show(first)}")
    if file.problems:
        return None
    for i, config in enumerate(first):
        check_known(file, ("first", i), config, parameters)
    _, problems = SearchSpace.collect(parameters, require)
    for problem in problems:
        inner = problem.where
        file.add(("parameters", *inner[1:]) if inner[:1] == ("space",) else inner, problem.message)
    if file.problems:
        return None
    subspace = Subspace(parameters, tuple(require), tuple(first))
    _, problems = SearchSpace.collect({"": subspace})
    for problem in problems:  # only `first` can still be wrong
        file.add(problem.where[2:], problem.message)
    return None if problems else subspace
