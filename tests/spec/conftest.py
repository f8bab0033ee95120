from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autosearch.core import SpecError
from autosearch.spec import StudySpec, load_spec

HEAD = "study: s\nsearcher: random\nobjectives: {loss: minimize}\nbudget: {trials: 1}\n"
RUN = "run: {task: synthetic_curves}\n"
SPACE = "space: {lr: {type: float, low: 0, high: 1}}\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StudySpec]:
    """Loads a text as `a.yaml`, from the folder that it lies in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOSEARCH_DATA", raising=False)

    def loads(text: str, *overrides: str) -> StudySpec:
        Path("a.yaml").write_text(text)
        return load_spec("a.yaml", overrides)

    return loads


@pytest.fixture
def problems(load: Callable[..., StudySpec]) -> Callable[..., list[str]]:
    """The lines of the SpecError that a text leads to."""

    def lines(*args: Any) -> list[str]:
        with pytest.raises(SpecError) as caught:
            load(*args)
        return caught.value.problems

    return lines
