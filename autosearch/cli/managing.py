"""`enqueue`, `init`, `list`, `schema`."""

import inspect
from pathlib import Path
from typing import Annotated

import typer

from autosearch.cli.options import AsJson, Overrides, StudyPath
from autosearch.cli.output import Exit, json_out, note, out, show, table

KINDS = (
    "searchers",
    "schedulers",
    "tasks",
    "training",
    "layers",
    "criteria",
    "spaces",
    "models",
    "adapters",
    "runners",
    "records",
    "loggers",
    "report_sections",
    "drawings",
)


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(enqueue)
    app.command()(init)
    app.command("list")(list_plugins)
    app.command()(schema)


def enqueue(
    study_file: StudyPath,
    values: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="Parameters and their values.")
    ],
    overrides: Overrides = None,
) -> int:
    """Queue a configuration by hand; a running study takes it next."""
    from autosearch.compose import load

    path, config = load(study_file, overrides or ()).enqueue(values)
    out(f"queued: {', '.join(f'{name}={show(value)}' for name, value in config.items())}")
    out(f"file: {path}")
    return Exit.DONE


_STARTER = """\
# A study: what is searched, what a trial runs, and what may be spent. `autosearch run {name}` starts it,
# and continues it when it was interrupted. `autosearch check {name}` says what would happen.

study: {study}
seed: 0

# What a trial runs: a built-in task as here, or one of
#   run: {{function: train.py:train}}              called as train(config), returns or reports its metrics
#   run: {{command: "python train.py --lr {{lr}}"}}  prints JSON lines such as {{"step": 1, "loss": 0.5}}
#   run: {{optuna: objective.py:objective}}        an Optuna objective, unchanged
run: {{task: image_classification, dataset: digits, model: mlp, epochs: 20}}

# Metrics to minimize or maximize; several give a front.
objectives: {{val_accuracy: maximize}}

# What must hold for a result to count, such as `params <= 200000`.
# constraints: []

space:
  lr:        {{type: float, low: 1e-4, high: 1e-1, log: true}}
  width:     {{type: int, low: 16, high: 256, log: true}}
  optimizer: [sgd, adamw]                       # a list is a choice
  momentum:  {{type: float, low: 0.0, high: 0.99, when: optimizer == 'sgd'}}

# Who suggests: `auto` chooses and says why. `autosearch list searchers` names all,
# `autosearch list searchers bayesian` says all about one.
searcher: auto

# Who stops losers early, such as {{method: asha, min: 2, max: 20}}.
# scheduler: asha

# The first that is spent ends the study; a larger budget continues it.
budget: {{trials: 40}}

# resources: {{cpus: 1, gpus: 0, parallel: auto}}
# limits: {{minutes: 10}}
"""


def init(
    path: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="File to write.")] = Path("study.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> int:
    """Write a commented starter file."""
    if path.exists() and not force:
        note(f"{path} exists. Name another file, or overwrite it with --force.")
        return Exit.BAD_INPUT
    from autosearch.core.files import writing

    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_STARTER.format(name=path, study=path.stem), encoding="utf-8")
    out(f"wrote {path}; next: autosearch run {path}")
    return Exit.DONE


def list_plugins(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="These alone: searchers, tasks, …", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="All about this one.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> int:
    """List everything registered: searchers, schedulers, tasks, spaces and so on."""
    from autosearch.core import plugins

    kinds = KINDS if kind is None else (_kind(kind),)
    if name is not None:
        return _all_about(kinds[0], name, as_json=as_json)
    found = plugins.describe(kinds)
    if as_json:
        json_out(found)
        return Exit.DONE
    rows = [
        [plugins.singular(kind), name, text] for kind, names in found.items() for name, text in names.items()
    ]
    table(["kind", "name", "what it is"], rows)
    return Exit.DONE


def _kind(word: str) -> str:
    from autosearch.core import OptionError, plugins
    from autosearch.space import did_you_mean

    known = {plugins.singular(kind): kind for kind in KINDS} | {kind: kind for kind in KINDS}
    if word not in known:
        hint = did_you_mean(word, known) or f" Known: {', '.join(KINDS)}."
        raise OptionError(f"list: unknown kind {word!r}.{hint}", "kind")
    return known[word]


def _all_about(kind: str, name: str, *, as_json: bool) -> int:
    """Print what a plug-in says of itself and of what it inherits its options from, and the options' defaults."""
    from autosearch.core import plugins

    found = plugins.load(kind, name)
    above = [part for part in getattr(found, "__mro__", ())[1:] if "Attributes:" in (part.__doc__ or "")]
    about = [inspect.getdoc(part) or "" for part in (found, *above)]
    options = {
        option: "required" if parameter.default is parameter.empty else show(parameter.default)
        for option, parameter in (plugins.option_parameters(found) or {}).items()
        if str(parameter.default) != "<factory>"  # of a dataclass, which shows nothing of it
    }
    if as_json:
        json_out({"kind": plugins.singular(kind), "name": name, "about": about, "options": options})
        return Exit.DONE
    out("\n\n".join(about))
    if options:
        out("\nDefaults:")
        for option, default in options.items():
            out(f"    {option}: {default}")
    return Exit.DONE


def schema() -> int:
    """Print the JSON schema of study files, for editors."""
    from autosearch.spec import json_schema

    json_out(json_schema())
    return Exit.DONE
