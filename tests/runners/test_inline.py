"""What the inline runner does besides the kit: limits, budgets of time, checkpoints while it runs, Ctrl-C, debug."""

import json
import shutil
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

import autosearch
from autosearch.core import Budget, Decision, Job, Keep, Limits, Progress, Retries, RunSettings, State, Study
from autosearch.runners.common import Interrupts
from autosearch.runners.inline import InlineRunner
from autosearch.space import Float
from autosearch.testing.runner_kit import STEPS, Script, Walk, script_study


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed(Walk):
    """A walk whose steps take a second of the study's clock."""

    def __init__(self, clock: Clock, **options) -> None:
        super().__init__(**options)
        self._clock = clock

    def run(self, job: Job) -> Iterator[Progress]:
        for progress in super().run(job):
            self._clock.now += 1.0
            yield progress


def run(script: Script, objective, output: Path | None = None, settings: dict | None = None, **options):
    study = script_study(script, **options)
    notes: list[str] = []
    study.listeners.append(lambda event, trial, text: notes.append(text) if event == "note" else None)
    InlineRunner(RunSettings(output=output, **(settings or {}))).run(study, objective)
    return study, notes


def test_a_trial_past_its_minutes_fails_as_timeout_at_its_next_report() -> None:
    clock = Clock()
    limits = {"limits": Limits(minutes=3.5 / 60)}
    study, _ = run(Script(1), Timed(clock), settings=limits, clock=clock)
    trial = study.history[0]
    assert (trial.state, trial.step) == (State.FAILED, 4)
    assert trial.failure.cause == "timeout"
    assert "limits.minutes" in trial.failure.message


def test_a_spent_time_budget_leaves_the_running_trial_with_a_checkpoint(tmp_path: Path) -> None:
    clock = Clock()
    study, _ = run(Script(3), Timed(clock), tmp_path, clock=clock, budget=Budget(minutes=8 / 60))
    assert [trial.state for trial in study.history] == [State.COMPLETE, State.RUNNING]
    assert study.history[1].checkpoint_step == 2
    study.set_budget(Budget())
    InlineRunner(RunSettings(output=tmp_path)).run(study, Timed(clock))
    assert [trial.state for trial in study.history] == [State.COMPLETE] * 3
    assert study.history[1].metrics["began"] == 2


def test_paused_trials_outlive_a_spent_time_budget(tmp_path: Path) -> None:
    clock = Clock()
    script = Script(3, {(0, 2): Decision.PAUSE})
    study, _ = run(script, Timed(clock), tmp_path, clock=clock, budget=Budget(minutes=4 / 60))
    assert study.history[0].state is State.PAUSED
    assert Path(study.history[0].checkpoint).is_dir()


def test_without_an_output_nothing_is_saved() -> None:
    class Strict(Walk):
        def run(self, job: Job) -> Iterator[Progress]:
            def save(folder: Path) -> None:
                raise AssertionError("save was called")

            assert job.folder is None
            for step in range(1, 4):
                yield Progress({"loss": 1.0}, step=step, save=save)

    study, _ = run(Script(2, {(0, 2): Decision.PAUSE}), Strict())
    assert [trial.state for trial in study.history] == [State.COMPLETE] * 2


def test_memory_limits_are_said_not_to_be_enforced() -> None:
    _, notes = run(Script(1), Walk(), settings={"limits": Limits(memory_gb=1)})
    assert notes == ["the inline runner does not enforce limits.memory_gb."]


def test_debug_runs_one_trial_and_raises_what_it_raises() -> None:
    study = script_study(Script(3))
    runner = InlineRunner(RunSettings(debug=True))
    runner.run(study, Walk())
    assert len(study.history) == 1
    with pytest.raises(RuntimeError, match="told to fail"):
        runner.run(study, Walk(fails={1: (2, 9)}))
    assert study.history[1].state is State.FAILED


def test_an_objective_that_does_not_yield_progress_is_named() -> None:
    class Wrong:
        def run(self, job: Job) -> Iterator[dict]:
            yield {"loss": 1.0}

    study, _ = run(Script(1), Wrong(), retries=Retries(crash=0))
    assert "an objective yields Progress, got dict" in study.history[0].failure.message


def test_cleaning_up_runs_when_a_trial_is_stopped() -> None:
    closed = []

    class Careful(Walk):
        def run(self, job: Job) -> Iterator[Progress]:
            try:
                yield from super().run(job)
            finally:
                closed.append(job.number)

    run(Script(2, {(0, 2): Decision.STOP}), Careful())
    assert closed == [0, 1]


def test_what_cleaning_up_raises_fails_the_trial() -> None:
    class Clumsy(Walk):
        def run(self, job: Job) -> Iterator[Progress]:
            try:
                yield from super().run(job)
            finally:
                raise RuntimeError("clumsy")

    study, _ = run(Script(1, {(0, 2): Decision.STOP}), Clumsy(), retries=Retries(crash=0))
    assert study.history[0].failure.message == "RuntimeError: clumsy"


def test_a_full_disk_costs_the_checkpoint_not_the_trial(tmp_path: Path) -> None:
    class Full(Walk):
        def run(self, job: Job) -> Iterator[Progress]:
            def save(folder: Path) -> None:
                raise OSError(28, "No space left on device")

            for step in range(1, STEPS + 1):
                yield Progress({"loss": 1.0}, step=step, save=save)

    study, notes = run(Script(1), Full(), tmp_path)
    assert study.history[0].state is State.COMPLETE
    assert "No space left on device" in notes[0]
    assert not list(tmp_path.rglob(".partial*"))


def test_a_save_that_raises_fails_the_trial(tmp_path: Path) -> None:
    class Broken(Walk):
        def run(self, job: Job) -> Iterator[Progress]:
            def save(folder: Path) -> None:
                raise TypeError("cannot pickle")

            yield Progress({"loss": 1.0}, save=save)

    study, _ = run(Script(1), Broken(), tmp_path, retries=Retries(crash=0))
    assert study.history[0].failure.message == "TypeError: cannot pickle"


def test_a_lost_checkpoint_is_said_and_the_trial_starts_afresh(tmp_path: Path) -> None:
    study = script_study(Script(1, {(0, 3): Decision.PAUSE}))
    notes: list[str] = []

    def lose(event: str, trial, text: str) -> None:
        if event == "pause":
            shutil.rmtree(trial.checkpoint)
        if event == "note":
            notes.append(text)

    study.listeners.append(lose)
    InlineRunner(RunSettings(output=tmp_path)).run(study, Walk())
    assert study.history[0].metrics["began"] == 0
    assert study.history[0].state is State.COMPLETE
    assert "starts afresh" in notes[0]


def test_a_trial_keeps_its_folder_between_attempts_and_empty_ones_go(tmp_path: Path) -> None:
    seen = []

    class Writes(Walk):
        def run(self, job: Job) -> Iterator[Progress]:
            job.folder.mkdir(parents=True, exist_ok=True)
            seen.append((job.number, [path.name for path in job.folder.iterdir()]))
            if job.number == 0:
                (job.folder / "own").write_text("kept")
            yield from super().run(job)

    run(Script(2), Writes(fails={0: (2, 1)}), tmp_path)
    assert seen == [(0, []), (0, ["own"]), (1, [])]
    assert [path.name for path in (tmp_path / "trials" / "study").iterdir()] == ["trial_00000"]


def test_keep_nothing_keeps_nothing(tmp_path: Path) -> None:
    run(Script(2), Walk(), tmp_path, settings={"keep": Keep(checkpoints=0)})
    assert list(tmp_path.iterdir()) == []


class Signals(Walk):
    """A walk in which Ctrl-C is pressed at step 3, `times` times, between two reports; or another signal comes."""

    def __init__(self, times: int, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__()
        self._times, self._number = times, number
        self.survived = 0

    def run(self, job: Job) -> Iterator[Progress]:
        for progress in super().run(job):
            if progress.step == 3 and self._times:
                times, self._times = self._times, 0
                for _ in range(times):
                    signal.raise_signal(self._number)
                    self.survived += 1
            yield progress


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("times", "survived", "step"), [(1, 1, 3), (2, 1, 1)])
def test_a_signal_once_waits_for_the_next_report_and_twice_does_not(
    tmp_path: Path, times: int, survived: int, step: int, number: signal.Signals
) -> None:
    study, walk = script_study(Script(2)), Signals(times, number)
    with pytest.raises(KeyboardInterrupt):
        InlineRunner(RunSettings(output=tmp_path)).run(study, walk)
    assert walk.survived == survived
    assert study.history[0].state is State.RUNNING
    assert study.history[0].checkpoint_step >= step
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    InlineRunner(RunSettings(output=tmp_path)).run(study, walk)
    assert [trial.state for trial in study.history] == [State.COMPLETE] * 2
    assert json.loads((Path(study.history[0].checkpoint) / "state.json").read_text()) == STEPS


def test_a_hanging_trial_is_left_when_the_grace_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autosearch.runners.inline.Interrupts", lambda: Interrupts(grace_s=0.05))
    study = script_study(Script(1))

    class Hangs:
        def run(self, job: Job) -> Iterator[Progress]:
            yield Progress({"loss": 1.0})
            signal.raise_signal(signal.SIGINT)
            time.sleep(30)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        InlineRunner(RunSettings()).run(study, Hangs())
    assert time.monotonic() - begun < 10
    assert study.history[0].state is State.RUNNING


def test_trials_have_as_many_threads_as_cpus_and_the_caller_keeps_its_own() -> None:
    import torch

    seen: list[int] = []

    class Threads:
        def run(self, job: Job) -> Generator[Progress, Decision, None]:
            seen.append(torch.get_num_threads())
            yield Progress({"loss": 1.0})

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        study = Study({"x": Float(0.0, 1.0)}, {"loss": "minimize"}, searcher="random", budget={"trials": 1})
        study.run(Threads(), runner="inline", resources={"cpus": 2})
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [2]


def test_a_function_s_checkpoints_are_kept_where_the_study_is_given_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(config: dict) -> None:
        (tmp_path / "weights").mkdir(exist_ok=True)
        (tmp_path / "weights" / "w.txt").write_text(str(config["x"]))
        autosearch.report({"loss": config["x"]}, step=1, checkpoint=tmp_path / "weights")

    monkeypatch.chdir(tmp_path)  # a path may be relative
    study = Study({"x": Float(0.0, 1.0)}, {"loss": "minimize"}, searcher="random")
    best = study.run(train, trials=2, runner="inline", output="out").best
    assert best.checkpoint is not None
    assert Path(best.checkpoint).is_relative_to(tmp_path / "out")
    assert (Path(best.checkpoint) / "w.txt").read_text() == str(best.config["x"])
