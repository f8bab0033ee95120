"""What every runner must pass: one script of completions, stops, pauses, failures and interruptions.

from autosearch.testing.runner_kit import RunnerKit

class TestMine(RunnerKit):
    def runner(self, settings):
        return MyRunner(settings)
"""

import json
import os
import random
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from autosearch.core import (
    Decision,
    Goal,
    History,
    Job,
    Keep,
    Objective,
    Progress,
    Resources,
    Retries,
    Runner,
    RunSettings,
    Stage,
    State,
    Study,
    Suggestion,
    Trial,
)
from autosearch.space import Float, SearchSpace

SPACE = SearchSpace({"x": Float(0.0, 1.0)})
STEPS = 6
_POLLUTION = "AUTOSEARCH_KIT_POLLUTED"


class Script:
    """Searcher and scheduler in one: what runs, and what is decided at which (trial, step), as told beforehand."""

    def __init__(
        self,
        trials: int = 1,
        decisions: Mapping[tuple[int, int], Decision] | None = None,
        parents: Mapping[int, int] | None = None,
        stages: Callable[[], Sequence[Stage]] | None = None,
    ) -> None:
        self._trials, self._parents = trials, parents or {}
        self._decisions = decisions or {}
        # Both are read with getattr by the study: they are there only where the script needs them.
        if parents:
            self.needs_checkpoints = self._needs_checkpoints
        if stages is not None:
            self.stages = lambda problem: list(stages())  # noqa: ARG005

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        found = []
        for number in range(len(history), min(self._trials, len(history) + n)):
            parent = self._parents.get(number)
            if parent is not None and not (parent < len(history) and history[parent].state.finished):
                break
            found.append(Suggestion({"x": number / 100}, parent=parent))
        return found

    def decide(self, history: History, trial: Trial) -> Decision:  # noqa: ARG002
        paused_here = any(t.state is State.PAUSED and t.step == trial.step for t in trial.transitions)
        decision = self._decisions.get((trial.number, trial.step), Decision.CONTINUE)
        return Decision.CONTINUE if decision is Decision.PAUSE and paused_here else decision

    def propose(self, history: History, n: int) -> list[Suggestion]:
        """Thaws paused trials once all others are over."""
        if len(history) < self._trials or any(t.state is State.RUNNING for t in history):
            return []
        paused = history.by_state(State.PAUSED)
        return [Suggestion(resume=trial.number) for trial in paused[:n]]

    def _needs_checkpoints(self, history: History) -> set[int]:
        return {parent for child, parent in self._parents.items() if child >= len(history)}


class Walk:
    """Adds one to its state a step and reports it; what it does besides is told by trial number.

    Args:
        fails: trial -> (step, attempts that raise there).
        error: what they raise.
        pollutes: trials that leave their process dirty.
    """

    max_step = STEPS
    reusable = False

    def __init__(
        self,
        fails: Mapping[int, tuple[int, int]] | None = None,
        error: type[BaseException] = RuntimeError,
        pollutes: Sequence[int] = (),
    ) -> None:
        self._fails, self._error, self._pollutes = dict(fails or {}), error, tuple(pollutes)

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        state = 0
        if job.checkpoint is not None:
            state = int(json.loads((job.checkpoint / "state.json").read_text(encoding="utf-8")))
        began, clean = state, _looks_clean()
        for step in range(job.step + 1, STEPS + 1):
            fails_at, attempts = self._fails.get(job.number, (0, 0))
            if step == fails_at and job.attempt < attempts:
                raise self._error(f"told to fail in attempt {job.attempt}")
            state += 1
            if job.number in self._pollutes:
                _pollute()
            metrics = {"loss": job.config["x"] - state / 1000, "state": state, "began": began, "clean": clean}
            yield Progress(metrics, step=step, save=_saver(state), data={f"seen_{step}": True}, seconds=1.0)


class Sloppy(Walk):
    """A walk whose trial 0 reports, at its end, something that is no result."""

    def __init__(self, metrics: Any, step: Any = STEPS) -> None:
        super().__init__()
        self._wrong = (metrics, step)

    def run(self, job: Job) -> Generator[Progress, Decision, None]:
        for progress in super().run(job):
            wrong = job.number == 0 and progress.step == STEPS
            yield Progress(*self._wrong, save=progress.save) if wrong else progress


def _saver(state: int) -> Callable[[Path], None]:
    return lambda folder: _write(folder / "state.json", state)


def _write(path: Path, state: int) -> None:
    path.write_text(json.dumps(state), encoding="utf-8")


def _pollute() -> None:
    os.environ[_POLLUTION] = "yes"
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global state is what user code pollutes
    os.chdir(tempfile.gettempdir())


def _looks_clean() -> float:
    polluted = _POLLUTION in os.environ or Path.cwd() == Path(tempfile.gettempdir())
    return float(not polluted)


class RunnerKit:
    """Subclass it in a test module, with a method `runner`; pytest finds the tests by their names.

    Attributes:
        parallel: workers to ask for.
        isolates: set it where trials run in processes that are clean for each: polluting trials are tried then.
        interruptible: unset it where a Ctrl-C while a trial reports does not reach the runner.
    """

    parallel = 1
    isolates = False
    interruptible = True

    def runner(self, settings: RunSettings) -> Runner:
        """A fresh runner."""
        raise NotImplementedError("give the kit a runner")

    def run(self, script: Script, objective: Objective, folder: Path | None, **options: Any) -> Study:
        """A study of the script, run to its end."""
        keep = Keep(checkpoints=options.pop("keep", 1))
        study = options.pop("study", None) or script_study(script, **options)
        settings = RunSettings(output=folder, resources=Resources(parallel=self.parallel), keep=keep)
        runner: Any = self.runner(settings)
        study.run(objective, runner=runner)
        return study

    def test_trials_complete_with_their_reports_in_order(self) -> None:
        with _folder() as folder:
            study = self.run(Script(4), Walk(), folder)
        for trial in study.history:
            _require(
                trial.state is State.COMPLETE, f"trial {trial.number} is {trial.state.value}: {trial.failure}"
            )
            _require([r.step for r in trial.curve] == list(range(1, STEPS + 1)), f"reports: {trial.curve}")
            _require(trial.metrics["state"] == STEPS, "the last progress is the result")
            _require(trial.data.get("seen_1") is True, "the data of every progress is kept")
        _require(len(study.history) == 4, f"{len(study.history)} trials instead of 4")

    def test_a_stopped_trial_ends_at_its_step(self) -> None:
        with _folder() as folder:
            study = self.run(Script(3, {(1, 2): Decision.STOP}), Walk(), folder)
        states = [trial.state for trial in study.history]
        _require(states == [State.COMPLETE, State.STOPPED, State.COMPLETE], f"{states}")
        _require(study.history[1].step == 2, f"stopped at step {study.history[1].step} instead of 2")

    def test_a_paused_trial_goes_on_from_its_checkpoint(self) -> None:
        with _folder() as folder:
            study = self.run(Script(3, {(0, 3): Decision.PAUSE, (1, 2): Decision.PAUSE}), Walk(), folder)
        for number, step in ((0, 3), (1, 2)):
            trial = study.history[number]
            _require(trial.state is State.COMPLETE, f"trial {number} is {trial.state.value}")
            _require(
                trial.metrics["began"] == step, f"trial {number} began again at {trial.metrics['began']}"
            )
            _require(trial.metrics["state"] == STEPS, "a step was lost or repeated")
            _require(trial.attempts == (), "a pause is no lost attempt")

    def test_without_an_output_a_paused_trial_still_ends(self) -> None:
        study = self.run(Script(1, {(0, 3): Decision.PAUSE}), Walk(), None)
        _require(study.history[0].state is State.COMPLETE, f"{study.history[0].state.value}")

    def test_a_child_starts_from_its_parent_s_last_checkpoint(self) -> None:
        with _folder() as folder:
            study = self.run(Script(2, {(0, 4): Decision.PAUSE}, parents={1: 0}), Walk(), folder)
        child = study.history[1]
        _require(child.state is State.COMPLETE, f"the child is {child.state.value}: {child.failure}")
        _require(child.metrics["began"] == 4, f"the child began at {child.metrics['began']} instead of 4")

    def test_a_failure_is_tried_again_and_then_recorded(self) -> None:
        with _folder() as folder:
            script, walk = Script(3), Walk(fails={1: (3, 1), 2: (2, 9)})
            study = self.run(script, walk, folder, retries=Retries(crash=1))
        first, again, never = study.history
        _require(first.state is State.COMPLETE, f"{first.failure}")
        _require(again.state is State.COMPLETE, f"trial 1 ends after its retry, is {again.state.value}")
        _require(again.attempts == ("crash",), f"attempts: {again.attempts}")
        _require(again.metrics["state"] == STEPS, "the retry goes on from the newest checkpoint, or from 0")
        _require(never.state is State.FAILED, f"trial 2 is {never.state.value}")
        failure = never.failure
        _require(failure is not None and failure.cause == "crash", f"{failure}")
        _require(failure is not None and "told to fail in attempt 1" in failure.message, f"{failure}")
        _require(failure is not None and "Traceback" in failure.traceback, "the traceback is kept")

    def test_out_of_memory_is_a_cause_of_its_own(self) -> None:
        with _folder() as folder:
            study = self.run(Script(2), Walk(fails={0: (1, 9)}, error=MemoryError), folder)
        failure = study.history[0].failure
        _require(failure is not None and failure.cause == "oom", f"{failure}")

    def test_sys_exit_in_a_trial_ends_the_trial_alone(self) -> None:
        with _folder() as folder:
            study = self.run(
                Script(2), Walk(fails={0: (2, 9)}, error=SystemExit), folder, retries=Retries(crash=0)
            )
        states = [trial.state for trial in study.history]
        _require(states == [State.FAILED, State.COMPLETE], f"{states}")

    def test_what_is_no_result_fails_its_trial_alone(self) -> None:
        for objective in (
            Sloppy({"loss": None}),
            Sloppy({"loss": "n/a"}),
            Sloppy(3),
            Sloppy({"loss": 1}, -1),
        ):
            with _folder() as folder:
                study = self.run(Script(2), objective, folder, retries=Retries(crash=0))
            states = [trial.state for trial in study.history]
            _require(states == [State.FAILED, State.COMPLETE], f"{states}")

    def test_the_budget_of_trials_is_kept(self) -> None:
        with _folder() as folder:
            study = self.run(Script(99), Walk(), folder, budget={"trials": 5})
        _require(len(study.history) == 5, f"{len(study.history)} trials, the budget is 5")

    def test_a_spent_study_starts_nothing(self) -> None:
        study = self.run(Script(2), Walk(), None)
        before = study.history.events
        self.run(Script(2), Walk(), None, study=study)
        _require(study.history.events == before, "a study that was over wrote something")

    def test_only_the_checkpoints_worth_keeping_stay(self) -> None:
        with _folder() as folder:
            study = self.run(Script(5, {(3, 2): Decision.PAUSE}), Walk(), folder, keep=2)
            left = sorted(path.parent for path in folder.rglob("state.json"))
            best = sorted(Path(study.history[number].checkpoint or "") for number in (0, 1))
            _require(left == best, f"checkpoints left: {left}, the two best trials': {best}")
            steps = {study.history[number].checkpoint_step for number in (0, 1)}
            _require(steps == {STEPS}, f"the best trials keep the checkpoint of their end, not of {steps}")

    def test_stages_come_first_and_count_apart(self) -> None:
        def stages() -> Sequence[Stage]:
            scores = Script(2)
            return [Stage("score", SPACE, Walk(), searcher=scores, goals=(Goal("loss"),))]

        with _folder() as folder:
            study = self.run(Script(3, stages=stages), Walk(), folder, budget={"trials": 3})
        stage = study.history.stages["score"]
        _require([t.state for t in stage] == [State.COMPLETE] * 2, f"{[t.state for t in stage]}")
        _require(len(study.history) == 3, "trials of a stage count in the study's budget")

    def test_a_polluting_trial_does_not_reach_the_next(self) -> None:
        if not self.isolates:
            return
        with _folder() as folder:
            study = self.run(Script(6), Walk(pollutes=(0, 1, 2)), folder)
        clean = [trial.metrics["clean"] for trial in study.history]
        _require(all(clean[3:]), f"trials that found a clean process: {clean}")

    def test_an_interrupted_study_goes_on_where_it_stood(self) -> None:
        if not self.interruptible:
            return
        with _folder() as folder:
            study = script_study(Script(3))
            study.listeners.append(_interrupt_at(1, 3))
            raised = False
            try:
                self.run(Script(3), Walk(), folder, study=study)
            except KeyboardInterrupt:
                raised = True
            _require(raised, "Ctrl-C must reach the caller, as KeyboardInterrupt")
            _require(study.history[1].state is State.RUNNING, "an interrupted trial stays unfinished")
            study.listeners.clear()
            self.run(Script(3), Walk(), folder, study=study)
        trial = study.history[1]
        _require(
            [t.state for t in study.history] == [State.COMPLETE] * 3, f"{[t.state for t in study.history]}"
        )
        _require(trial.metrics["began"] >= 3, f"went on from {trial.metrics['began']} instead of 3")
        _require(trial.attempts == ("interrupted",), f"attempts: {trial.attempts}")


def script_study(script: Script, **options: Any) -> Study:
    """A study whose searcher and scheduler are the script."""
    budget = options.pop("budget", {})
    objectives = options.pop("objectives", {"loss": "minimize"})
    return Study(SPACE, objectives, searcher=script, scheduler=script, budget=budget, **options)


def _interrupt_at(number: int, step: int) -> Callable[[str, Trial | None, str], None]:
    """A listener that presses Ctrl-C when a trial reports a step."""

    def listen(event: str, trial: Trial | None, text: str) -> None:  # noqa: ARG001
        if event == "report" and trial is not None and (trial.number, trial.step) == (number, step):
            signal.raise_signal(signal.SIGINT)

    return listen


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="autosearch-kit-") as name:
        yield Path(name)


def _require(holds: bool, message: str) -> None:  # noqa: FBT001
    """Fail the test with `message`; works without pytest and under `python -O`."""
    if not holds:
        raise AssertionError(message)
