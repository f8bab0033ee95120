"""What loggers share: they are told of a study's own trials as listeners are, and build on an optional package."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from autosearch.core import Study, Trial, plugins
from autosearch.core.errors import ResolveError
from autosearch.reporting.listening import Guarded, own


@runtime_checkable
class TrialLogger(Protocol):
    """What a logger's plug-in is: built as `Logger(study name, output folder, resolved study file)`.

    One that cannot be built raises an AutosearchError, and the study does not start.
    """

    def __init__(self, name: str, output: Path, resolved: Mapping[str, Any]) -> None: ...

    def report(self, trial: Trial) -> None:
        """A trial has reported; its last report is `trial.metrics` at `trial.step`."""
        ...

    def finish(self, trial: Trial) -> None:
        """A trial has ended."""
        ...

    def close(self) -> None:
        """The study ends or is interrupted; everything is flushed."""
        ...


class Logging:
    """The study's loggers as one listener; a logger that fails is left out, the others go on.

    Args:
        study: whose own trials are logged; those of its stages are not.
        names: of the loggers.
        output: folder of the study.
        resolved: the study file with every default.

    Raises:
        ResolveError: if a logger is unknown or its package is not installed.
    """

    def __init__(
        self, study: Study, names: tuple[str, ...], output: Path, resolved: Mapping[str, Any]
    ) -> None:
        self._study = study
        self._loggers: list[tuple[TrialLogger, Guarded]] = []
        for name in names:
            logger: TrialLogger = plugins.load("loggers", name)(study.name, output, resolved)
            guard = Guarded(_listen(logger), f"logger {name}", study.note)
            self._loggers.append((logger, guard))

    def __call__(self, event: str, trial: Trial | None, text: str) -> None:
        if trial is not None and event in ("report", "finish") and own(self._study, trial):
            for _, guard in self._loggers:
                guard(event, trial, text)

    def close(self) -> None:
        """Flush and close every logger that still works."""
        for logger, guard in self._loggers:
            guard.attempt(logger.close)


def _listen(logger: TrialLogger) -> Any:
    def listen(event: str, trial: Trial | None, text: str) -> None:  # noqa: ARG001 - a listener's signature
        if trial is not None:
            (logger.report if event == "report" else logger.finish)(trial)

    return listen


def require(module: str, logger: str) -> Any:
    """The package behind a logger.

    Raises:
        ResolveError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ResolveError(
            f"logger {logger!r} needs a package that is missing ({error}). "
            f"Install it: pip install 'autosearch[{logger}]'."
        ) from error


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that are finite numbers: what these tools can draw."""
    import math

    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def scalars(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as these tools take it: None as text."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in config.items()
    }
