"""locate_study: where a study file's record is, without loading what the study runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from autosearch.spec.keys import PATHS, STUDY
from autosearch.spec.loading import _Loader
from autosearch.spec.overrides import apply_override
from autosearch.spec.reading import read_file
from autosearch.spec.values import read_keys


@dataclass(frozen=True, slots=True)
class StudyPlace:
    """A study's name, and the absolute places of its record and its output."""

    study: str
    storage: str
    output: Path


def locate_study(path: str | Path, overrides: Sequence[str] = ()) -> StudyPlace:
    """Where the study of a file is recorded; its other sections are not looked at.

    Commands that only read the record use it: what a study runs may take seconds to import, or be gone.

    Args:
        path: of the study file.
        overrides: `key=value` texts, put over the file.

    Raises:
        SpecError: the file cannot be read, or its name or a path breaks a rule.
    """
    document = read_file(Path(path), str(path))
    if not isinstance(document.data, dict):
        raise document.refusal((), "must be a mapping with the keys of a study")
    for override in overrides:
        apply_override(document, override)
    keys = (STUDY, *PATHS)
    if document.data.get(STUDY.name) is None:
        document.add((), f"'{STUDY.name}' is missing")
    given = {key.name: document.data[key.name] for key in keys if key.name in document.data}
    top = read_keys(document, (), given, keys)
    paths = _Loader(document, Path(os.path.abspath(path)))._paths(top)  # noqa: PTH100 - without following links
    error = document.error()
    if error is not None:
        raise error
    return StudyPlace(top[STUDY.name], str(paths["storage"]), cast(Path, paths["output"]))
