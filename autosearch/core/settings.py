"""How a study's trials are run: values that a runner reads and no decision depends on."""

from dataclasses import dataclass, field
from pathlib import Path

RETRIED_CAUSES = ("crash", "oom", "preempted")


@dataclass(frozen=True, slots=True)
class Resources:
    """Per trial `cpus`, `gpus` (may be fractional) and a price; `parallel` trials at once, None for what fits."""

    cpus: float = 1.0
    gpus: float = 0.0
    price_per_hour: float | None = None
    parallel: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Per trial, None without limit: `minutes` of one attempt, `memory_gb` of its process tree."""

    minutes: float | None = None
    memory_gb: float | None = None


@dataclass(frozen=True, slots=True)
class Retries:
    """Attempts more after each cause. `interrupted` ones (Ctrl-C, a killed driver) always go on."""

    crash: int = 1
    oom: int = 0
    preempted: int = 10

    def allowed(self, cause: str) -> int:
        return int(getattr(self, cause)) if cause in RETRIED_CAUSES else 0


@dataclass(frozen=True, slots=True)
class Keep:
    """What stays on disk: checkpoints of the best N trials, with several objectives of the front too; what logs."""

    checkpoints: int = 1
    logs: str = "errors"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """All that a runner needs besides study and objective.

    `output` is an absolute folder; checkpoints, logs and the queue lie in it. None: nothing is written (the
    objective is then never asked for checkpoints). `address` is a Ray cluster's, None for this machine. `folder` is the
    study's own, of which nodes of a cluster get a copy; None ships nothing.
    """

    output: Path | None = None
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    keep: Keep = field(default_factory=Keep)
    address: str | None = None
    folder: Path | None = None
    debug: bool = False
