import json
import zipfile
from pathlib import Path

import optuna
import pytest
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._note import get_note_from_system_attrs
from optuna_dashboard.artifact._backend import list_trial_artifacts

from autosearch.core import RecordError, Study
from autosearch.record.dashboard import open_storage
from autosearch.record.open import open_journal
from autosearch.record.publish import DashboardBoard
from autosearch.record.record import StudyRecord


@pytest.fixture
def study(tmp_path: Path) -> Study:
    from autosearch.core import Goal, Problem
    from autosearch.space import Float, SearchSpace

    problem = Problem(SearchSpace({"x": Float(0.0, 1.0)}), (Goal("loss"),))
    record = open_journal(str(tmp_path / "study.journal"), "demo", problem)
    study = Study(problem.space, problem.objectives, searcher="random", record=record)
    for trial in study.ask(3):
        study.tell(trial, 0.5)
    return study


def board_of(study: Study, folder: Path | None = None) -> DashboardBoard:
    assert isinstance(study.record, StudyRecord)
    return DashboardBoard(study.record, folder)


def stored(tmp_path: Path) -> dict[str, object]:
    storage = open_storage(str(tmp_path / "study.journal"))
    [found] = storage.get_all_studies()
    return dict(storage.get_study_system_attrs(found._study_id))


def test_the_dashboard_reads_the_notes_as_they_were_written(study: Study, tmp_path: Path) -> None:
    board = board_of(study)
    long = "line\n" * 2000
    board.note(["# state\n", long])
    board.trial_note(1, "why")
    attributes = stored(tmp_path)
    assert get_note_from_system_attrs(attributes, None)["body"] == "# state\n" + long
    assert get_note_from_system_attrs(attributes, 1)["body"] == "why"


def test_a_shorter_note_leaves_nothing_of_a_longer_one(study: Study, tmp_path: Path) -> None:
    board = board_of(study)
    board.note(["x" * 9000])
    board.note(["short"])
    note = get_note_from_system_attrs(stored(tmp_path), None)
    assert note == {"version": 2, "body": "short"}


def test_what_did_not_change_is_not_written_again(study: Study, tmp_path: Path) -> None:
    file = "study: demo\n" * 500
    board = board_of(study)
    board.note(["state 1", file])
    before = (tmp_path / "study.journal").stat().st_size
    board.note(["state 2", file])
    assert (tmp_path / "study.journal").stat().st_size - before < 1000
    before = (tmp_path / "study.journal").stat().st_size
    board.note(["state 2", file])
    board_of(study).note(["state 2", file])
    assert (tmp_path / "study.journal").stat().st_size == before


def test_figures_are_found_whole_under_their_name(study: Study, tmp_path: Path) -> None:
    text = json.dumps({"data": [1.0] * 3000, "layout": {}})
    board = board_of(study)
    board.figure("surrogate-0", text)
    assert get_plotly_graph_objects(stored(tmp_path)) == {"surrogate-0": text}
    with pytest.raises(RecordError, match="is made of letters"):
        board.figure("a:b", text)


def test_files_are_attached_to_finished_trials_and_folders_are_packed(study: Study, tmp_path: Path) -> None:
    checkpoint, folder = tmp_path / "checkpoint", tmp_path / "artifacts"
    (checkpoint / "deep").mkdir(parents=True)
    (checkpoint / "deep" / "weights").write_bytes(b"12345")
    board = board_of(study, folder)
    board.artifact(1, "curve.svg", b"<svg/>")
    board.artifact(1, "checkpoint.zip", checkpoint)
    board.artifact(1, "curve.svg", b"<svg>new</svg>")
    storage = open_storage(str(tmp_path / "study.journal"))
    trial = storage.get_all_trials(0)[1]
    found = {a["filename"]: a for a in list_trial_artifacts(stored(tmp_path), {}, trial)}
    assert found["curve.svg"]["mimetype"] == "image/svg+xml"
    assert (folder / found["curve.svg"]["artifact_id"]).read_bytes() == b"<svg>new</svg>"
    with zipfile.ZipFile(folder / found["checkpoint.zip"]["artifact_id"]) as archive:
        assert archive.namelist() == ["deep/weights"]
    assert len(list(folder.iterdir())) == 2


def test_a_checkpoint_that_is_too_large_is_left_out(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autosearch.record.publish.MOST_ARTIFACT_BYTES", 4)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "weights").write_bytes(b"12345")
    board_of(study, tmp_path / "artifacts").artifact(0, "checkpoint.zip", checkpoint)
    assert not any(key.startswith("dashboard:artifacts") for key in stored(tmp_path))


def test_notes_do_not_disturb_what_the_study_reads_back(study: Study, tmp_path: Path) -> None:
    board_of(study).note(["state"])
    study.close()
    record = open_journal(str(tmp_path / "study.journal"), "demo", None, read_only=True)
    assert len(record.history()) == 3
    assert open_storage(record.location).get_all_trials(0)[0].state == optuna.trial.TrialState.COMPLETE
