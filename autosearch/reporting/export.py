"""Export: one trial as a folder from which it is reproduced."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autosearch.core import History, StudyError, Trial
from autosearch.reporting.card import model_card

_SCRIPT = """#!/bin/sh
# Trains trial {number} of the study {study} again: same configuration, same seed.
set -e
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
cd {folder}
exec autosearch run "$here/study.yaml" "$@"
"""


def pinned_study(resolved: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
    """The resolved study file with `trial`'s values fixed: a study of one trial that repeats it.

    The trial's seed follows from the study's seed and the configuration, so it is the same.
    """
    study = dict(resolved)
    study["study"] = f"{resolved['study']}-trial-{trial.number}"
    study["space"] = dict(trial.config)
    study.pop("require", None)
    study["searcher"] = "random"
    study["scheduler"] = None
    study["budget"] = {"trials": 1}
    study["storage"] = "reproduced/study.journal"
    study["output"] = "reproduced"
    return study


def export_trial(
    resolved: Mapping[str, Any],
    history: History,
    number: int,
    folder: Path,
    write_yaml: Callable[[Mapping[str, Any]], str],
    notes: Mapping[str, Any],
    export_weights: Callable[[Path, Path], bool],
) -> list[Path]:
    """Write trial `number` into `folder`, with a model card; returns what was written.

    Args:
        resolved: the study file with every default, paths absolute.
        history: of the study.
        number: of the trial.
        folder: made if missing; must be empty otherwise.
        write_yaml: mapping -> text.
        notes: of the study's record, for the model card.
        export_weights: (checkpoint, file) -> whether the file now holds the network's weights.

    Raises:
        StudyError: if there is no such trial, or the folder holds something.
    """
    if not 0 <= number < len(history):
        raise StudyError(f"export: there is no trial {number} among the study's {len(history)}.")
    trial = history[number]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"export: {folder} exists and is not an empty folder. Name another one.")
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "config.yaml", folder / "study.yaml", folder / "reproduce.sh", folder / "README.md"]
    config = write_yaml(dict(trial.config))
    written[0].write_text(config, encoding="utf-8")
    written[1].write_text(write_yaml(pinned_study(resolved, trial)), encoding="utf-8")
    study = str(resolved["study"])
    script = _SCRIPT.format(number=number, study=study, folder=_quoted(str(Path.cwd())))
    written[2].write_text(script, encoding="utf-8")
    written[2].chmod(0o755)
    if trial.checkpoint and Path(trial.checkpoint).is_dir():
        written.append(folder / "checkpoint")
        shutil.copytree(trial.checkpoint, written[-1])
        if export_weights(written[-1], folder / "weights.pt"):
            written.append(folder / "weights.pt")
    card = model_card(history, trial, name=study, config=config, notes=notes, files=written)
    written[3].write_text(card, encoding="utf-8")
    return written


def _quoted(path: str) -> str:
    return "'" + os.fspath(path).replace("'", "'\\''") + "'"
