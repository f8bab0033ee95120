from collections.abc import Callable
from pathlib import Path

import pytest

from autosearch.cli.main import run

STUDY = """\
study: curves
run: {task: synthetic_curves, steps: 4}
objectives: {loss: minimize}
space:
  x: {type: float, low: 0.0, high: 1.0}
  k: [a, b]
searcher: random
budget: {trials: 3}
resources: {runner: inline}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "curves.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs one command in process; returns exit code, standard output and standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        code = run([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
