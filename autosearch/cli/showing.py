"""`report`, `dashboard`, `plan`: what people look at before, while and after a study runs."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from autosearch.cli.options import AsJson, Overrides, StudyPath
from autosearch.cli.output import Exit, alone, duration, json_out, out, show


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(plan)
    app.command()(report)
    app.command()(dashboard)


def report(
    study_file: StudyPath,
    path: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="File to write, instead of OUTPUT/report.html.", dir_okay=False
        ),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    overrides: Overrides = None,
) -> int:
    """Write one HTML file with everything that was found; it opens without a network."""
    from autosearch.compose import load
    from autosearch.core.files import writing

    file = load(study_file, overrides or ())
    page = file.report()
    target = (path or file.spec.output / "report.html").absolute()
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")
    out(f"report: {target}")
    if open_browser:
        typer.launch(target.as_uri())
    return Exit.DONE


def dashboard(
    study_file: StudyPath,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 0,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    overrides: Overrides = None,
) -> int:
    """Serve the Optuna dashboard over the record, on 127.0.0.1, read-only, until Ctrl-C."""
    from autosearch.compose import load
    from autosearch.record.dashboard import serve

    file = load(study_file, overrides or ())
    file.read().close()  # says what is wrong with the record before a server starts

    def ready(address: str) -> None:
        out(f"dashboard: {address}  (Ctrl-C ends it)")
        if open_browser:
            typer.launch(address)

    spec = file.spec
    serve(spec.storage, spec.study, port=port, ready=ready, artifacts=file.artifacts, report=file.report)
    return Exit.DONE


def plan(
    study_file: StudyPath,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Do not train a timed probe trial.")] = False,
    as_json: AsJson = False,
    overrides: Overrides = None,
) -> int:
    """Show what a study will do and cost before anything is spent."""
    from autosearch.compose import load
    from autosearch.spec.writing import write_yaml

    with alone() if as_json else nullcontext():
        found = load(study_file, overrides or ()).plan(timed=not no_probe)
    if as_json:
        json_out(found)
        return Exit.DONE
    out("study file with every default:")
    for line in write_yaml(found["study_file"]).splitlines():
        out(f"  {line}")
    for stage in found["stages"]:
        budget = ", ".join(
            f"{show(n)} {unit}" for unit, n in stage.items() if unit != "name" and n is not None
        )
        out(f"stage {stage['name']} first: {budget or 'no budget of its own'}")
    last = found["study_file"].get("finally")
    if last is not None:
        out(f"finally: {last['task']} goes on from the winner, which no estimate counts")
    out("first configurations:")
    for number, first in enumerate(found["first"]):
        settings = ", ".join(f"{name}={show(value)}" for name, value in first["config"].items())
        out(f"  trial {number}: {settings}" + (f"  ({first['why']})" if first["why"] else ""))
    _print_rungs(found)
    _print_probe(found["probe"])
    _print_estimate(found["estimate"])
    return Exit.DONE


def _print_rungs(found: dict[str, Any]) -> None:
    if not found["rungs"]:
        return
    trials = found["estimate"]["trials"]
    out("trials that reach each step:" if trials else "share of the trials that reaches each step:")
    for step, (low, high) in found["rungs"].items():
        words = (
            _range(round(low * trials[0]), round(high * trials[1]))
            if trials
            else _range(f"{low:.0%}", f"{high:.0%}")
        )
        out(f"  step {step}: {words}")


def _print_probe(probe: dict[str, Any] | None) -> None:
    if probe is None:
        out("probe: none was run")
        return
    metrics = ", ".join(f"{name} {show(value)}" for name, value in probe["metrics"].items())
    end = "to its end" if probe["whole"] else f"to step {probe['steps']}"
    out(f"probe: trial 0 {end} in {duration(probe['seconds'])}, {probe['step_s']:.3g} s a step: {metrics}")


def _print_estimate(estimate: dict[str, Any]) -> None:
    out("estimate:")
    trials, hours, cost, disk = (estimate[key] for key in ("trials", "hours", "cost", "disk_bytes"))
    out("  trials: " + ("not known" if trials is None else _range(*trials)))
    out("  time: " + ("not known" if hours is None else _range(*(duration(3600 * h) for h in hours))))
    if cost is not None:
        out("  cost: " + _range(*(f"{c:.2f}" for c in cost)))
    out("  disk: " + ("not known (no checkpoint was seen)" if disk is None else _range(*map(_bytes, disk))))
    for words in estimate["assumptions"]:
        out(f"  - {words}")


def _range(low: object, high: object) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
