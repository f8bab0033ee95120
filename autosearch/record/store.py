"""The seam between the record and what keeps it: trials as Optuna stores them, and the four writes there are.

Optuna's terms in plain data, so that a journal is read and written without loading Optuna:

| term | meaning |
|---|---|
| internal value | a parameter as a number: itself, or the index of the choice |
| user attribute | shown by the dashboard as a column |
| system attribute | kept beside, not shown; everything that a `Trial` is rebuilt from |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

from autosearch.core.records import Json

# Text columns of MySQL end at 64 kB; the quotes and escapes of a second encoding need room.
MAX_TEXT = 32_000
# Steps are 32-bit integers in a database.
MAX_STEP = 2**31 - 1
# What reading raises where a value is not of the kind, or not in the place, in which it was written.
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


class Status(IntEnum):
    """Optuna's states of a trial, by its numbers."""

    RUNNING = 0
    COMPLETE = 1
    PRUNED = 2
    FAIL = 3
    WAITING = 4

    @property
    def finished(self) -> bool:
        return self not in (Status.RUNNING, Status.WAITING)


@dataclass(slots=True)
class Row:
    """A trial as the storage keeps it, without what only the dashboard needs."""

    trial_id: int
    status: Status
    params: dict[str, float] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)
    values: list[float] | None = None


@dataclass(slots=True)
class StudyRow:
    """A study as the storage keeps it, trials apart."""

    study_id: int
    name: str
    system: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What is written to one trial at once, the state last: a finished trial is frozen.

    Attributes:
        intermediate: step -> value that the dashboard draws.
        user: user attributes.
        system: system attributes.
        status: the new state, None to leave it.
        values: (m,) objectives as measured, with a status that ends the trial.
    """

    intermediate: Mapping[int, float] = field(default_factory=dict)
    user: Mapping[str, Json] = field(default_factory=dict)
    system: Mapping[str, Json] = field(default_factory=dict)
    status: Status | None = None
    values: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A new trial, written at once.

    Attributes:
        number: place in its study.
        status: its state.
        params: internal values by name.
        distributions: Optuna's JSON of each parameter's distribution.
        content: everything else.
        started: when it began, None while queued; aware.
        ended: when it ended, None while unfinished; aware.
    """

    number: int
    status: Status
    params: Mapping[str, float]
    distributions: Mapping[str, str]
    content: Change
    started: datetime | None = None
    ended: datetime | None = None


class Store(Protocol):
    """A storage with several studies.

    Attributes:
        location: what a person needs to find it again; without a password.
        folder: that it lies in, absolute; None where it is no file that is moved with what lies beside it.
    """

    location: str

    @property
    def folder(self) -> Path | None: ...

    def studies(self) -> dict[str, StudyRow]:
        """Every study by name."""
        ...

    def driven(self, study: str) -> bool | None:
        """Whether a driver works on a study now; None where that cannot be told."""
        ...

    def create_study(self, name: str, directions: Sequence[int]) -> int:
        """A new study's id; directions are 1 for minimize, 2 for maximize."""
        ...

    def set_study(self, study_id: int, system: Mapping[str, Json], user: Mapping[str, Json]) -> None:
        """Write attributes of a study, in order."""
        ...

    def create_trials(self, study_id: int, drafts: Sequence[Draft]) -> list[int]:
        """Ids of new trials. Durable when it returns."""
        ...

    def update_trial(self, trial_id: int, change: Change) -> None:
        """Write a change; durable when it returns if it has a status."""
        ...

    def load(self, study_id: int) -> list[Row]:
        """All trials by number."""
        ...

    def close(self) -> None:
        """Let go of locks and connections; safe to call twice."""
        ...
