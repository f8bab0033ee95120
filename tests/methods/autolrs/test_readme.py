"""The code blocks of the method's README, executed as they are printed."""

import re
import subprocess
import sys
from pathlib import Path

import autosearch
from autosearch.methods import autolrs

BLOCKS = dict(
    re.findall(r"```(\w+)\n(.*?)```", Path(autolrs.__file__).with_name("README.md").read_text(), re.DOTALL)
)


def test_the_loop_runs():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS["python"]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_study_file_is_valid(tmp_path):
    (tmp_path / "study.yaml").write_text(BLOCKS["yaml"])
    study = autosearch.load(tmp_path / "study.yaml")
    assert study.check()["runs"] == "task image_classification"
