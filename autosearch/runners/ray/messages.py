"""What driver and worker say to each other.

Both travel inside Tune's own config and results, as single objects under one key: Tune flattens, formats and
resolves mappings, and a user's values are none of its business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autosearch.core import Decision, Failure, Job, Limits, Objective
from autosearch.core.records import Json

KEY = "autosearch"


@dataclass(frozen=True, slots=True)
class Setup:
    """What every attempt of one Tuner shares; lies in Ray's object store once.

    Attributes:
        objective: what a trial runs.
        run: mark in the environment of everything that this run starts.
        cwd: directory in which the study was started.
        logs: folder of the trials' logs, None where they are not written.
        keep_logs: whether those of successful trials stay.
        notes: folder where a dying worker leaves its reason.
        limits: of each attempt.
        cpus: of each trial.
        gpus: of each trial.
        reuse: whether the process runs other trials afterwards.
    """

    objective: Objective
    run: str
    cwd: str
    logs: Path | None
    keep_logs: bool
    notes: Path
    limits: Limits
    cpus: float
    gpus: float
    reuse: bool


@dataclass(frozen=True, slots=True, repr=False)
class Assignment:
    """One attempt of a trial, handed to a worker.

    Attributes:
        job: of the trial.
        identity: unique in the run; a legal file name.
        checkpoints: folder of the trial's checkpoints, None where none are written.
    """

    job: Job
    identity: str
    checkpoints: Path | None

    def __repr__(self) -> str:
        return f"trial {self.job.number}"


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """What a worker tells: a report, or the end of the attempt.

    Attributes:
        metrics: of a report; at the end the result, None for the last report's.
        step: of a report.
        checkpoint: folder of a checkpoint of this moment (at the end: of the last report's).
        data: of the whole attempt, with its end.
        ended: whether the attempt is over.
        failure: why it failed.
        notes: lines that a person should see.
    """

    metrics: Mapping[str, float] | None = None
    step: int | None = None
    checkpoint: Path | None = None
    data: Mapping[str, Json] = field(default_factory=dict)
    ended: bool = False
    failure: Failure | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "end" if self.ended else f"report at {self.step}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the driver says to a report; silence means: go on.

    Attributes:
        decision: what the trial does.
        save: write a checkpoint of this moment, if there is none yet.
    """

    decision: Decision = Decision.CONTINUE
    save: bool = False
