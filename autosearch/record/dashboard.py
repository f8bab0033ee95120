"""The Optuna dashboard over a record: read-only, on 127.0.0.1, with constraints respected.

The dashboard's own "best" and front ignore constraints in every format that Optuna has. Served from here, infeasible
trials are shown, and marked, but never ranked best; plain `optuna-dashboard FILE` cannot do that.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import optuna
import optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import _app

from autosearch.core import AutosearchError, RecordError
from autosearch.core.opening import record_kind

HOST = "127.0.0.1"
REFUSAL = "This dashboard only shows the record: the running study alone writes it."
_READING = ("GET", "HEAD", "OPTIONS")
REPORT = "/report"
StartResponse = Callable[..., Any]
App = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def feasible(trial: FrozenTrial) -> bool:
    """Whether a trial meets its constraints; one without any does."""
    return all(value <= 0 for value in trial.system_attrs.get("constraints", ()))


def open_storage(location: str) -> BaseStorage:
    """The Optuna storage at `location`, for reading; its best trial is the best feasible one.

    Raises:
        RecordError: if there is none, or it cannot be opened.
    """
    try:
        if record_kind(location) == "journal":
            if not Path(location).is_file():
                raise RecordError(f"{location}: there is no record yet. `autosearch run` makes it.")
            storage: BaseStorage = JournalStorage(JournalFileBackend(location))
        else:
            storage = RDBStorage(location, skip_table_creation=True)
    except (OSError, ValueError, optuna.exceptions.OptunaError) as error:
        raise RecordError(f"the record cannot be opened: {error}") from error
    plain = type(storage)

    class FeasibleStorage(plain):  # type: ignore[misc, valid-type]
        """`plain`, but an infeasible trial is never the best."""

        def get_best_trial(self, study_id: int) -> FrozenTrial:
            trials = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
            candidates = [trial for trial in trials if feasible(trial)]
            if not candidates:
                raise ValueError("No feasible trial is complete yet.")
            maximize = self.get_study_directions(study_id)[0] == StudyDirection.MAXIMIZE
            best: FrozenTrial = (max if maximize else min)(candidates, key=lambda trial: trial.value)
            return best

    storage.__class__ = FeasibleStorage
    return storage


def app(
    storage: BaseStorage, *, artifacts: Path | None = None, report: Callable[[], str] | None = None
) -> App:
    """The dashboard as a WSGI application that answers reading requests only.

    Args:
        storage: from `open_storage`.
        artifacts: folder of the files that the driver has attached to trials.
        report: makes the page served at `/report`, which the study's note links to.
    """
    plain_front = _app.get_pareto_front_trials

    def feasible_front(
        trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
    ) -> list[FrozenTrial]:
        found: list[FrozenTrial] = plain_front([t for t in trials if feasible(t)], directions)
        return found

    if plain_front.__name__ != feasible_front.__name__:
        _app.get_pareto_front_trials = feasible_front
    store = FileSystemArtifactStore(artifacts) if artifacts is not None and artifacts.is_dir() else None
    dashboard: App = optuna_dashboard.wsgi(storage, artifact_store=store)

    def reading(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in _READING:
            refusal = json.dumps({"reason": REFUSAL})
            return _answer(start_response, "403 Forbidden", "application/json", refusal)
        if report is not None and environ.get("PATH_INFO") == REPORT:
            try:
                page = report()
            except AutosearchError as error:
                return _answer(
                    start_response, "503 Service Unavailable", "text/plain; charset=utf-8", f"{error}\n"
                )
            return _answer(start_response, "200 OK", "text/html; charset=utf-8", page)
        return dashboard(environ, start_response)

    return reading


def _answer(start_response: StartResponse, status: str, kind: str, text: str) -> list[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # WSGIServer asks the name service for this host's name, which can take seconds and is not needed.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.server_address[1]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a line for each request would bury the address."""


def make_server(storage: BaseStorage, port: int = 0, **shown: Any) -> WSGIServer:
    """A server on 127.0.0.1, bound but not serving yet; port 0 takes a free one. `shown` goes to `app`.

    Raises:
        RecordError: if the port is in use.
    """
    try:
        server = _Server((HOST, port), _Quiet)
    except OSError as error:
        raise RecordError(
            f"port {port} on {HOST} cannot be used ({error.strerror}). Leave --port out to take a free one."
        ) from error
    server.set_app(app(storage, **shown))
    return server


def serve(
    location: str,
    name: str,
    *,
    port: int = 0,
    ready: Callable[[str], None],
    artifacts: Path | None = None,
    report: Callable[[], str] | None = None,
) -> None:
    """Serve the dashboard until the process is interrupted; `ready` gets the address of study `name`.

    Raises:
        RecordError: if there is no record, or the port is in use.
    """
    storage = open_storage(location)
    with make_server(storage, port, artifacts=artifacts, report=report) as server:
        names = {study.study_name: study._study_id for study in storage.get_all_studies()}
        page = f"studies/{names[name]}" if name in names else ""
        ready(f"http://{HOST}:{server.server_port}/dashboard/{page}")
        server.serve_forever(poll_interval=0.2)
