"""StudySpec: a study file after reading, checked, with every default and every path resolved."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from autosearch.core.errors import SpecError
from autosearch.core.records import Budget, Goal
from autosearch.core.settings import Keep, Limits, Resources, Retries
from autosearch.space import Expression, SearchSpace, Where
from autosearch.spec.document import Document

Form = Literal["task", "function", "optuna", "command"]


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What a trial executes.

    Attributes:
        form: which of the four.
        target: a task's name; `package.module:name` or `/absolute/file.py:name`; a command with `{NAME}` in it.
        arguments: of a task, as written; empty for the other forms.
        defaults: the task's own values for what `arguments` leaves out, where they can stand in a file.
    """

    form: Form
    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def definition(self) -> dict[str, Any]:
        """What `core.plugins.build("tasks", …)` takes; for tasks only."""
        return {"method": self.target, **self.arguments}

    @property
    def resolved(self) -> dict[str, Any]:
        return {self.form: self.target, **self.arguments, **self.defaults}


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """A searcher, a scheduler or a method that acts inside training.

    Attributes:
        method: its registered name, or `package.module:object`.
        options: as written.
        defaults: the plug-in's own values for what `options` leaves out, where they can stand in a file.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def definition(self) -> dict[str, Any]:
        """What `core.plugins.build` takes."""
        return {"method": self.method, **self.options}

    @property
    def resolved(self) -> dict[str, Any]:
        return {"method": self.method, **self.options, **self.defaults}


@dataclass(frozen=True, slots=True)
class LastSpec:
    """`finally`: what goes on from the winner. Fields as in `StudySpec`; `run` lacks what the winner gives."""

    run: RunSpec
    objectives: tuple[Goal, ...]
    budget: Budget
    searcher: PluginSpec
    constraints: tuple[Expression, ...] = ()
    space: SearchSpace | None = None
    space_definition: Mapping[str, Any] | str | None = None
    require: tuple[str, ...] = ()

    def resolved(self) -> dict[str, Any]:
        """As a study file writes it, with every default."""
        return {
            **self.run.resolved,
            "objectives": {goal.metric: goal.direction for goal in self.objectives},
            "constraints": [constraint.text for constraint in self.constraints],
            **({} if self.space_definition is None else {"space": self.space_definition}),
            "require": list(self.require),
            "searcher": self.searcher.resolved,
            "budget": asdict(self.budget),
        }


@dataclass(frozen=True, slots=True)
class StudySpec:
    """A whole study. Fields are called as the keys of the file; all paths are absolute.

    Attributes:
        path: the study file.
        study: name, unique within the storage.
        run: what a trial executes.
        objectives: at least one.
        budget: at least one limit is set.
        space: with `require` and the `first` configurations of shipped spaces; None only for `optuna:`.
        searcher: who suggests.
        output: folder of the study.
        storage: a journal file's absolute path, or an URL.
        seed: in [0, 2**63).
        constraints: outcome constraints, each an inequality over metrics.
        scheduler: who stops and pauses; None for nobody.
        training: methods that act inside a trial, in order; for `task:` only.
        last: what goes on from the winner (`finally`), None for nothing.
        runner: registered name.
        data_dir: folder of datasets, None where neither the file nor the environment names one.
        space_definition: `space` as a study file writes it, paths absolute.
        require: input constraints as written beside `space`.
        document: the file with its places, for problems that are found later.
    """

    path: Path
    study: str
    run: RunSpec
    objectives: tuple[Goal, ...]
    budget: Budget
    space: SearchSpace | None
    searcher: PluginSpec
    output: Path
    storage: str
    seed: int = 0
    constraints: tuple[Expression, ...] = ()
    scheduler: PluginSpec | None = None
    training: tuple[PluginSpec, ...] = ()
    last: LastSpec | None = None
    resources: Resources = field(default_factory=Resources)
    runner: str = "ray"
    limits: Limits = field(default_factory=Limits)
    retries: Retries = field(default_factory=Retries)
    keep: Keep = field(default_factory=Keep)
    loggers: tuple[str, ...] = ()
    data_dir: Path | None = None
    space_definition: Mapping[str, Any] | str | None = None
    require: tuple[str, ...] = ()
    document: Document | None = field(default=None, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """Where the study file lies."""
        return self.path.parent

    def error(self, where: Where, message: str) -> SpecError:
        """The located error for what is found wrong after loading, such as a task that refuses `run.dataset`."""
        document = Document(str(self.path))
        if self.document is not None:
            document = Document(self.document.label, marks=self.document.marks)
        return document.refusal(where, message)

    def resolved(self) -> dict[str, Any]:
        """The study as a file with every default written out; loading it again gives the same study."""
        parallel = self.resources.parallel
        return {
            "study": self.study,
            "seed": self.seed,
            "run": self.run.resolved,
            "objectives": {goal.metric: goal.direction for goal in self.objectives},
            "constraints": [constraint.text for constraint in self.constraints],
            **({} if self.space_definition is None else {"space": self.space_definition}),
            "require": list(self.require),
            "searcher": self.searcher.resolved,
            "scheduler": None if self.scheduler is None else self.scheduler.resolved,
            "training": [method.resolved for method in self.training],
            **({} if self.last is None else {"finally": self.last.resolved()}),
            "budget": asdict(self.budget),
            "resources": {
                **asdict(self.resources),
                "parallel": "auto" if parallel is None else parallel,
                "runner": self.runner,
            },
            "limits": asdict(self.limits),
            "retries": asdict(self.retries),
            "keep": asdict(self.keep),
            "loggers": list(self.loggers),
            "data_dir": None if self.data_dir is None else str(self.data_dir),
            "storage": self.storage,
            "output": str(self.output),
        }

    def to_yaml(self) -> str:
        """`resolved` as the text of a study file."""
        from autosearch.spec.writing import write_yaml

        return write_yaml(self.resolved())
