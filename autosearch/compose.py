"""From a study file to a running study: the only file that sees every room.

load(path) -> StudyFile        the file, read and checked
StudyFile.open() -> Study      its record opened, searcher and scheduler built
StudyFile.run() -> Study       run until its budget is spent
"""

import contextlib
import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from autosearch.core import (
    AutosearchError,
    History,
    Job,
    Objective,
    OptionError,
    Predictor,
    Problem,
    Record,
    RecordError,
    RunSettings,
    SpaceError,
    SpecError,
    Stage,
    Study,
    StudyMismatchError,
    plugins,
)
from autosearch.core.files import writing
from autosearch.core.history import LAST
from autosearch.core.opening import open_record
from autosearch.core.queue import Queue
from autosearch.core.records import Json
from autosearch.core.seeds import derive_rng
from autosearch.core.stages import (
    last_of_winner,
    last_stages,
    open_stage,
    stage_problem,
    staged,
    stages_of,
    winner,
)
from autosearch.record import fork
from autosearch.record.publish import DashboardBoard
from autosearch.record.record import StudyRecord
from autosearch.reporting import plan as planning
from autosearch.reporting.export import export_trial
from autosearch.reporting.listening import Guarded
from autosearch.reporting.loggers.base import Logging
from autosearch.reporting.publication import Publication
from autosearch.space import SearchSpace, Where, nest
from autosearch.spec import StudySpec, load_spec, read_value
from autosearch.spec.locating import locate_study
from autosearch.spec.origin import origin, versions
from autosearch.spec.study_spec import LastSpec, RunSpec
from autosearch.spec.writing import write_yaml


def load(path: str | Path, overrides: Sequence[str] = ()) -> "StudyFile":
    """A study file, read and checked; nothing is opened, trained or written yet.

    Args:
        path: of the YAML file.
        overrides: `key=value` with dotted keys, laid over the file.

    Raises:
        SpecError: with every problem of the file, each located.
    """
    return StudyFile(load_spec(path, overrides))


def read_record(path: str | Path, overrides: Sequence[str] = ()) -> Record:
    """The record of a study file, opened for reading without loading what the study runs.

    Raises:
        SpecError: if the file does not say where it is.
        RecordError: if it is not there.
    """
    place = locate_study(path, overrides)
    return open_record(place.storage, place.study, read_only=True)


@dataclass(frozen=True)
class StudyFile:
    """A checked study file, ready to be opened and run."""

    spec: StudySpec

    @cached_property
    def objective(self) -> Objective:
        """What its trials run.

        Raises:
            AutosearchError: if the training code cannot be loaded.
        """
        spec = self.spec
        if spec.run.form != "task":
            adapter = plugins.load("adapters", spec.run.form)
            found: Objective = adapter(spec.run.target, space=spec.space, folder=spec.folder)
            return found
        try:
            task = self._task(spec.run)
        except OptionError as error:
            raise spec.error(("run", error.option), str(error)) from error
        return self._trained(task) if spec.training else task

    def _task(self, run: RunSpec, **given: Any) -> Objective:
        """The task of a study, or of its last stage with what the winner has given."""
        definition = {**run.definition, **given}
        accepted = plugins.option_parameters(plugins.load("tasks", run.target))
        for name, value in (("data_dir", self.spec.data_dir), ("folder", self.spec.folder)):
            if accepted is not None and name in accepted:
                definition.setdefault(name, value)
        task: Objective = plugins.build("tasks", definition)
        return task

    def _last_stage(self, last: LastSpec, job: Job) -> Stage:
        """The stage that goes on from the winner, whose job this is."""
        kind = plugins.load("tasks", last.run.target)
        try:
            task = self._task(last.run, **kind.after(self.objective, job))
        except OptionError as error:
            raise self.spec.error(("finally", error.option), str(error)) from error
        return Stage(
            f"{LAST}{job.number}",
            SearchSpace({}) if last.space is None else last.space,
            task,
            searcher=last.searcher.definition,
            budget=last.budget,
            goals=last.objectives,
            constraints=last.constraints,
            keep=1,
        )

    def _trained(self, task: Any) -> Objective:
        """The task with the training methods of the study, in their order."""
        methods = []
        for i, method in enumerate(self.spec.training):
            try:
                methods.append(plugins.build("training", method.definition))
            except OptionError as error:
                raise self.spec.error(("training", i, error.option), str(error)) from error
        if not hasattr(task, "trained_by"):
            message = f"the task {self.spec.run.target} takes no training methods."
            raise self.spec.error(("training",), message)
        trained: Objective = task.trained_by(methods)
        return trained

    def settings(self, *, address: str | None = None, debug: bool = False) -> RunSettings:
        """What the runner is told."""
        spec = self.spec
        return RunSettings(
            output=spec.output,
            resources=spec.resources,
            limits=spec.limits,
            keep=spec.keep,
            address=address,
            folder=spec.folder,
            debug=debug,
        )

    def open(self) -> Study:
        """The study with its record opened for writing.

        Raises:
            StudyLockedError: if another driver works on it.
            StudyMismatchError: if the record was made with another space or other objectives.
        """
        self._rehearse()
        with writing(self.spec.output):
            self.spec.output.mkdir(parents=True, exist_ok=True)
        return self._study(storage=self.spec.storage)

    def _rehearse(self) -> Study:
        """The study in memory, with everything checked that can be before a record is made."""
        study = self._study(storage=None)
        try:
            study.problem.space.sample(derive_rng(study.problem.seed, "rehearsal"), 1)
        except SpaceError as error:
            raise self.spec.error(error.where, error.message) from error
        self._check(self.objective, study.problem, "run")
        if self.spec.last is not None:
            self._rehearse_last(self.spec.last, study)
        return study

    def _rehearse_last(self, last: LastSpec, study: Study) -> None:
        """Find now what would keep the last stage from running when all else is done."""
        space = study.problem.space
        stage = self._last_stage(last, Job(0, nest(space.validate(space.start)), 0))
        if self.spec.keep.checkpoints < 1:
            message = "must be at least 1: `finally` goes on from the winner's checkpoint."
            raise self.spec.error(("keep", "checkpoints"), message)
        self._check(stage.objective, stage_problem(study, stage), "finally", inside=("finally",))

    def _check(self, objective: Objective, problem: Problem, arguments: str, inside: Where = ()) -> None:
        """Let the objective judge the problem; what it finds is located.

        Args:
            objective: of the study or of its last stage.
            problem: that it is to run.
            arguments: key that its arguments stand under.
            inside: path of the keys `space`, `objectives` and so on.
        """
        if not hasattr(objective, "check"):
            return
        try:
            objective.check(problem)
        except OptionError as error:
            raise self.spec.error((arguments, error.option), str(error)) from error
        except SpaceError as error:
            located = [self.spec.error((*inside, *part.where), part.message) for part in error.problems]
            raise SpecError([line for part in located for line in part.problems]) from error

    def _study(self, *, storage: str | None) -> Study:
        spec, objective = self.spec, self.objective
        space = spec.space if spec.space is not None else getattr(objective, "space", None)
        if space is None:
            raise SpaceError("space: is required for this kind of `run`.", ("space",))
        return Study(
            space,
            spec.objectives,
            constraints=spec.constraints,
            searcher=spec.searcher.definition,
            scheduler=None if spec.scheduler is None else spec.scheduler.definition,
            budget=spec.budget,
            seed=spec.seed,
            storage=storage,
            name=spec.study,
            workers=spec.resources.parallel or 1,
            fidelity=(None, getattr(objective, "max_step", None)),
            price_per_hour=spec.resources.price_per_hour,
            retries=spec.retries,
            queue=spec.output / "queue",
        )

    def read(self) -> Record:
        """The record, opened for reading: no lock is taken, nothing is written.

        Raises:
            RecordError: if it is not there.
        """
        return open_record(self.spec.storage, self.spec.study, read_only=True)

    def run(
        self,
        study: Study | None = None,
        *,
        address: str | None = None,
        debug: bool = False,
        listener: Callable[..., None] | None = None,
    ) -> Study:
        """Start the study, or go on with it, until its budget is spent. Returns it, closed but readable.

        Args:
            study: from `open`; opened here without.
            address: of a Ray cluster.
            debug: one trial at a time in this process, errors raised.
            listener: told of every event.
        """
        with study or self.open() as study, self._shown(study):
            if listener is not None:
                study.listeners.append(listener)
            self._note_origin(study)
            runner = "inline" if debug else self.spec.runner
            last = self.spec.last
            study.run(
                self.objective,
                runner=runner,
                settings=self.settings(address=address, debug=debug),
                last=None if last is None else functools.partial(self._last_stage, last),
            )
            self._measure_chosen(study)
            if last is not None:
                self._measure_last(study, last)
        return study

    def over(self, study: Study) -> bool:
        """Whether `run` would find nothing to do: the budget is spent, and so is that of the winner's last stage."""
        best = winner(study.history)
        if not study.budget_spent or self.spec.last is None or best is None:
            return study.budget_spent
        return open_stage(study, self._last_stage(self.spec.last, study.job(best))).budget_spent

    @contextlib.contextmanager
    def _shown(self, study: Study) -> Iterator[None]:
        """Loggers and the dashboard's notes follow the study; neither can hurt it."""
        spec, record = self.spec, study.record
        logging = Logging(study, spec.loggers, spec.output, spec.resolved())
        study.listeners.append(logging)
        ends = [logging.close]
        if isinstance(record, StudyRecord):
            board = DashboardBoard(record, self.artifacts)
            publication = Publication(study, board, study_yaml=spec.to_yaml(), searcher=spec.searcher.method)
            publish = Guarded(publication, "the dashboard's notes", study.note)
            study.listeners.append(publish)
            ends.append(lambda: publish.attempt(publication.conclude))
        try:
            yield
        finally:
            for end in ends:
                end()

    @property
    def artifacts(self) -> Path:
        """Folder of the files that the dashboard shows beside trials."""
        return self.spec.output / "artifacts"

    def predictor(self, history: History) -> tuple[Predictor | None, str]:
        """The searcher's surrogate, else a Gaussian process fitted for the report, else None; and a word about it."""
        if not history.complete:
            return None, "No trial is complete yet."
        if not history.problem.space.searched:
            return None, "Nothing is searched."
        words = "The search itself used no surrogate; this one was fitted to its results for the report."
        for definition, about in ((self.spec.searcher.definition, ""), ("bayesian", words)):
            searcher = plugins.build("searchers", definition)
            if not hasattr(searcher, "predictor"):
                continue
            try:
                return searcher.predictor(history), about
            except AutosearchError as error:
                words = f"There is no surrogate: {error}"
        return None, words

    def report(self) -> str:
        """The report of the study as it stands, as one HTML page that needs no network.

        Raises:
            RecordError: if there is no record yet.
        """
        from autosearch.record.importance import ped_anova
        from autosearch.reporting.material import Material, Remembered
        from autosearch.reporting.page import report_html

        with contextlib.closing(self.read()) as record:
            history, notes = record.history(), record.notes()
            history.stages = record.stages()
        predictor, about = self.predictor(history)
        noted = notes.get("study_file")
        material = Material(
            history,
            record.name,
            record.location,
            notes,
            None if predictor is None else Remembered(predictor),
            about,
            ped_anova(history),
            write_yaml(noted) if noted else self.spec.to_yaml(),
            f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        )
        return report_html(material)

    def plan(self, *, timed: bool = True, shown: int = 5) -> dict[str, Json]:
        """What running the study will do and cost, before anything is spent. Nothing is recorded.

        Args:
            timed: run one probe trial at the smallest fidelity, and estimate from it.
            shown: how many of the first configurations to name.

        Raises:
            AutosearchError: for everything that would keep it from running; if the probe trial fails.
        """
        spec, study = self.spec, self._rehearse()
        study.queue = Queue(None)  # what waits there is the real study's
        workers = planning.workers_of(spec.resources, spec.budget, inline=spec.runner == "inline")
        with study:
            study.set_workers(workers)
            first = study.ask(shown)
            stages = [
                asdict(stage.budget) | {"name": stage.name} for stage in stages_of(study, self.objective)
            ]
        problem = study.problem
        rehearsal = planning.rehearse(problem, None if spec.scheduler is None else spec.scheduler.definition)
        reused = spec.runner == "inline" or bool(getattr(self.objective, "reusable", False))
        own_stages = getattr(self.objective, "stages", None)
        if hasattr(self.objective, "staged") and own_stages is not None and own_stages(problem):
            timed = False  # no trial of its own can run before its stages have
        found = planning.probe(self.objective, problem, first[0], reused=reused) if timed and first else None
        estimate = planning.estimate(
            problem, found, rehearsal, workers=workers, keep=spec.keep.checkpoints, reused=reused
        )
        return {
            "study_file": spec.resolved(),
            "first": [{"config": dict(t.config), "why": t.info.get("reason")} for t in first],
            "stages": stages,
            "rungs": {step: list(shares) for step, shares in rehearsal.rungs.items()},
            "probe": None if found is None else asdict(found),
            "estimate": asdict(estimate),
        }

    def take_over(self, source: "StudyFile") -> int:
        """Begin this study with all finished trials of another that still fit; returns their number.

        Raises:
            RecordError: if this study is there already, with trials of its own.
        """
        history = source.read().history()
        with contextlib.closing(self.open().record) as target:
            return fork(history, cast(StudyRecord, target), source.spec.study)

    def check(self, *, address: str | None = None) -> dict[str, Json]:
        """What running the study would do, after importing its training code. Writes nothing.

        Raises:
            AutosearchError: for everything that would keep it from running.
        """
        spec = self.spec
        study = self._rehearse()
        budget = {key: value for key, value in asdict(spec.budget).items() if value is not None}
        why = getattr(study.searcher, "reason", None)
        facts: dict[str, Json] = {
            "study": spec.study,
            "runs": f"{spec.run.form} {spec.run.target}",
            "objectives": {goal.metric: goal.direction for goal in spec.objectives},
            "parameters": f"{study.problem.space.dimensions} searched, {len(study.problem.space.parameters)} in all",
            "searcher": spec.searcher.method + (f" ({why(study.problem)})" if why else ""),
            "scheduler": spec.scheduler.method if spec.scheduler else "none",
            **({} if spec.last is None else {"finally": f"{spec.last.run.target} goes on from the winner"}),
            "fidelity": {"min": study.problem.fidelity[0], "max": study.problem.fidelity[1]},
            "budget": budget,
            "resources": asdict(spec.resources),
            "record": self._record_state(study.problem),
            "output": str(spec.output),
        }
        if address is not None:
            inspect = plugins.load("runners", spec.runner)
            facts["cluster"] = inspect.check_cluster(address, spec.output)
        return facts

    def _record_state(self, problem: Problem) -> str:
        """Whether `run` would start or continue; raises where it would refuse."""
        try:
            record = self.read()
        except RecordError:
            return f"new, at {self.spec.storage}"
        with contextlib.closing(record):
            history = record.history()
        differences = history.problem.differences(problem)
        if differences:
            shown = "; ".join(differences)
            raise StudyMismatchError(
                f"{record.location} holds {self.spec.study} with another problem: {shown}. "
                "Undo the change, or start a study with what still fits by `autosearch run --fork NAME`.",
                differences,
            )
        return f"continues {len(history)} trials at {record.location}"

    def enqueue(self, assignments: Sequence[str]) -> tuple[Path, dict[str, Any]]:
        """Queue a configuration given as `NAME=VALUE` texts, values in YAML.

        Returns:
            The file, and the whole configuration: what is not given is the space's own.

        Raises:
            SpaceError: for a text without `=`, an unknown parameter, or a value outside its range.
        """
        config: dict[str, Any] = {}
        for text in assignments:
            name, equals, value = text.partition("=")
            if not equals:
                raise SpaceError(f"enqueue: write NAME=VALUE, got {text!r}.")
            config[name.strip()] = read_value(value)
        space = self.spec.space
        whole = config if space is None else space.validate({**space.start, **config})
        return Queue(self.spec.output / "queue").add(config), whole

    def export(self, record: Record, history: History, number: int, folder: Path) -> list[Path]:
        """Write trial `number`, and what the last stage made of it, into `folder`; returns what was written."""
        stage = last_stages(history).get(number)
        chosen = None if stage is None else winner(stage)
        with writing(folder):
            written = export_trial(
                self.spec.resolved(),
                history,
                number,
                folder,
                write_yaml,
                record.notes(),
                self._export_weights,
            )
            if chosen is not None and chosen.checkpoint and Path(chosen.checkpoint).is_dir():
                written.append(folder / LAST.rstrip("-"))
                shutil.copytree(chosen.checkpoint, written[-1])
        return written

    def _export_weights(self, checkpoint: Path, target: Path) -> bool:
        """Write the weights of a checkpoint alone, where it is a built-in task's: others keep what they like."""
        if self.spec.run.form != "task":
            return False
        from autosearch.learning import export_weights

        return export_weights(checkpoint, target)

    def _note_origin(self, study: Study) -> None:
        """Store what made the results; say so where the training code's definition has changed."""
        # The location as people may see it: an URL may carry a password.
        resolved = {**self.spec.resolved(), "storage": study.record.location}
        before = study.record.notes().get("study_file")
        if before is not None and before.get("run") != resolved["run"] and len(study.history):
            study.note(f"`run` has changed since the study began: {before.get('run')} -> {resolved['run']}")
        study.record.note("study_file", resolved)
        study.record.note("versions", versions())
        study.record.note("origin", origin(self.spec))

    def _measure_chosen(self, study: Study) -> None:
        """Test metrics, once for the trial that was chosen; never read by anything that decides."""
        finish: Callable[[Job], dict[str, float]] | None = getattr(
            staged(self.objective, study.history.stages), "finish", None
        )
        if finish is None or len(study.problem.objectives) != 1 or study.history.incumbent is None:
            return
        best = study.best
        noted = study.record.notes().get("test")
        done = noted is not None and noted.get("trial") == best.number
        if done or not study.budget_spent or best.checkpoint is None or not Path(best.checkpoint).is_dir():
            return
        study.record.note("test", {"trial": best.number, "metrics": dict(finish(study.job(best)))})

    def _measure_last(self, study: Study, last: LastSpec) -> None:
        """Test metrics of what the last stage chose, once."""
        found = last_of_winner(study.history)
        if found is None:
            return
        best, _, chosen = found
        done = {"from": best.number, "trial": chosen.number}
        noted = study.record.notes().get("finally") or {}
        if done.items() <= noted.items():
            return
        stage = self._last_stage(last, study.job(best))
        if not hasattr(stage.objective, "finish"):
            return
        job = open_stage(study, stage).job(chosen)
        study.record.note("finally", {**done, "metrics": dict(stage.objective.finish(job))})
