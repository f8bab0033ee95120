"""`run` and `check`."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from autosearch.cli.options import Address, AsJson, Overrides, StudyPath
from autosearch.cli.output import Exit, duration, goals, json_line, json_out, note, out, show, trial_json

if TYPE_CHECKING:
    from autosearch.compose import StudyFile
    from autosearch.core import Problem, Study, Trial


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
    from autosearch.compose import load

    file = load(study_file, overrides or ())
    study = file.fork(fork) if fork else file.open()
    say = _Progress(study.problem, as_json=as_json, quiet=quiet)
    with study:
        before = len(study.history)
        state = f"continuing: {before} trials" if study.record.existed else "new"
        say.line(f"record: {study.record.location} ({state})")
        if debug:
            return _debug(file, study)
        if study.budget_spent:
            say.line(f"the budget is spent ({before} trials); raise `budget` to go on.")
        else:
            try:
                file.run(study, address=address, listener=say)
            except KeyboardInterrupt:
                note(
                    f"interrupted: {len(study.history.pending)} unfinished trials go on with the same command."
                )
                return Exit.INTERRUPTED
        return _conclude(study, say)


def _debug(file: "StudyFile", study: "Study") -> int:
    """One trial in process with its traceback; nothing else of the study is touched."""
    trials = study.next(1)
    if not trials:
        note("nothing is left to try; raise `budget` to go on.")
        return Exit.DONE
    trial = trials[0]
    out(f"trial {trial.number}: {dict(trial.config)}")
    try:
        for progress in file.objective.run(study.job(trial)):
            study.report(trial, progress.metrics, step=progress.step)
            out("  " + ", ".join(f"{name} {show(value)}" for name, value in progress.metrics.items()))
    except BaseException as fault:
        study.tell(trial, error=fault if isinstance(fault, Exception) else "interrupted by hand")
        if isinstance(fault, Exception):
            import traceback

            traceback.print_exc()
            return Exit.ALL_FAILED
        raise
    ended = study.tell(trial)
    out(f"{ended.state.value}: {goals(study.problem, ended) or (ended.failure and ended.failure.message)}")
    return Exit.DONE if ended.failure is None else Exit.ALL_FAILED


class _Progress:
    """Listener of a run: a line for each finished trial, or JSON lines, or nothing."""

    def __init__(self, problem: "Problem", *, as_json: bool, quiet: bool) -> None:
        self.problem, self.as_json, self.quiet = problem, as_json, quiet
        self.began = time.monotonic()

    def line(self, text: str) -> None:
        if self.as_json:
            json_line({"event": "note", "text": text})
        elif not self.quiet:
            out(text)

    def __call__(self, event: str, trial: "Trial | None", text: str) -> None:
        if self.as_json:
            if event != "report" or trial is None:
                json_line(
                    {"event": event, "text": text, "trial": None if trial is None else trial_json(trial)}
                )
            else:
                json_line(
                    {
                        "event": event,
                        "number": trial.number,
                        "step": trial.step,
                        "metrics": dict(trial.metrics),
                    }
                )
        elif trial is None:
            self.line(f"note: {text}")
        elif event == "retry":
            self.line(f"trial {trial.number} is tried again: {text}")
        elif event == "finish":
            result = goals(self.problem, trial) if trial.failure is None else trial.failure.message
            settings = ", ".join(f"{name}={show(value)}" for name, value in trial.config.items())
            self.line(
                f"trial {trial.number} {trial.state.value}: {result} [{settings}] {duration(trial.seconds)}"
            )


def _conclude(study: "Study", say: _Progress) -> int:
    """Print what was found; the exit code says what kind of end it is."""
    history = study.history
    if history.finished and len(history.failed) == len(history.finished):
        causes = sorted({f"{t.failure.cause}: {t.failure.message}" for t in history.failed if t.failure})
        for cause in causes[:5]:
            note(cause)
        note(f"every one of {len(history.failed)} trials failed.")
        return Exit.ALL_FAILED
    front = history.front
    if not front:
        note("no trial is feasible." if history.complete else "no trial is complete yet.")
        return Exit.NOT_FEASIBLE if history.complete else Exit.DONE
    if say.as_json:
        json_line({"event": "result", "trials": len(history), "best": [trial_json(t) for t in front]})
        return Exit.DONE
    if len(study.problem.objectives) > 1:
        out(f"front of {len(front)} trials among {len(history)}:")
        for trial in front:
            out(f"  trial {trial.number}: {goals(study.problem, trial)}")
    else:
        best = front[0]
        out(f"best of {len(history)} trials: trial {best.number}, {goals(study.problem, best)}")
        for name, value in best.config.items():
            out(f"  {name}: {show(value)}")
    test = study.record.notes().get("test")
    if test:
        shown = ", ".join(f"{name} {show(value)}" for name, value in test["metrics"].items())
        out(f"test of trial {test['trial']}: {shown}")
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

    file = load(study_file, overrides or ())
    facts = file.check(address=address)
    if as_json:
        json_out(facts)
        return Exit.DONE
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {show(item)}" for key, item in value.items() if item is not None)
        out(f"{name}: {value}")
    return Exit.DONE
