import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from autosearch.record.dashboard import app, open_storage

Command = Callable[..., tuple[int, str, str]]


def test_report_writes_one_page_beside_the_record(command: Command, study: Path) -> None:
    command("run", study)
    code, out, _ = command("report", study)
    page = study.parent / "results" / "curves" / "report.html"
    assert code == 0
    assert out == f"report: {page}\n"
    text = page.read_text(encoding="utf-8")
    assert "<h1>curves</h1>" in text
    assert "3 complete" in text
    assert "searcher:" in text  # the resolved study file


def test_report_goes_where_it_is_told(command: Command, study: Path, tmp_path: Path) -> None:
    command("run", study)
    code, _, _ = command("report", study, "--out", tmp_path / "new" / "page.html")
    assert code == 0
    assert (tmp_path / "new" / "page.html").is_file()


def test_report_without_a_record_says_so(command: Command, study: Path) -> None:
    code, _, err = command("report", study)
    assert code == 2
    assert "study.journal" in err
    assert "Traceback" not in err


def test_report_works_where_every_trial_failed(command: Command, study: Path) -> None:
    study.write_text(study.read_text().replace("steps: 4", "steps: 4, fail_rate: 1.0"))
    assert command("run", study)[0] == 3
    code, out, _ = command("report", study)
    assert code == 0
    page = Path(out.removeprefix("report: ").strip()).read_text(encoding="utf-8")
    assert "no complete trial" in page
    assert command("status", study)[0] == 0


def test_plan_shows_file_first_trials_rungs_probe_and_estimate(command: Command, study: Path) -> None:
    code, out, _ = command("plan", study, "--set", "scheduler.method=asha", "--set", "budget.trials=9")
    assert code == 0
    for words in ("retries:", "trial 0: x=", "step 4:", "probe: trial 0", "estimate:", "  time: ", "  - "):
        assert words in out


def test_plan_records_nothing_and_leaves_the_queue_alone(command: Command, study: Path) -> None:
    command("enqueue", study, "x=0.5")
    [queued] = (study.parent / "results" / "curves" / "queue").iterdir()
    code, _, _ = command("plan", study)
    assert code == 0
    assert queued.exists()
    assert not (study.parent / "results" / "curves" / "study.journal").exists()


def test_plan_names_the_trials_that_the_study_then_runs(command: Command, study: Path) -> None:
    _, out, _ = command("plan", study, "--json", "--no-probe")
    planned = json.loads(out)
    assert planned["probe"] is None
    command("run", study)
    ran = json.loads(command("trials", study, "--json")[1])
    assert [first["config"] for first in planned["first"]] == [t["config"] for t in ran]


def test_a_run_leaves_notes_and_pictures_for_the_dashboard(command: Command, study: Path) -> None:
    command("run", study)
    output = study.parent / "results" / "curves"
    storage = open_storage(str(output / "study.journal"))
    attributes = storage.get_study_system_attrs(0)
    assert "# `curves`" in attributes["dashboard:note_str:0"]
    assert "state | finished, 3 of 3 trials" in attributes["dashboard:note_str:0"]
    assert any(b"<svg" in path.read_bytes() for path in (output / "artifacts").iterdir())


def call(application: object, method: str, path: str) -> tuple[str, bytes]:
    status: list[str] = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "after=0", "SERVER_NAME": "x"}
    environ |= {"SERVER_PORT": "0", "wsgi.url_scheme": "http"}
    body = application(environ, lambda code, headers, *rest: status.append(code))  # type: ignore[operator]
    return status[0], b"".join(body)


def test_the_dashboard_serves_report_and_files_and_refuses_to_write(command: Command, study: Path) -> None:
    from autosearch.compose import load

    command("run", study)
    file = load(study)
    served = app(open_storage(file.spec.storage), artifacts=file.artifacts, report=file.report)
    status, page = call(served, "GET", "/report")
    assert status == "200 OK"
    assert page.startswith(b"<!doctype html>")
    trials = json.loads(call(served, "GET", "/api/studies/0")[1])["trials"]
    [entry, *_] = [a for t in trials for a in t["artifacts"]]
    number = next(t["trial_id"] for t in trials if t["artifacts"])
    status, content = call(served, "GET", f"/artifacts/0/{number}/{entry['artifact_id']}")
    assert status == "200 OK"
    assert content.startswith(b"<svg")
    status, answer = call(served, "DELETE", "/api/studies/0")
    assert status == "403 Forbidden"
    assert b"only shows the record" in answer


def test_a_port_in_use_is_said_in_one_line(command: Command, study: Path) -> None:
    command("run", study)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = command("dashboard", study, "--port", port)
    assert code == 2
    assert re.fullmatch(rf"port {port} on 127.0.0.1 cannot be used .*\n", err)


def test_a_record_of_a_newer_version_is_refused_by_every_reader(command: Command, study: Path) -> None:
    command("run", study)
    journal = study.parent / "results" / "curves" / "study.journal"
    text = journal.read_text(encoding="utf-8")
    assert '"autosearch:version": 1' in text or '"autosearch:version":1' in text
    journal.write_text(re.sub(r'("autosearch:version": ?)1', r"\g<1>99", text), encoding="utf-8")
    for words in (["status"], ["report"], ["dashboard", "--port", "0"]):
        code, _, err = command(words[0], study, *words[1:])
        assert code == 2
        assert "newer autosearch" in err


def test_status_reads_the_record_where_the_training_code_is_gone(command: Command, study: Path) -> None:
    command("run", study)
    study.write_text(study.read_text().replace("synthetic_curves", "no_such_task"))
    code, out, _ = command("status", study)
    assert code == 0
    assert "trials: 3 complete; budget 3" in out


def test_a_logger_whose_package_is_missing_stops_the_study_before_it_starts(
    command: Command, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    code, _, err = command("run", study, "--set", "loggers=[wandb]")
    assert code == 2
    assert "pip install 'autosearch[wandb]'" in err


def test_export_writes_a_model_card(command: Command, study: Path, tmp_path: Path) -> None:
    command("run", study)
    assert command("export", study, tmp_path / "out")[0] == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# `curves`, trial ")
    assert "Using it" not in card, "there is no network to load"
    assert "| `loss` |" in card
