"""Where a study's results come from: versions of what they depend on, command, folder, commit."""

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from autosearch.core.records import Json
from autosearch.spec.study_spec import StudySpec

VERSIONED = ("autosearch", "torch", "optuna", "ray", "botorch", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that results depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def origin(spec: StudySpec) -> dict[str, Json]:
    """Where a study was started: command, folder, study file, git commit of that folder."""
    return {
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "study_file": str(spec.path),
        "git": _git(spec.folder),
    }


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit and cleanliness of the checkout that `folder` lies in, None outside of one."""
    answers = []
    for command in (["rev-parse", "HEAD"], ["status", "--porcelain"]):
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *command],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        answers.append(done.stdout.strip())
    return {"commit": answers[0], "clean": not answers[1]}
