"""`docs/extending.md`: its files are written as they are printed, pass their kits, and run as studies."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", TEXT, re.DOTALL))
TESTS = sorted(name for name in FILES if name.startswith("test_"))
STUDIES = sorted(name for name in FILES if name.endswith(".yaml"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_file_passes_its_kit(folder: Path) -> None:
    done = run(folder, "pytest", "-q", "-p", "no:cacheprovider", *TESTS)
    assert done.returncode == 0, done.stdout
    assert len(TESTS) == 4


@pytest.mark.parametrize("study", STUDIES)
def test_its_studies_run(folder: Path, study: str) -> None:
    done = run(folder, "autosearch.cli.main", "run", study)
    assert done.returncode == 0, done.stderr
