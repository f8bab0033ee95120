"""Plug-ins that tests name by `spec.stand_ins:NAME`."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from autosearch.core import Decision, History, OptionError, Suggestion, Trial
from autosearch.space import Float, Subspace

CALLED: list[str] = []


class Patient:
    """A searcher with options."""

    def __init__(
        self, patience: int = 3, *, shares: tuple[float, ...] = (0.5, 0.5), secret: object = None
    ) -> None:
        if patience < 0:
            raise OptionError(f"must be at least 0, got {patience}.", "patience")

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        return []


class Halving:
    def __init__(self, min: int = 1, max: int | None = None) -> None:  # noqa: A002 - the words of study files
        if max is not None and max < min:
            raise OptionError(f"must be at least min = {min}, got {max}.", "max")

    def decide(self, history: History, trial: Trial) -> Decision:
        return Decision.CONTINUE

    def propose(self, history: History, n: int) -> list[Suggestion]:
        return []


class TunesLr:
    standalone = "autosearch.TunesLr"

    def __init__(self, patience: int = 1) -> None: ...

    @staticmethod
    def takes(options: Mapping[str, Any]) -> Collection[str]:
        return {"lr"}


class TunesNamed:
    def __init__(self, tune: dict[str, dict[str, float]]) -> None: ...

    @staticmethod
    def takes(options: Mapping[str, Any]) -> Collection[str]:
        return set(options["tune"])


class NeedsData:
    def __init__(self, dataset: str, *, epochs: int = 3, data_dir: Path | None) -> None: ...

    def run(self, job: object) -> None: ...


def layers(count: int = 2) -> Subspace:
    return Subspace({f"drop{i}": Float(0, 1) for i in range(count)})


def not_a_space(text: str = "") -> str:
    CALLED.append(text)
    return text


SPACE = Subspace({"x": Float(0, 1)})
