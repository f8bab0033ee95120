"""What every scheduler must pass: run your own through it on the virtual clock.

from autosearch.testing.scheduler_kit import SchedulerKit

class TestMine(SchedulerKit):
    def scheduler(self):
        return MyScheduler(reduction=2)
"""

import dataclasses
import math
from collections.abc import Generator, Mapping
from typing import Any

from autosearch.core import (
    Decision,
    History,
    Job,
    Progress,
    Resources,
    RunSettings,
    State,
    Study,
    Suggestion,
    Trial,
)
from autosearch.core.plugins import load
from autosearch.core.protocols import Objective, Scheduler
from autosearch.core.seeds import derive_rng
from autosearch.space import Float

LAST = 27
_SPACE = {"x": Float(0.0, 1.0), "rate": Float(0.05, 0.5)}


@dataclasses.dataclass(frozen=True)
class Call:
    """One question to a scheduler, with what it saw and answered."""

    history: History
    trial: Trial | None
    n: int
    answer: Any


class Witness:
    """A scheduler that passes every question on and remembers it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.calls: list[Call] = []
        for name in ("milestones", "needs_checkpoints", "check"):
            if hasattr(scheduler, name):
                setattr(self, name, getattr(scheduler, name))

    def decide(self, history: History, trial: Trial) -> Decision:
        answer = self._scheduler.decide(history, trial)
        self.calls.append(Call(history.snapshot(), trial, 0, answer))
        return answer

    def propose(self, history: History, n: int) -> list[Suggestion]:
        answer = self._scheduler.propose(history, n)
        self.calls.append(Call(history.snapshot(), None, n, answer))
        return answer

    @property
    def decisions(self) -> list[Call]:
        return [call for call in self.calls if call.trial is not None]


class Draws:
    """A searcher that draws trial k from seed and number alone."""

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        problem = history.problem
        drawn = [
            problem.space.sample(derive_rng(problem.seed, "draw", len(history) + i), 1)[0] for i in range(n)
        ]
        return [Suggestion(config) for config in drawn]


class Curves:
    """Falling learning curves that cross; every `nan_every`-th trial diverges, every `fail_every`-th crashes."""

    max_step = LAST

    def __init__(self, nan_every: int = 0, fail_every: int = 0) -> None:
        self._nan_every, self._fail_every = nan_every, fail_every

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        x, rate = job.config["x"], job.config["rate"]
        noise = derive_rng(job.seed, "noise").standard_normal(LAST + 1)
        for step in range(job.step + 1, LAST + 1):
            if self._fail_every and job.number % self._fail_every == 1 and step == 2:
                raise RuntimeError("crashed on demand")
            diverged = self._nan_every and job.number % self._nan_every == 1 and step >= 2
            loss = math.nan if diverged else x + math.exp(-rate * step) + 0.02 * noise[step]
            metrics = {"loss": loss, "size": 1.0 - x, "memory": 2.0 * x}
            # A checkpoint need hold nothing: the step comes back with the job.
            yield Progress(metrics, step=step, save=lambda folder: None, seconds=1.0 + x)  # noqa: ARG005


def simulate(scheduler: Scheduler, objective: Objective, **options: Any) -> Study:
    """A finished study of 40 trials (`trials`) on 3 workers (`parallel`) of the virtual clock."""
    budget = {"trials": options.pop("trials", 40)}
    parallel = options.pop("parallel", 3)
    objectives = options.pop("objectives", {"loss": "minimize"})
    study = Study(
        _SPACE,
        objectives,
        searcher=Draws(),
        scheduler=scheduler,
        budget=budget,
        fidelity=(1, LAST),
        **options,
    )
    settings = RunSettings(resources=Resources(parallel=parallel))
    load("runners", "simulated")(settings).run(study, objective)
    return study


class SchedulerKit:
    """Subclass it in a test module, with a method `scheduler`; pytest finds the tests by their names.

    Attributes:
        absolute: set it where the scheduler judges trials by bounds, not against each other: the best one may be
            stopped then.
        looks_back: set it where a trial may be stopped, at a step to which no other came, for what it measured
            before.
    """

    absolute = False
    looks_back = False

    def scheduler(self) -> Scheduler:
        """A fresh scheduler; called several times."""
        raise NotImplementedError("give the kit a scheduler")

    def test_every_trial_ends_within_the_budget(self) -> None:
        for parallel in (1, 3):
            study = simulate(self.scheduler(), Curves(), parallel=parallel)
            _require(len(study.history) == 40, f"{len(study.history)} trials, the budget is 40")
            left = [t.number for t in study.history if not t.state.finished]
            _require(not left, f"trials {left} never ended: a paused trial must be thawed or left to end")

    def test_a_decision_is_a_function_of_the_history(self) -> None:
        for options in _VARIANTS:
            witness = Witness(self.scheduler())
            simulate(witness, Curves(nan_every=7, fail_every=5), **options)
            for call in witness.calls[:: max(1, len(witness.calls) // 60)]:
                again = _answer(self.scheduler(), call)
                _require(
                    again == call.answer,
                    f"a fresh scheduler says {again}, not {call.answer}, of {call.trial}",
                )

    def test_asking_twice_changes_nothing(self) -> None:
        witness = Witness(self.scheduler())
        simulate(witness, Curves(nan_every=7))
        scheduler = self.scheduler()
        for call in [*witness.calls[::-5], *witness.calls[::5]]:
            _require(_answer(scheduler, call) == call.answer, "the answer depends on what was asked before")

    def test_the_sole_best_is_never_stopped(self) -> None:
        if self.absolute:
            return
        for options in ({}, {"constraints": ["memory <= 1.5"]}):
            witness = Witness(self.scheduler())
            simulate(witness, Curves(nan_every=7), **options)
            for call in witness.decisions:
                if call.trial is not None and _sole_best(call.history, call.trial, alone=not self.looks_back):
                    _require(
                        call.answer is not Decision.STOP,
                        f"trial {call.trial.number}, the best at step {call.trial.step}, was stopped",
                    )

    def test_a_lonely_trial_comes_to_its_end(self) -> None:
        if self.absolute:
            return
        study = simulate(self.scheduler(), Curves(), trials=1)
        _require(
            study.history[0].state is State.COMPLETE, f"the only trial is {study.history[0].state.value}"
        )

    def test_some_trial_is_complete(self) -> None:
        for trials in (2, 5, 40):
            study = simulate(self.scheduler(), Curves(), trials=trials)
            _require(bool(study.history.complete), f"none of {trials} trials came to its end")

    def test_several_objectives_and_constraints_are_judged(self) -> None:
        two = {"loss": "minimize", "size": "minimize"}
        study = simulate(self.scheduler(), Curves(nan_every=7), objectives=two, constraints=["memory <= 1.5"])
        _require(bool(study.front), "no feasible front")
        _require(all(t.state.finished for t in study.history), "a trial never ended")

    def test_a_direction_is_the_mirror_of_the_other(self) -> None:
        class Mirrored(Curves):
            def run(self, job: Job) -> Generator[Progress, Decision, None]:
                for progress in super().run(job):
                    flipped = {**progress.metrics, "loss": -progress.metrics["loss"]}
                    yield dataclasses.replace(progress, metrics=flipped)

        if self.absolute:
            return
        down = simulate(self.scheduler(), Curves())
        up = simulate(self.scheduler(), Mirrored(), objectives={"loss": "maximize"})
        _require(_ends(down) == _ends(up), "maximizing -loss decides otherwise than minimizing loss")

    def test_milestones_are_steps_and_their_reports_are_kept(self) -> None:
        scheduler = self.scheduler()
        study = simulate(scheduler, Curves())
        milestones = getattr(scheduler, "milestones", lambda problem: ())(study.problem)  # noqa: ARG005
        _require(
            all(isinstance(s, int) and s >= 0 for s in milestones), f"milestones are steps: {milestones}"
        )
        for trial in study.history:
            steps = {report.step for report in trial.reports}
            begun = trial.transitions[0].step  # above 0 where it started from a parent's checkpoint
            missing = [s for s in milestones if begun < s <= min(trial.step, LAST) and s not in steps]
            _require(not missing, f"trial {trial.number} lost its reports at {missing}")

    def test_proposals_name_paused_trials_or_parents(self) -> None:
        witness = Witness(self.scheduler())
        simulate(witness, Curves(nan_every=7, fail_every=5))
        for call in witness.calls:
            if call.trial is not None:
                continue
            _require(len(call.answer) <= call.n, f"asked for {call.n}, proposed {len(call.answer)}")
            resumed = [s.resume for s in call.answer if s.resume is not None]
            _require(len(set(resumed)) == len(resumed), f"proposed twice: {resumed}")
            for suggestion in call.answer:
                if suggestion.resume is None:
                    _require(suggestion.parent is not None, "a proposal resumes a trial or names a parent")
                else:
                    state = call.history[suggestion.resume].state
                    _require(state is State.PAUSED, f"trial {suggestion.resume} is {state.value}, not paused")


_VARIANTS: tuple[Mapping[str, Any], ...] = (
    {},
    {"parallel": 1},
    {"objectives": {"loss": "minimize", "size": "minimize"}, "constraints": ["memory <= 1.5"]},
)


def _require(holds: bool, message: str) -> None:  # noqa: FBT001
    """Fail the test with `message`; works without pytest and under `python -O`."""
    if not holds:
        raise AssertionError(message)


def _answer(scheduler: Scheduler, call: Call) -> Any:
    if call.trial is None:
        return scheduler.propose(call.history, call.n)
    return scheduler.decide(call.history, call.trial)


def _ends(study: Study) -> list[tuple[State, int]]:
    return [(trial.state, trial.step) for trial in study.history]


def _sole_best(history: History, trial: Trial, *, alone: bool) -> bool:
    """Whether every other trial that came to this step was worse there; `alone`: also where none came."""
    step = trial.reports[-1].step
    mine = _standing(history, trial, step)
    standings = [_standing(history, other, step) for other in history if other.number != trial.number]
    others = [other for other in standings if other is not None]
    return not math.isnan(mine[1]) and all(mine < other for other in others) and (alone or bool(others))


def _standing(history: History, trial: Trial, step: int) -> Any:
    """(violation, loss) of a trial's report at `step`, NaN last; None where it has none."""
    at = [report for report in trial.curve if report.step == step]
    if not at:
        return None
    loss = at[0].metrics["loss"]
    violation = sum(max(0.0, margin) for margin in history.problem.violations(at[0].metrics))
    return (math.inf, math.inf) if math.isnan(loss) else (violation, loss)
