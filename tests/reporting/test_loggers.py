import os
from pathlib import Path

import pytest

from autosearch.core import Study
from autosearch.reporting.loggers.base import Logging

# Not undone after a test: a thread of MLflow's reports its use, and writes into the home folder, when it likes.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

# These packages warn about themselves and each other.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They write into the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


def logged_study(name: str, output: Path) -> Study:
    """Three trials, one of which fails, run under a logger."""
    study = Study(
        {"x": {"type": "float", "low": 0.0, "high": 1.0}, "k": ["a", "b"]},
        {"val/loss": "minimize"},
        searcher="random",
        budget={"trials": 3},
        name="demo",
    )
    logging = Logging(study, (name,), output, {})
    told: list[str] = []
    study.listeners.append(logging)
    study.listeners.append(lambda event, trial, text: told.append(text) if event == "note" else None)
    for trial in study.ask(3):
        study.report(trial, {"val/loss": 1.0, "odd": float("nan")}, step=1)
        study.report(trial, {"val/loss": 0.5}, step=2)
        if trial.number == 2:
            study.tell(trial, error="out of memory")
        else:
            study.tell(trial, {"val/loss": 0.25})
    logging.close()
    assert told == []
    return study


def test_tensorboard_gets_a_run_with_a_curve_for_every_trial(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged_study("tensorboard", tmp_path)
    runs = sorted(path.name for path in (tmp_path / "tensorboard" / "demo").iterdir())
    assert runs == ["trial-00000", "trial-00001", "trial-00002"]
    found = EventAccumulator(str(tmp_path / "tensorboard" / "demo" / "trial-00000"))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("val/loss")][:2] == [(1, 1.0), (2, 0.5)]


def test_mlflow_gets_parameters_curve_and_state_of_every_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged_study("mlflow", tmp_path)
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("demo")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {
        "trial 0": "FINISHED",
        "trial 1": "FINISHED",
        "trial 2": "FAILED",
    }
    first = runs["trial 0"]
    assert set(first.data.params) == {"x", "k"}
    history = client.get_metric_history(first.info.run_id, "val/loss")
    assert {(m.step, m.value) for m in history} == {(1, 1.0), (2, 0.5), (2, 0.25)}
    assert runs["trial 2"].data.tags["failure"].startswith("oom")


def test_wandb_keeps_a_run_for_every_trial_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    for name, value in (
        ("MODE", "offline"),
        ("SILENT", "true"),
        ("CONFIG_DIR", str(tmp_path / "config")),
        ("CACHE_DIR", str(tmp_path / "cache")),
        ("DATA_DIR", str(tmp_path / "data")),
    ):
        monkeypatch.setenv(f"WANDB_{name}", value)
    logged_study("wandb", tmp_path)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 3
