import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autosearch.core import RecordError, Study
from autosearch.record.dashboard import make_server, open_storage
from autosearch.space import Float


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A study whose best values break the constraint, with one and with two objectives."""
    path = tmp_path / "study.journal"
    for name, objectives in (
        ("one", {"loss": "minimize"}),
        ("two", {"loss": "minimize", "size": "minimize"}),
    ):
        with Study(
            {"x": Float(0.0, 1.0)},
            objectives,
            constraints=["size <= 10"],
            searcher="random",
            storage=path,
            name=name,
        ) as study:
            for loss, size in ((0.1, 50.0), (0.5, 5.0), (0.7, 4.0), (0.9, 9.0)):
                trial = study.ask()
                study.report(trial, {"loss": loss, "size": size}, step=1)
                study.tell(trial)
    return path


@pytest.fixture
def address(journal: Path) -> Iterator[str]:
    server = make_server(open_storage(str(journal)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


def test_an_infeasible_trial_is_shown_but_never_best(address: str) -> None:
    for study in get(f"{address}/api/studies")["study_summaries"]:
        detail = get(f"{address}/api/studies/{study['study_id']}?after=0")
        assert len(detail["trials"]) == 4
        assert detail["trials"][0]["constraints"] == [40.0]
        expected = [1] if study["study_name"] == "one" else [1, 2]
        assert [trial["number"] for trial in detail["best_trials"]] == expected


def test_metric_names_are_on_the_axes(address: str) -> None:
    studies = {s["study_name"]: s["study_id"] for s in get(f"{address}/api/studies")["study_summaries"]}
    assert get(f"{address}/api/studies/{studies['two']}?after=0")["objective_names"] == ["loss", "size"]


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/api/studies/0"), ("PUT", "/api/studies/0/note")])
def test_writing_requests_are_refused_with_one_sentence(address: str, method: str, path: str) -> None:
    request = urllib.request.Request(address + path, method=method, data=b"{}")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 403
    assert "only shows the record" in json.loads(caught.value.read())["reason"]
    caught.value.close()


def test_a_port_in_use_and_a_missing_record_are_clear_errors(address: str, journal: Path) -> None:
    port = int(address.rsplit(":", 1)[1])
    with pytest.raises(RecordError, match=f"port {port} on 127.0.0.1 cannot be used"):
        make_server(open_storage(str(journal)), port)
    with pytest.raises(RecordError, match="there is no record yet"):
        open_storage(str(journal.with_name("none.journal")))
