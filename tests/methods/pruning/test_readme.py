"""The code blocks of the READMEs of pruning and meta pruning, executed as they are printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import autosearch
from autosearch.methods import metaprune, pruning

TEXTS = [Path(str(package.__file__)).with_name("README.md").read_text() for package in (pruning, metaprune)]
PYTHON = [code for text in TEXTS for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
STUDIES = [study for text in TEXTS for study in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_the_code_runs(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("study", STUDIES, ids=range(len(STUDIES)))
def test_the_study_files_are_valid(study, tmp_path):
    (tmp_path / "study.yaml").write_text(study)
    assert "prune" in autosearch.load(tmp_path / "study.yaml").check()["runs"]


def test_there_are_blocks_to_test():
    assert len(PYTHON) == 1
    assert len(STUDIES) == 2
