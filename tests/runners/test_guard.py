"""The process that cleans up after a killed driver; its ending of processes is tested over real Ray."""

import io
import json
from pathlib import Path

import pytest

from autosearch.runners.ray import guard


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path, Path]:
    """A killed driver's run (of no process), the folder of its session, its note for a later driver."""
    monkeypatch.setattr(guard, "_PATIENCE_S", 0.0)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    folder, marker = tmp_path / "session", tmp_path / "ray.json"
    folder.mkdir()
    marker.write_text(json.dumps({"run": "0123456789abcdef", "folder": str(folder)}))
    return "0123456789abcdef", folder, marker


def test_guard_removes_a_killed_drivers_folder_and_note(session: tuple[str, Path, Path]) -> None:
    run, folder, marker = session
    guard.watch(run, str(folder), str(marker))
    assert not folder.exists()
    assert not marker.exists()


@pytest.mark.parametrize("text", ['{"run": "another", "folder": "/x"}', '{"run": "0123', ""])
def test_guard_leaves_the_note_of_another_driver(session: tuple[str, Path, Path], text: str) -> None:
    run, folder, marker = session
    marker.write_text(text)
    guard.watch(run, str(folder), str(marker))
    assert marker.read_text() == text


def test_guard_does_nothing_after_a_driver_that_ended_by_itself(
    session: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, folder, marker = session
    monkeypatch.setattr("sys.stdin", io.StringIO("done"))
    guard.watch(run, str(folder), str(marker))
    assert folder.exists()
    assert marker.exists()
