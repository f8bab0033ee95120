"""load_spec: a study file, checked as a whole, as a StudySpec."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from autosearch.core import arguments, plugins
from autosearch.core.errors import ExpressionError, ResolveError, SpecError
from autosearch.core.records import Budget, Goal
from autosearch.core.settings import Keep, Limits, Resources, Retries
from autosearch.space import Expression, SearchSpace, Where, did_you_mean, nearest
from autosearch.space.operators import show
from autosearch.spec.document import Document
from autosearch.spec.keys import (
    BUDGET,
    DIRECTIONS,
    FORMS,
    KEEP,
    LAST,
    LIMITS,
    PATHS,
    REQUIRED,
    RESOURCES,
    RETRIES,
    SEED,
    STUDY,
    TOP,
)
from autosearch.spec.overrides import apply_override
from autosearch.spec.paths import absolute, absolute_storage, is_file, is_source, split_reference
from autosearch.spec.plugin_specs import defaults_of, find, read_factory, read_plugin, try_building
from autosearch.spec.reading import read_file
from autosearch.spec.spaces import SpaceReader, SpaceSpec
from autosearch.spec.study_spec import Form, LastSpec, PluginSpec, RunSpec, StudySpec
from autosearch.spec.values import check_known, read_keys

MAX_OBJECTIVES = 50
MAX_HINTS = 60  # names compared with a mistyped one
_PLAIN = tuple(key.name for key in (STUDY, SEED, *PATHS))
_PLACEHOLDER = re.compile(r"\{([^\W\d][^{}\s\"'`,:]*)\}")


def load_spec(path: str | Path, overrides: Sequence[str] = ()) -> StudySpec:
    """The study in a file.

    Args:
        path: of the study file; messages show it as it is given.
        overrides: `key=value` texts, put over the file before it is checked.

    Raises:
        SpecError: the file cannot be read or breaks rules; every problem with its place.
    """
    label = str(path)
    document = read_file(Path(path), label)
    if not isinstance(document.data, dict):
        message = f"must be a mapping with the keys of a study, not {show(document.data)}"
        document.add((), "the file is empty" if document.data is None else message)
        raise cast(SpecError, document.error())
    for override in overrides:
        apply_override(document, override)
    loader = _Loader(document, Path(os.path.abspath(path)))  # noqa: PTH100 - without following links
    return loader.load()


def placeholders(command: str) -> tuple[str, ...]:
    """The names that stand as `{NAME}` in a command, each once, in order."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(command)))


def _goes_on(task: str) -> bool:
    try:
        return hasattr(find("tasks", task), "from_winner")
    except ResolveError:
        return False


class _Loader:
    """Reads the sections one after the other; each notes its problems in the document."""

    def __init__(self, document: Document, path: Path) -> None:
        self.document = document
        self.data: Mapping[str, Any] = document.data
        self.path = path
        self.folder = path.parent

    def load(self) -> StudySpec:
        document, data = self.document, self.data
        meant = check_known(document, (), data, TOP)
        run = self._run()
        self._check_required(run, meant)
        top = read_keys(
            document, (), {name: data[name] for name in _PLAIN if name in data}, (STUDY, SEED, *PATHS)
        )
        objectives = self._objectives()
        constraints = self._constraints(objectives)
        reader = SpaceReader(document, self.folder)
        space = self._space(reader)
        searcher = self._plugin("searcher", "auto")
        scheduler = self._plugin("scheduler", None)
        training = self._training(run, None if space is None else space.space)
        last, last_files = self._last(run, objectives)
        budget, resources, runner = self._budget_and_resources()
        settings = {
            name: read_keys(document, (name,), data.get(name), keys)
            for name, keys in (("limits", LIMITS), ("retries", RETRIES), ("keep", KEEP))
        }
        loggers = self._loggers()
        if run is not None and run.form == "command" and space is not None:
            self._check_command(run.target, space.space)
        paths = self._paths(top)
        error = document.error([*reader.files, *last_files])
        if error is not None:
            raise error
        # Without a problem, every section has been read.
        return StudySpec(
            path=self.path,
            study=top["study"],
            run=cast(RunSpec, run),
            objectives=objectives,
            budget=budget,
            space=None if space is None else space.space,
            searcher=cast(PluginSpec, searcher),
            output=cast(Path, paths["output"]),
            storage=str(paths["storage"]),
            seed=top["seed"],
            constraints=constraints,
            scheduler=scheduler,
            training=training,
            last=last,
            resources=resources,
            runner=runner,
            limits=Limits(**settings["limits"]),
            retries=Retries(**settings["retries"]),
            keep=Keep(**settings["keep"]),
            loggers=loggers,
            data_dir=cast("Path | None", paths["data_dir"]),
            space_definition=None if space is None else space.definition,
            require=() if space is None else space.require,
            document=document,
        )

    def _check_required(self, run: RunSpec | None, meant: set[str]) -> None:
        """Note required keys that are missing, unless a mistyped one was meant for them."""
        for name in REQUIRED:
            if self.data.get(name) is not None or name in meant:
                continue
            if name in self.data:
                self.document.add((name,), "is empty")
            elif (
                name != "space" or self.data.get("run") is None or (run is not None and run.form != "optuna")
            ):
                self.document.add((), f"'{name}' is missing; {TOP[name][0].lower()}{TOP[name][1:]}")

    # -- what runs -------------------------------------------------------------------------------------------

    def _run(self) -> RunSpec | None:
        data = self.data.get("run")
        if data is None:
            return None
        if not isinstance(data, Mapping):
            self.document.add(("run",), f"must be a mapping with one of {', '.join(FORMS)}, not {show(data)}")
            return None
        forms = [form for form in FORMS if form in data]
        if len(forms) != 1:
            self._wrong_forms(data, forms)
            return None
        form = cast(Form, forms[0])
        target = data[form]
        where = ("run", form)
        if not isinstance(target, str) or not target.strip():
            self.document.add(where, f"must be text, not {show(target)}")
            return None
        given = {key: value for key, value in data.items() if key != form}
        if form == "task":
            return self._task(target, given)
        check_known(self.document, ("run",), data, (form,))
        if form == "command":
            try:
                shlex.split(target)
            except ValueError as error:
                self.document.add(where, f"cannot be split into words ({error}); close every quote")
            return RunSpec(form, target)
        return self._reference(form, target)

    def _wrong_forms(self, data: Mapping[str, Any], forms: list[str]) -> None:
        if forms:
            message = (
                f"holds {' and '.join(forms)}; exactly one of {', '.join(FORMS)} says what a trial executes"
            )
            self.document.add(("run", forms[1]), message)
            return
        close = [key for key in data if nearest(key, FORMS)]
        for key in close:
            self.document.add(("run", key), f"unknown key.{did_you_mean(key, FORMS)}")
        if not close:
            there = f"; there is only {', '.join(map(str, data))}" if data else ""
            message = f"needs one of {', '.join(FORMS)}, which says what a trial executes{there}"
            self.document.add(("run",), message)

    def _task(self, name: str, given: dict[str, Any]) -> RunSpec | None:
        if "data_dir" in given:
            self.document.add(("run", "data_dir"), "stands at the top of the study file, beside `run`")
            return None
        given = self._located(("run",), given)
        task = read_factory(self.document, "tasks", name, given, ("run",), ("run", "task"))
        return None if task is None else RunSpec("task", name, given, defaults_of(task, given))

    # -- what goes on from the winner ------------------------------------------------------------------------

    def _last(
        self, run: RunSpec | None, objectives: tuple[Goal, ...]
    ) -> tuple[LastSpec | None, list[Document]]:
        """`finally`, None without it or with a problem, and the space files that it uses."""
        data = self.data.get("finally")
        if data is None:
            return None, []
        if not isinstance(data, Mapping) or not isinstance(data.get("task"), str):
            self.document.add(("finally",), f"must be {{task: NAME, …arguments}}, not {show(data)}")
            return None, []
        if run is not None and run.form != "task":
            self.document.add(("finally",), f"goes on from a built-in task's trial, not from `{run.form}:`")
            return None, []
        part = self.document.part("finally")
        loader = _Loader(part, self.path)
        reader = SpaceReader(part, self.folder)
        last = loader._as_last(reader, objectives)
        self.document.join("finally", part)
        return last, reader.files

    def _as_last(self, reader: SpaceReader, objectives: tuple[Goal, ...]) -> LastSpec | None:
        document, name = self.document, self.data["task"]
        given = self._located((), {key: value for key, value in self.data.items() if key not in LAST})
        try:
            winners = getattr(find("tasks", name), "from_winner", None)
        except ResolveError as error:
            document.add(("task",), str(error))
            return None
        if winners is None:
            able = [other for other in plugins.registered("tasks") if _goes_on(other)]
            message = f"{name} does not go on from another task's trial; those that do: {', '.join(able)}"
            document.add(("task",), message)
            return None
        for key in [key for key in winners if key in given]:
            document.add((key,), "is given by the winner; leave it out")
            del given[key]
        task = read_factory(document, "tasks", name, given, (), ("task",), provided=winners)
        objectives = self._objectives() or objectives
        constraints = self._constraints(objectives)
        space = self._space(reader)
        searcher = self._plugin("searcher", "auto")
        budget = Budget(**read_keys(document, ("budget",), self.data.get("budget"), BUDGET))
        if task is None or searcher is None:
            return None
        return LastSpec(
            run=RunSpec("task", name, given, defaults_of(task, {**given, **dict.fromkeys(winners)})),
            objectives=objectives,
            budget=Budget(trials=1) if budget == Budget() else budget,
            searcher=searcher,
            constraints=constraints,
            space=None if space is None else space.space,
            space_definition=None if space is None else space.definition,
            require=() if space is None else space.require,
        )

    def _reference(self, form: Form, target: str) -> RunSpec | None:
        reference = split_reference(target)
        if reference is None:
            message = f"must be package.module:name or ./file.py:name, not {show(target)}"
            self.document.add(("run", form), message)
            return None
        home, name = reference
        found = self._source(("run", form), home, name) if is_source(home) else target
        return None if found is None else RunSpec(form, found)

    def _located(self, where: Where, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options in which references to files of the user's code, such as `./net.py:build`, are absolute."""
        located = dict(options)
        for key, value in options.items():
            code = split_reference(value) if key != "method" and isinstance(value, str) else None
            if code is not None and is_source(code[0]):
                located[key] = self._source((*where, key), *code) or value
        return located

    def _source(self, where: Where, home: str, name: str) -> str | None:
        """A reference to a file of code with its absolute path; None if the file is not there."""
        path = absolute(home, self.folder)
        if not is_file(path):
            self.document.add(where, f"there is no file {path}")
            return None
        return f"{path}:{name}"

    def _check_command(self, command: str, space: SearchSpace) -> None:
        known = list(space.parameters)[:MAX_HINTS]
        for name in placeholders(command):
            if name not in space.parameters and not self.document.full:
                hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
                self.document.add(("run", "command"), f"{{{name}}} is no parameter of the space.{hint}")

    # -- what is searched ------------------------------------------------------------------------------------

    def _objectives(self) -> tuple[Goal, ...]:
        data = self.data.get("objectives")
        if data is None:
            return ()
        if not isinstance(data, Mapping) or not data:
            message = f"must be a mapping of metrics to minimize or maximize, not {show(data)}"
            self.document.add(("objectives",), message)
            return ()
        if len(data) > MAX_OBJECTIVES:
            self.document.add(
                ("objectives",), f"has {len(data)} metrics; at most {MAX_OBJECTIVES} are allowed"
            )
            return ()
        for metric, direction in data.items():
            message = DIRECTIONS.problem(direction)
            if message:
                self.document.add(("objectives", metric), message)
            if not metric.strip() or not metric.isprintable() or "`" in metric:
                message = f"a metric's name is printable text without backticks, not {show(metric)}"
                self.document.add(("objectives", metric), message)
        return tuple(Goal(metric, direction == "maximize") for metric, direction in data.items())

    def _expressions(self, key: str) -> list[str]:
        """A list of texts, empty if it is something else."""
        data = self.data.get(key)
        if data is None:
            return []
        if not isinstance(data, list):
            self.document.add((key,), f"must be a list of expressions, not {show(data)}")
            return []
        return data

    def _constraints(self, objectives: tuple[Goal, ...]) -> tuple[Expression, ...]:
        metrics = {goal.metric for goal in objectives}
        constraints = []
        for i, text in enumerate(self._expressions("constraints")):
            try:
                expression = (
                    arguments.constraint(text, i) if isinstance(text, str) else Expression.parse(text)
                )
            except ExpressionError as error:
                self.document.add(("constraints", i), error.message)
                continue
            if not expression.names:
                self.document.add(("constraints", i), f"names no metric: {expression.text}")
            # Metrics are known when they are reported; an objective's name without its backticks is known now.
            self.document.add_all(expression.check_names(expression.names | metrics, ("constraints", i)))
            constraints.append(expression)
        return tuple(constraints)

    def _space(self, reader: SpaceReader) -> SpaceSpec | None:
        require = self._expressions("require")
        data = self.data.get("space")
        if data is not None:
            return reader.read(data, require)
        if require and "space" not in self.data:
            self.document.add(("require",), "needs `space`, whose parameters it is about")
        return None

    # -- who decides -----------------------------------------------------------------------------------------

    def _plugin(self, key: str, default: str | None) -> PluginSpec | None:
        data = self.data.get(key)
        if data is None:
            return None if default is None else read_plugin(self.document, f"{key}s", (key,), default)
        found = len(self.document.problems)
        if isinstance(data, Mapping):
            data = self._located((key,), data)
        spec = read_plugin(self.document, f"{key}s", (key,), data)
        if spec is not None and len(self.document.problems) == found:
            try_building(self.document, f"{key}s", (key,), spec)
        return spec

    def _training(self, run: RunSpec | None, space: SearchSpace | None) -> tuple[PluginSpec, ...]:
        data = self.data.get("training")
        if data is None:
            return ()
        if not isinstance(data, list):
            self.document.add(("training",), f"must be a list of methods, not {show(data)}")
            return ()
        specs: list[PluginSpec] = []
        taken: dict[str, str] = {}
        for i, entry in enumerate(data):
            where = ("training", i)
            spec = read_plugin(self.document, "training", where, entry)
            if spec is None:
                continue
            specs.append(spec)
            method = find("training", spec.method)
            if run is not None and run.form != "task":
                alone = getattr(method, "standalone", "") or f"{method.__module__}.{method.__qualname__}"
                message = (
                    f"acts inside built-in tasks only; beside `{run.form}:` use {alone} in your own loop"
                )
                self.document.add(where, message)
                continue
            for name in sorted(method.takes(spec.options)):
                if name in taken:
                    message = f"{spec.method} sets '{name}', and so does {taken[name]}; keep one of them"
                    self.document.add(where, message)
                elif space is not None and {name, f"train.{name}"} & set(space.searched):
                    message = f"{spec.method} sets '{name}', which is searched too; take it out of `space`"
                    self.document.add(where, message)
                taken.setdefault(name, spec.method)
        return tuple(specs)

    # -- what it may take ------------------------------------------------------------------------------------

    def _budget_and_resources(self) -> tuple[Budget, Resources, str]:
        document = self.document
        budget = read_keys(document, ("budget",), self.data.get("budget"), BUDGET)
        resources = read_keys(document, ("resources",), self.data.get("resources"), RESOURCES)
        runner = resources.pop("runner")
        given = self.data.get("budget")
        if isinstance(given, Mapping) and all(value is None for value in given.values()):
            document.add(("budget",), f"needs at least one of {', '.join(budget)}")
        if budget["cost"] is not None and not resources["price_per_hour"]:
            document.add(("budget", "cost"), "needs resources.price_per_hour, by which the cost is counted")
        if resources["gpus"] > 1 and resources["gpus"] != int(resources["gpus"]):
            message = f"more than one GPU must be a whole number, not {resources['gpus']}"
            document.add(("resources", "gpus"), message)
        self._check_registered("runners", runner, ("resources", "runner"))
        return Budget(**budget), Resources(**resources), runner

    def _loggers(self) -> tuple[str, ...]:
        data = self.data.get("loggers")
        if data is None:
            return ()
        if not isinstance(data, list):
            self.document.add(("loggers",), f"must be a list of names, not {show(data)}")
            return ()
        for i, name in enumerate(data):
            if not isinstance(name, str):
                self.document.add(("loggers", i), f"must be a name, not {show(name)}")
            elif name in data[:i]:
                self.document.add(("loggers", i), f"{name!r} is listed twice")
            else:
                self._check_registered("loggers", name, ("loggers", i))
        return tuple(map(str, data))

    def _check_registered(self, kind: str, name: str, where: tuple[str | int, ...]) -> None:
        """By name only: loading a runner or a logger takes seconds and tells no more here."""
        known = plugins.registered(kind)
        if name not in known:
            hint = did_you_mean(name, known) or f" Known: {', '.join(known) or 'none'}."
            self.document.add(where, f"unknown {kind[:-1]} {show(name)}.{hint}")

    def _paths(self, top: Mapping[str, Any]) -> dict[str, Path | str | None]:
        output = absolute(top["output"] or f"results/{top['study']}", self.folder)
        storage = absolute_storage(top["storage"] or str(output / "study.journal"), self.folder)
        data_dir = top["data_dir"] and absolute(top["data_dir"], self.folder)
        environment = os.environ.get("AUTOSEARCH_DATA")
        if data_dir is None and environment:
            data_dir = absolute(environment, Path.cwd())
        return {"output": output, "storage": storage, "data_dir": data_dir}
