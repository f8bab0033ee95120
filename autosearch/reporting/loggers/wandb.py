"""Weights & Biases: one run a trial, in a group of the study's name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autosearch.core import State, Trial
from autosearch.reporting.loggers.base import finite, require, scalars


class WandbLogger:
    """Runs in the project that `WANDB_PROJECT` names, else in `autosearch`; `WANDB_MODE=offline` keeps them local.

    Several trials run at once, so each gets a run of its own that is not the process's current one.
    """

    def __init__(self, name: str, output: Path, resolved: Mapping[str, Any]) -> None:  # noqa: ARG002 - a logger's signature
        import os

        self._wandb: Any = require("wandb", "wandb")
        self._study, self._folder = name, output
        self._project = os.environ.get("WANDB_PROJECT") or "autosearch"
        self._runs: dict[int, Any] = {}

    def report(self, trial: Trial) -> None:
        """Write the last report's metrics."""
        self._of(trial).log({**finite(trial.metrics), "step": trial.step})

    def finish(self, trial: Trial) -> None:
        """Write the result and end the run."""
        run = self._of(trial)
        run.summary.update({**finite(trial.metrics), "state": trial.state.value})
        if trial.failure is not None:
            run.summary.update({"failure": f"{trial.failure.cause}: {trial.failure.message}"})
        run.finish(exit_code=int(trial.state is State.FAILED))
        self._runs.pop(trial.number)

    def close(self) -> None:
        """End the runs of trials that go on in the next session."""
        while self._runs:
            self._runs.popitem()[1].finish()

    def _of(self, trial: Trial) -> Any:
        if trial.number not in self._runs:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._runs[trial.number] = self._wandb.init(
                project=self._project,
                group=self._study,
                name=f"trial {trial.number}",
                dir=str(self._folder),
                config=scalars(trial.config),
                reinit="create_new",
            )
        return self._runs[trial.number]
