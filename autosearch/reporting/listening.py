"""Listeners that can never hurt the study that they listen to."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autosearch.core import Study, Trial

Listen = Callable[[str, "Trial | None", str], None]


class Guarded:
    """A listener that is left out, with one note, once it fails.

    Args:
        listener: the one to guard.
        name: what the note calls it.
        say: takes the note.
    """

    def __init__(self, listener: Listen, name: str, say: Callable[[str], None]) -> None:
        self._listener: Listen | None = listener
        self._name, self._say = name, say

    @property
    def working(self) -> bool:
        """Whether it has not failed so far."""
        return self._listener is not None

    def __call__(self, event: str, trial: "Trial | None", text: str) -> None:
        if self._listener is None:
            return
        listener = self._listener
        self.attempt(lambda: listener(event, trial, text))

    def attempt(self, act: Callable[[], None]) -> None:
        """Do something that belongs to the listener, unless it has failed before; if this fails, leave it out."""
        if self._listener is None:
            return
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever it raises: the study goes on without it
            self._listener = None
            reason = str(error).splitlines()[0] if str(error) else ""
            self._say(f"{self._name} failed and is left out from now on: {type(error).__name__}: {reason}")


def stage_of(study: "Study", trial: "Trial") -> str | None:
    """Name of the stage that a trial which a listener was told of belongs to; None for the study's own."""
    if own(study, trial):
        return None
    found = (
        name
        for name, history in study.history.stages.items()
        if trial.number < len(history) and history[trial.number] is trial
    )
    return next(found, "")


def own(study: "Study", trial: "Trial") -> bool:
    """Whether a trial that a listener was told of belongs to the study itself, not to one of its stages."""
    return trial.number < len(study.history) and study.history[trial.number] is trial
