"""Learning curves in closed form, with a known optimum and faults on demand: for tests and benchmarks.

Symbols: x (d,) the searched numbers; T steps of a whole run; t the step.

    progress  u_t = u_{t-1} + rate               (what a checkpoint holds, so it passes from a parent to its child)
    loss      l_t = |x - optimum|^2 / d + exp(-u_t) + noise * N(0, 1)
"""

import json
import math
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from autosearch.core import Decision, Job, OptionError, Problem, Progress
from autosearch.core.seeds import derive_rng

_STATE = "state.json"
METRICS = ("loss", "size")


class SyntheticCurves:
    """Closed-form learning curves with a known optimum.

    Metrics: `loss`, which is 0 at best (every number at `optimum`, endless training), and `size`, the mean of the
    numbers' squares, which is in conflict with it unless `optimum` is 0. Every numeric parameter counts but one
    called `rate`, which is the speed of learning per step (default 5 / `steps`). Texts have no effect.

    Args:
        steps: T, reports of a whole run.
        optimum: where every numeric parameter is best.
        noise: standard deviation added to each reported loss; a function of trial and step.
        seconds: virtual time of a step, for the simulated runner.
        sleep: real time of a step, seconds.
        fail_rate: share of trials that raise, at a step drawn at random, in every attempt below `fail_attempts`.
        fail_attempts: attempts of such a trial that fail; None: all.
        nan_rate: share of trials whose loss is NaN from a step drawn at random.
        hang_rate: share of trials that hang for an hour at a step drawn at random.
        checkpoints: whether it offers checkpoints.
    """

    reusable = True

    def __init__(
        self,
        *,
        steps: int = 27,
        optimum: float = 0.3,
        noise: float = 0.0,
        seconds: float = 1.0,
        sleep: float = 0.0,
        fail_rate: float = 0.0,
        fail_attempts: int | None = None,
        nan_rate: float = 0.0,
        hang_rate: float = 0.0,
        checkpoints: bool = True,
    ) -> None:
        if steps < 1:
            raise OptionError(f"steps must be at least 1, got {steps}.", "steps")
        for name, share in (("fail_rate", fail_rate), ("nan_rate", nan_rate), ("hang_rate", hang_rate)):
            if not 0 <= share <= 1:
                raise OptionError(f"{name} must lie in [0, 1], got {share}.", name)
        self.max_step = steps
        self._optimum, self._noise, self._checkpoints = optimum, noise, checkpoints
        self._seconds, self._sleep = seconds, sleep
        self._fail_rate, self._fail_attempts = fail_rate, fail_attempts
        self._nan_rate, self._hang_rate = nan_rate, hang_rate

    def check(self, problem: Problem) -> None:
        """Refuse objectives that it does not measure.

        Raises:
            OptionError: naming the first one.
        """
        for name in problem.metric_names:
            if name not in METRICS:
                raise OptionError(f"synthetic_curves measures {' and '.join(METRICS)}, not {name!r}.", name)

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        numbers = dict(_numbers(job.config))
        rate = numbers.pop("rate", 5.0 / self.max_step)
        step, learnt = _restore(job.checkpoint)
        size = len(numbers) or 1
        gap = sum((x - self._optimum) ** 2 for x in numbers.values()) / size
        magnitude = sum(x**2 for x in numbers.values()) / size
        fails, hangs, diverges = (self._moment(job, kind) for kind in ("fail", "hang", "nan"))
        while step < self.max_step:
            step, learnt = step + 1, learnt + rate
            if self._sleep:  # sleeping for no time costs a tenth of a millisecond
                time.sleep(self._sleep)
            if step == fails and (self._fail_attempts is None or job.attempt < self._fail_attempts):
                raise RuntimeError(f"failed on demand at step {step} of trial {job.number}")
            if step == hangs:
                time.sleep(3600)
            noise = self._noise * float(derive_rng(job.seed, "noise", step).standard_normal())
            loss = math.nan if diverges is not None and step >= diverges else gap + math.exp(-learnt) + noise
            yield Progress(
                {"loss": loss, "size": magnitude},
                step=step,
                save=_saver(step, learnt) if self._checkpoints else None,
                seconds=self._seconds,
            )

    def _moment(self, job: Job, kind: str) -> int | None:
        """The step at which a fault strikes this trial, None where it does not."""
        rng = derive_rng(job.seed, kind)
        share = {"fail": self._fail_rate, "hang": self._hang_rate, "nan": self._nan_rate}[kind]
        return int(rng.integers(1, self.max_step + 1)) if rng.random() < share else None


def _numbers(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + name, float(value)


def _saver(step: int, learnt: float) -> Any:
    state = {"step": step, "learnt": learnt}

    def save(folder: Path) -> None:
        (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")

    return save


def _restore(checkpoint: Path | None) -> tuple[int, float]:
    if checkpoint is None:
        return 0, 0.0
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    return int(state["step"]), float(state["learnt"])
