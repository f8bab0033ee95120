"""Each target of `make fuzz`, for a moment: no reader crashes, and the targets still draw both kinds."""

import itertools
import shutil
from pathlib import Path

import pytest

from benchmarks.fuzz.run import Fuzz, HangError, watched
from benchmarks.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_a_reader_accepts_or_refuses_what_is_drawn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "studies" / "code", "code")
    fuzz = Fuzz(TARGETS[name], 0)
    fuzz.round(0, examples=80)
    assert fuzz.failures == []
    assert fuzz.accepted > 0
    assert fuzz.refused > 0


def test_what_hangs_or_executes_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmarks.fuzz.run.LIMIT_S", 0.05)
    with pytest.raises(HangError), watched():
        for _ in itertools.count():  # in Python, not in C, where no signal would be looked at
            pass
    with pytest.raises(RuntimeError, match="executed"), watched():
        shutil.rmtree(tmp_path / "none", ignore_errors=True)
