"""AutoLRS inside a task: `training: [{method: autolrs}]`."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from autosearch.core.errors import OptionError
from autosearch.learning.wrapping import LearnerWrapper, TrainingLearner
from autosearch.methods.autolrs.controller import Controller, Validate
from autosearch.methods.autolrs.scheduler import recorded, refuse_own_step_size
from autosearch.methods.autolrs.settings import resolve
from autosearch.methods.autolrs.side_by_side import LearnerJob, Outcome, SideBySide, packed, unpacked
from autosearch.runners import devices
from autosearch.tasks.training import TrainingTask


class AutoLRSTraining:
    """Sets the learning rate of a task's run while it trains; `epochs` count every step, search included.

    `modern` searches around the task's `lr`, which may be searched from outside, and its lr schedule; with `low` and
    `high` it needs no `lr`. `paper` sets the learning rate altogether.

    Args:
        preset: modern or paper.
        low: smallest learning rate.
        high: largest.
        validation: judge candidates by the validation loss where the preset does; else by the training loss.
        side_by_side: in a trial with several CPUs or GPUs, try candidates on each of them at once, under the Ray
            runner. What is found does not depend on it; the processes take some seconds to start.
        options: fields of `autosearch.methods.autolrs.settings.Settings`.
    """

    standalone = "autosearch.AutoLRS"

    def __init__(
        self,
        preset: str = "modern",
        low: float | None = None,
        high: float | None = None,
        *,
        validation: bool = True,
        side_by_side: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if (low is None) != (high is None):
            raise OptionError("low and high go together: give both, or neither.", "low" if low else "high")
        self.preset = preset
        self.lr_range = None if low is None or high is None else (float(low), float(high))
        if preset == "paper" and self.lr_range is None:
            self.lr_range = (1e-4, 1.0)
        self.validation = validation
        self.side_by_side = side_by_side
        self.options = dict(options or {})
        resolve(preset, lr=1e-3, lr_range=self.lr_range, total_steps=1000, options=self.options)

    @staticmethod
    def takes(options: Mapping[str, Any]) -> Collection[str]:
        """The learning rate where it is found without a start, and the lr schedule too in the paper's search."""
        if options.get("preset", "modern") == "paper":
            return {"lr", "lr_schedule"}
        return {"lr"} if options.get("low") is not None and options.get("high") is not None else set()

    def apply(self, learner: TrainingLearner, task: TrainingTask, seed: int) -> TrainingLearner:
        """The learner with its learning rate searched."""
        found = self.build(learner, task.epochs * learner.batches.batches_per_epoch, seed)
        workers = devices.workers() if self.side_by_side else None
        if workers is not None:
            found.use(SideBySide(workers.executor, workers.count), packed((task, workers.seed)))
        return found

    def build(self, learner: TrainingLearner, total_steps: int, seed: int) -> "AutoLRSLearner":
        """The learner with its learning rate searched over a run of `total_steps`, search included."""
        refuse_own_step_size(learner.optimizer)
        settings = resolve(
            self.preset,
            lr=learner.values["lr"],
            lr_range=self.lr_range,
            total_steps=total_steps,
            options=self.options,
        )
        base = None if self.preset == "paper" else learner.lr_schedule
        controller = Controller(settings, base, seed=seed % 2**31, validates=self.validation)
        return AutoLRSLearner(learner, controller)


class AutoLRSLearner(LearnerWrapper):
    """A learner whose `advance` spends steps on training and on search; `step` counts those of the network."""

    def __init__(self, inner: TrainingLearner, controller: Controller) -> None:
        super().__init__(inner)
        self.controller = controller
        self._snapshots: dict[str, Mapping[str, Any]] = {}
        self._from = inner.step
        self._started = False
        self._beside: SideBySide | None = None
        self._task = b""
        self._outcome: Outcome | None = None  # of the present candidate, where another process tries it
        self._kept: dict[str, float] = {}  # what the inner learner said of its last step outside a search
        inner.lr_schedule = self._lr_at
        inner.adjust({"lr": 1.0})

    def use(self, beside: SideBySide, task: bytes) -> None:
        """Try candidates in other processes; `task`: packed (task, seed) that builds this learner."""
        self._beside, self._task = beside, task

    def _lr_at(self, step: int) -> float:
        return self.controller.lr_ahead(max(0, step - self._from))

    def advance(self, steps: int) -> dict[str, float]:
        """Make `steps` optimizer steps; means are over those that count as training, other metrics of the last such."""
        if not self._started:
            self._started = True
            self._carry_out(self.controller.begin())
        totals = {True: 0.0, False: 0.0}
        counts = {True: 0, False: 0}
        left, lr = steps, self.controller.lr
        while left:
            searching = self.controller.searching
            some = 1 if searching else min(left, self.controller.until_decision)
            self._from = self.inner.step
            lr = self.controller.lr_ahead(some - 1)
            loss, validate = self._replayed() or (self._trained(some), self._validator())
            self._carry_out(self.controller.observe(loss, validate, some))
            if math.isfinite(loss):
                totals[searching] += loss * some
                counts[searching] += some
            left -= some
        kind = not counts[False]
        mean = totals[kind] / counts[kind] if counts[kind] else math.nan
        own = {"train_loss": mean, "lr": lr, "search_steps": float(self.controller.state.lost)}
        return {**self._kept, **own}

    def _trained(self, steps: int) -> float:
        try:
            metrics = self.inner.advance(steps)
        except FloatingPointError:
            return math.nan
        if not self.controller.searching:
            self._kept = metrics
        return metrics["train_loss"]

    def _replayed(self) -> tuple[float, Validate] | None:
        """The next step of a candidate, where another process has made it."""
        state = self.controller.state
        if state.phase != "search" or self._beside is None:
            self._outcome = None
        elif state.done == 0:
            self._outcome = self._beside.outcome(self.controller, self._job)
        return None if self._outcome is None else self._outcome.replayed(state.done)

    def _job(self) -> LearnerJob:
        return LearnerJob(self._task, packed(self._snapshots["stage"]))

    def _catch_up(self) -> None:
        """Make the steps here that another process has made of the present candidate."""
        if self._outcome is not None and self.controller.state.phase == "search":
            made = self.controller.plan.lrs[: self.controller.state.done]
            self.inner.restore(self._snapshots["stage"])
            start = self.inner.step
            self.inner.lr_schedule = lambda step: made[step - start]
            if made:
                self.inner.advance(len(made))
            self.inner.lr_schedule = self._lr_at
            self._from = self.inner.step
        self._outcome = None

    def _validator(self) -> Validate | None:
        return (lambda: float(self.inner.evaluate()["val_loss"])) if self.controller.validates else None

    def evaluate(self) -> dict[str, float]:
        """Validation metrics of the network as it stands, which during a search is that of the stage's start."""
        if not (self.controller.searching and "stage" in self._snapshots):
            return self.inner.evaluate()
        now = self.inner.snapshot()
        self.inner.restore(self._snapshots["stage"])
        try:
            return self.inner.evaluate()
        finally:
            self.inner.restore(now)

    @property
    def lr(self) -> float:
        """Of the next step."""
        return self.controller.lr

    def notes(self) -> dict[str, Any]:
        """The lr schedule found, as `lr_schedule:` of a study file takes it, with its peak; and the choices."""
        inner = self.inner.notes()
        if not self.controller.state.trace:
            return inner
        peak = max(lr for _, lr in self.controller.state.trace)
        names = ("stage", "steps", "lost", "lr", "score")
        choices = [dict(zip(names, choice, strict=True)) for choice in self.controller.state.choices]
        definition = {**recorded(self.controller).definition(), "peak": peak}
        return {**inner, "lr_schedule": definition, "lr_choices": choices}

    def _carry_out(self, actions: list[Any]) -> None:
        for verb, name in actions:
            if verb == "store":
                if name == "stage" and self._beside is not None:
                    self._beside.forget()
                end = None if self._outcome is None else self._outcome.end
                self._snapshots[name] = self.inner.snapshot() if end is None else unpacked(end)
            elif verb == "restore":
                self.inner.restore(self._snapshots[name])
            else:
                self._snapshots.pop(name, None)
        self._from = self.inner.step

    def snapshot(self) -> dict[str, Any]:
        """All state, the search's included."""
        self._catch_up()
        return {
            "inner": self.inner.snapshot(),
            "controller": self.controller.state_dict(),
            "snapshots": dict(self._snapshots),
            "started": self._started,
            "kept": dict(self._kept),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to `snapshot`."""
        self._outcome = None
        if self._beside is not None:
            self._beside.forget()
        self.inner.restore(snapshot["inner"])
        self.controller.load_state_dict(snapshot["controller"])
        self._snapshots = dict(snapshot["snapshots"])
        self._started = snapshot["started"]
        self._kept = dict(snapshot["kept"])
        self._from = self.inner.step

    def inherit(self, snapshot: Mapping[str, Any], epoch: int) -> None:
        """Go on from another run's weights; the search starts anew with what remains of the run."""
        self.inner.inherit(snapshot["inner"], epoch)
        self.controller.state.lost = epoch * self.inner.batches.batches_per_epoch
        self._from = self.inner.step
