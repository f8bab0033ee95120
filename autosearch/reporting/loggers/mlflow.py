"""MLflow: one experiment a study, one run a trial."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autosearch.core import State, Trial
from autosearch.reporting.loggers.base import finite, require, scalars

_MOST_TEXT = 500  # MLflow's own limit of a parameter's value is higher; more is not readable in its table


class MlflowLogger:
    """Runs in the tracking store that `MLFLOW_TRACKING_URI` names, else in `OUTPUT/mlflow.db`."""

    def __init__(self, name: str, output: Path, resolved: Mapping[str, Any]) -> None:  # noqa: ARG002 - a logger's signature
        import os

        tracking = require("mlflow.tracking", "mlflow")
        output.mkdir(parents=True, exist_ok=True)
        address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{output / 'mlflow.db'}"
        self._client: Any = tracking.MlflowClient(tracking_uri=address)
        found = self._client.get_experiment_by_name(name)
        place = None if os.environ.get("MLFLOW_TRACKING_URI") else (output / "mlflow").as_uri()
        self._experiment = (
            found.experiment_id
            if found is not None
            else self._client.create_experiment(name, artifact_location=place)
        )
        self._runs: dict[int, str] = {}

    def report(self, trial: Trial) -> None:
        """Write the last report's metrics."""
        run = self._of(trial)
        for name, value in finite(trial.metrics).items():
            self._client.log_metric(run, _key(name), value, step=trial.step)

    def finish(self, trial: Trial) -> None:
        """Write the result and end the run."""
        run = self._of(trial)
        for name, value in finite(trial.metrics).items():
            self._client.log_metric(run, _key(name), value, step=trial.step)
        self._client.set_tag(run, "state", trial.state.value)
        if trial.failure is not None:
            self._client.set_tag(
                run, "failure", f"{trial.failure.cause}: {trial.failure.message}"[:_MOST_TEXT]
            )
        self._client.set_terminated(run, "FAILED" if trial.state is State.FAILED else "FINISHED")
        self._runs.pop(trial.number)

    def close(self) -> None:
        """End the runs of trials that go on in the next session."""
        while self._runs:
            self._client.set_terminated(self._runs.popitem()[1], "KILLED")

    def _of(self, trial: Trial) -> str:
        if trial.number not in self._runs:
            run = self._client.create_run(self._experiment, run_name=f"trial {trial.number}")
            self._runs[trial.number] = run.info.run_id
            for name, value in scalars(trial.config).items():
                self._client.log_param(run.info.run_id, _key(name), str(value)[:_MOST_TEXT])
        return self._runs[trial.number]


def _key(name: str) -> str:
    """A name that MLflow allows."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)
