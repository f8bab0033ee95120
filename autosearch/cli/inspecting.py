"""`status`, `best`, `trials`, `export`: commands that read the record and write nothing to it."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autosearch.cli.options import AsJson, Overrides, StudyPath
from autosearch.cli.output import (
    Exit,
    duration,
    goals,
    json_out,
    last_lines,
    note,
    out,
    show,
    table,
    trial_json,
)

if TYPE_CHECKING:
    from autosearch.core import History, Record


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(status)
    app.command()(best)
    app.command()(trials)
    app.command()(export)


def _read(study_file: Path, overrides: list[str] | None) -> "tuple[Record, History]":
    from autosearch.compose import read_record

    record = read_record(study_file, overrides or ())
    history = record.history()
    history.stages = record.stages()
    return record, history


def status(study_file: StudyPath, as_json: AsJson = False, overrides: Overrides = None) -> int:
    """Show where a study stands."""
    record, history = _read(study_file, overrides)
    if as_json:
        json_out(_facts(record, history))
        return Exit.DONE
    from autosearch.core import State
    from autosearch.reporting.standing import Tally, lines

    out(f"study: {record.name}")
    out(f"record: {record.location}")
    tally = Tally.of(history)
    for label, words in lines(history, tally):
        out(f"{label}: {words}")
    if tally.counts[State.RUNNING] and getattr(record, "driven", None) is False:
        out("driver: none is left; what counts as running goes on with `autosearch run`")
    return Exit.DONE


def _facts(record: "Record", history: "History") -> dict[str, Any]:
    from autosearch.core.failures import grouped

    spent = asdict(history.spent)
    if not history.problem.price_per_hour:
        del spent["cost"]
    return {
        "study": record.name,
        "record": record.location,
        "driven": getattr(record, "driven", None),
        "objectives": list(history.problem.metric_names),
        "trials": _counts(history),
        "spent": spent,
        "budget": asdict(history.problem.budget),
        "failures": grouped(trial.failure for trial in history.failed if trial.failure),
        "stages": {name: _counts(stage) for name, stage in history.stages.items()},
        "best": [trial_json(trial) for trial in history.front],
    }


def _counts(history: "History") -> dict[str, int]:
    counts: dict[str, int] = {}
    for trial in history:
        counts[trial.state.value] = counts.get(trial.state.value, 0) + 1
    return counts


def best(study_file: StudyPath, as_json: AsJson = False, overrides: Overrides = None) -> int:
    """Show the best configuration, or the front of a study with several objectives."""
    from autosearch.core.stages import last_stages

    record, history = _read(study_file, overrides)
    front = history.front
    if as_json:
        notes = record.notes()
        last = {
            number: [trial_json(trial) for trial in stage.front]
            for number, stage in last_stages(history).items()
        }
        json_out(
            {
                "record": record.location,
                "best": [trial_json(trial) for trial in front],
                "test": notes.get("test"),
                **({"finally": last, "finally_test": notes.get("finally")} if last else {}),
            }
        )
    if not front:
        note(f"{record.name} has no feasible complete trial yet.")
        all_failed = bool(history.finished) and len(history.failed) == len(history.finished)
        return Exit.ALL_FAILED if all_failed else Exit.NOT_FEASIBLE
    if as_json:
        return Exit.DONE
    for trial in front:
        out(f"trial {trial.number}: {goals(history.problem, trial)}")
        for name, value in trial.config.items():
            out(f"  {name}: {show(value)}")
        others = {k: v for k, v in trial.metrics.items() if k not in history.problem.metric_names}
        if others:
            out("  also measured: " + ", ".join(f"{name} {show(value)}" for name, value in others.items()))
        if trial.checkpoint and Path(trial.checkpoint).is_dir():
            out(f"  checkpoint: {trial.checkpoint}")
    for text in last_lines(history, record.notes()):
        out(text)
    out(f"record: {record.location}")
    return Exit.DONE


def trials(
    study_file: StudyPath,
    as_json: AsJson = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV with every metric.")] = False,
    overrides: Overrides = None,
) -> int:
    """List every trial."""
    _, history = _read(study_file, overrides)
    if as_json:
        json_out([trial_json(trial) for trial in history])
    elif csv:
        history.to_frame().to_csv(sys.stdout, index=False)
    else:
        names = [name for name in history.problem.space.parameters if any(name in t.config for t in history)]
        metrics = history.problem.metric_names
        rows = [
            [
                trial.number,
                trial.state.value if trial.failure is None else f"failed ({trial.failure.cause})",
                *(trial.metrics.get(name, "") for name in metrics),
                *(trial.config.get(name, "") for name in names),
                trial.step,
                duration(trial.seconds),
            ]
            for trial in history
        ]
        table(["trial", "state", *metrics, *names, "step", "time"], rows)
    return Exit.DONE


def export(
    study_file: StudyPath,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder to write into; made if missing.")],
    trial: Annotated[
        int | None, typer.Option(metavar="N", help="Trial to export, instead of the best.")
    ] = None,
    overrides: Overrides = None,
) -> int:
    """Write a trial's configuration, checkpoint and the command that reproduces it into a folder."""
    from autosearch.compose import load

    file = load(study_file, overrides or ())
    record = file.read()
    history = record.history()
    history.stages = record.stages()
    for path in file.export(record, history, _chosen(history) if trial is None else trial, folder):
        out(str(path))
    return Exit.DONE


def _chosen(history: "History") -> int:
    from autosearch.core import StudyError

    front = history.front
    if len(front) != 1:
        names = ", ".join(str(t.number) for t in front)
        raise StudyError(f"export: name one with --trial N; the front holds {names or 'no trial yet'}.")
    return front[0].number
