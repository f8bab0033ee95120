"""TensorBoard: one run a trial with its curves, and the table of hyperparameters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autosearch.core import Trial
from autosearch.reporting.loggers.base import finite, require, scalars


class TensorBoardLogger:
    """Event files under `OUTPUT/tensorboard/STUDY`: look with `tensorboard --logdir OUTPUT/tensorboard`."""

    def __init__(self, name: str, output: Path, resolved: Mapping[str, Any]) -> None:  # noqa: ARG002 - a logger's signature
        require("tensorboard", "tensorboard")
        self._writer: Any = require("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._folder = output / "tensorboard" / name.replace("/", "_")
        self._open: dict[int, Any] = {}

    def report(self, trial: Trial) -> None:
        """Write the last report's metrics as scalars."""
        writer = self._of(trial)
        for name, value in finite(trial.metrics).items():
            writer.add_scalar(name, value, trial.step)

    def finish(self, trial: Trial) -> None:
        """Write the configuration with the result, and close the trial's file."""
        writer = self._of(trial)
        results = {f"result/{name}": value for name, value in finite(trial.metrics).items()}
        writer.add_hparams(scalars(trial.config), results, run_name=".")
        writer.add_text(
            "state", trial.state.value if trial.failure is None else f"failed: {trial.failure.message}"
        )
        self._open.pop(trial.number).close()

    def close(self) -> None:
        """Close the files of trials that are still open."""
        while self._open:
            self._open.popitem()[1].close()

    def _of(self, trial: Trial) -> Any:
        if trial.number not in self._open:
            self._open[trial.number] = self._writer(log_dir=str(self._folder / f"trial-{trial.number:05d}"))
        return self._open[trial.number]
