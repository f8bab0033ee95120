"""The README's code blocks, executed as they are printed; studies but for their size."""

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import autosearch as asr

ROOT = Path(__file__).parents[1]
CODE = ROOT / "studies" / "code"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
STUDIES = [text for language, text in BLOCKS if language == "yaml" and text.startswith("study:")]
FRAGMENTS = [text for language, text in BLOCKS if language == "yaml" and not text.startswith("study:")]
SHELL = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines() if line.strip()]
SMALL = ["budget.trials=2", "resources.runner=inline", "resources.parallel=1", "run.epochs=1"]
# What makes the search itself small, by the study's name.
SMALLER = {"cells": ["searcher={method: robot, pool: 20, block: 10, metrics: [params]}"]}
AROUND = """\
study: fragment
objectives: {accuracy: maximize}
space: {lr: {type: float, low: 1e-4, high: 1e-1, log: true}, width: {type: int, low: 8, high: 64}}
budget: {trials: 1}
"""


def name_of(study: str) -> str:
    return study.split("\n", 1)[0].removeprefix("study: ").strip()


def without_data(error: asr.AutosearchError) -> None:
    """Skip where the only thing that is missing are data."""
    if "AUTOSEARCH_DATA" not in os.environ and "$AUTOSEARCH_DATA" in str(error):
        pytest.skip("needs real data: set AUTOSEARCH_DATA to a folder of datasets")


@pytest.mark.parametrize("text", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(text: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", STUDIES, ids=map(name_of, STUDIES))
def test_studies_run_to_their_best_trial(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(text, encoding="utf-8")
    try:
        asr.load("study.yaml").check()  # as it is printed
        study = asr.load("study.yaml", [*SMALL, *SMALLER.get(name_of(text), [])]).run()
    except asr.AutosearchError as error:
        without_data(error)
        raise
    assert study.history.complete


@pytest.mark.parametrize("text", FRAGMENTS, ids=range(len(FRAGMENTS)))
def test_parts_of_study_files_make_a_study(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # As in an environment that is activated: its `python` is found.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for path in CODE.glob("*.py"):
        Path(path.name).write_bytes(path.read_bytes())
    around = AROUND.replace("accuracy", "val_accuracy") if "task:" in text else AROUND
    text = text.replace("data_dir: ~/data\n", "")  # the reader's; here it is $AUTOSEARCH_DATA
    Path("study.yaml").write_text(around + text, encoding="utf-8")
    try:
        asr.load("study.yaml").check()
    except asr.AutosearchError as error:
        without_data(error)
        raise


@pytest.mark.parametrize("line", SHELL)
def test_shell_lines_name_what_there_is(line: str) -> None:
    """Their targets, commands and files; what they do is tested elsewhere, or takes minutes and a network."""
    words = shlex.split(line, comments=True)
    for before, word in itertools.pairwise(words):
        if before == "make":
            targets = re.findall(
                r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
            )
            assert word in targets
        if Path(before).name == "autosearch":
            done = subprocess.run(
                [sys.executable, "-m", "autosearch.cli.main", word, "--help"],
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        if word.startswith("studies/"):
            assert (ROOT / word).is_file()


def test_the_readme_has_blocks_to_test() -> None:
    assert PYTHON
    assert STUDIES
    assert SHELL
