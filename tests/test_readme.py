"""The README's code blocks, executed as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
STUDIES = [text for language, text in BLOCKS if language == "yaml" and text.startswith("study:")]


def in_process(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("text", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(text: str, tmp_path: Path) -> None:
    done = in_process([sys.executable, "-c", text], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", STUDIES, ids=range(len(STUDIES)))
def test_study_files_check(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    done = in_process([sys.executable, "-m", "autosearch.cli.main", "check", "study.yaml"], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_studies_check(path: Path, tmp_path: Path) -> None:
    done = in_process([sys.executable, "-m", "autosearch.cli.main", "check", str(path)], tmp_path)
    if "AUTOSEARCH_DATA" not in os.environ and "$AUTOSEARCH_DATA" in done.stderr:
        pytest.skip(f"{path.name} needs real data: set AUTOSEARCH_DATA to a folder of datasets")
    assert done.returncode == 0, done.stderr


def test_the_readme_has_blocks_to_test() -> None:
    assert PYTHON
    assert STUDIES
