"""`run` and `check`."""

import json
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autosearch.cli.options import Address, AsJson, Overrides, StudyPath
from autosearch.cli.output import (
    Exit,
    alone,
    duration,
    goals,
    json_line,
    json_out,
    last_lines,
    note,
    out,
    show,
    trial_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from autosearch.core import Study, Trial


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(run)
    app.command()(check)


def run(
    study_file: StudyPath,
    debug: Annotated[
        bool, typer.Option(help="One trial in this process, errors with full traceback.")
    ] = False,
    fork: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Start a new study NAME with all finished trials that still fit."),
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
    overrides: Overrides = None,
) -> int:
    """Start a study, or continue it where its record ends."""
    with alone() if as_json or quiet else nullcontext():
        return _run(study_file, overrides or [], fork, address, debug=debug, as_json=as_json, quiet=quiet)


def _run(
    study_file: Path,
    overrides: list[str],
    fork: str | None,
    address: str | None,
    *,
    debug: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    from autosearch.compose import load
    from autosearch.core import AutosearchError
    from autosearch.reporting.facts import plural

    file = load(study_file, overrides)
    taken = None
    if fork:
        source, file = file, load(study_file, [*overrides, f"study={json.dumps(fork)}"])
        taken = file.take_over(source)
    study = file.open()
    say = _Progress(study, as_json=as_json, quiet=quiet, reports=debug)
    with study:
        before = len(study.history)
        state = f"continuing: {plural(before, 'trial')}" if study.record.existed else "new"
        say.line(f"record: {study.record.location} ({state})")
        if taken is not None:
            taken_over = plural(taken, "trial")
            say.line(f"{fork} took over {taken_over}; write `study: {fork}` into the file to go on with it")
        if file.over(study):
            say.line(f"the budget is spent ({plural(before, 'trial')}); raise `budget` to go on.")
            return _conclude(study, say)
        try:
            with say.live() as listener:
                file.run(study, address=address, debug=debug, listener=listener)
        except KeyboardInterrupt:
            histories = [study.history, *study.history.stages.values()]
            unfinished = sum(len(history.pending) for history in histories)
            first = f", with {plural(unfinished, 'unfinished trial')} first" if unfinished else ""
            note(f"interrupted: the same command goes on{first}.")
            return Exit.INTERRUPTED
        except Exception as fault:
            if not debug or isinstance(fault, AutosearchError):
                raise
            traceback.print_exc()
            return Exit.ALL_FAILED
        return _conclude(study, say)


class _Progress:
    """Listener of a run: a line for each finished trial (and each report), or JSON lines, or nothing."""

    def __init__(self, study: "Study", *, as_json: bool, quiet: bool, reports: bool) -> None:
        self.study, self.as_json, self.quiet, self.reports = study, as_json, quiet, reports

    def live(self) -> "AbstractContextManager[Callable[..., None]]":
        """The listener to run with: one updating block on a terminal, this one anywhere else."""
        if self.as_json or self.quiet or self.reports or not sys.stdout.isatty():
            return nullcontext(self)
        from autosearch.reporting.live import LiveView

        return LiveView(self.study)

    def line(self, text: str) -> None:
        if self.as_json:
            json_line({"event": "note", "text": text})
        elif not self.quiet:
            out(text)

    def __call__(self, event: str, trial: "Trial | None", text: str) -> None:
        from autosearch.reporting.listening import stage_of

        stage = None if trial is None else stage_of(self.study, trial)
        where = "" if stage is None else f"stage {stage}: "
        if self.as_json:
            self._json(event, trial, text, stage)
        elif trial is None:
            self.line(f"note: {text}")
        elif event == "retry":
            self.line(f"{where}trial {trial.number} is tried again: {text}")
        elif event == "report" and self.reports:
            shown = ", ".join(f"{name} {show(value)}" for name, value in trial.metrics.items())
            self.line(f"{where}trial {trial.number} step {trial.step}: {shown}")
        elif event == "finish":
            problem = self.study.history.stages[stage].problem if stage else self.study.problem
            result = goals(problem, trial) if trial.failure is None else trial.failure.message
            settings = ", ".join(f"{name}={show(value)}" for name, value in trial.config.items())
            parts = [result, f"[{settings}]" if settings else "", duration(trial.seconds)]
            self.line(f"{where}trial {trial.number} {trial.state.value}: {' '.join(filter(None, parts))}")

    def _json(self, event: str, trial: "Trial | None", text: str, stage: str | None) -> None:
        told: dict[str, Any] = {"event": event} if stage is None else {"event": event, "stage": stage}
        if event == "report" and trial is not None:
            told |= {"number": trial.number, "step": trial.step, "metrics": dict(trial.metrics)}
        else:
            told |= {"text": text, "trial": None if trial is None else trial_json(trial)}
        json_line(told)


def _conclude(study: "Study", say: _Progress) -> int:
    """Print what was found; the exit code says what kind of end it is."""
    from autosearch.core.failures import grouped
    from autosearch.reporting.facts import plural

    history = study.history
    if history.finished and len(history.failed) == len(history.finished):
        for cause, number in grouped(trial.failure for trial in history.failed if trial.failure).items():
            note(f"{number} x {cause}")
        note(f"every one of {plural(len(history.failed), 'trial')} failed.")
        return Exit.ALL_FAILED
    front = history.front
    if not front:
        note("no trial is feasible." if history.complete else "no trial is complete yet.")
        return Exit.NOT_FEASIBLE if history.complete else Exit.DONE
    if say.as_json:
        json_line({"event": "result", "trials": len(history), "best": [trial_json(t) for t in front]})
        return Exit.DONE
    if len(study.problem.objectives) > 1:
        out(f"front of {plural(len(front), 'trial')} among {len(history)}:")
        for trial in front:
            out(f"  trial {trial.number}: {goals(study.problem, trial)}")
    else:
        best = front[0]
        out(f"best of {plural(len(history), 'trial')}: trial {best.number}, {goals(study.problem, best)}")
        for name, value in best.config.items():
            out(f"  {name}: {show(value)}")
    test = study.record.notes().get("test")
    if test:
        shown = ", ".join(f"{name} {show(value)}" for name, value in test["metrics"].items())
        out(f"test of trial {test['trial']}: {shown}")
    for text in last_lines(history, study.record.notes()):
        out(text)
    say.line(f"record: {study.record.location}")
    return Exit.DONE


def check(
    study_file: StudyPath,
    address: Address = None,
    as_json: AsJson = False,
    overrides: Overrides = None,
) -> int:
    """Validate a study file, import its training code, and say what would happen."""
    from autosearch.compose import load

    with alone() if as_json else nullcontext():
        facts = load(study_file, overrides or ()).check(address=address)
    if as_json:
        json_out(facts)
        return Exit.DONE
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {show(item)}" for key, item in value.items() if item is not None)
        out(f"{name}: {value or 'none'}")
    return Exit.DONE
