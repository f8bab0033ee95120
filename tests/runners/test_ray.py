"""The Ray runner with real workers: in a session that the tests share, which also stands for somebody else's."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autosearch.core import Keep, Limits, Resources, Retries, Runner, RunSettings, State, Study, plugins
from autosearch.runners.processes import descendants
from autosearch.space import Float
from autosearch.testing.runner_kit import RunnerKit, Script
from tests.runners.ray_cases import MARK, Devices, Faulty, FullDisk, SideBySide

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """Somebody's session with four CPUs and two GPUs that are only declared."""
    from autosearch.runners.ray import session as ours

    folder = tempfile.mkdtemp(prefix="asr-", dir="/tmp")
    with ours._variables(ours._SESSION_VARIABLES, override=False):
        os.environ["RAY_AUTH_TOKEN"] = ours._TOKEN
        ours.read_variables_again()
        ray.init(
            address="local",
            num_cpus=4,
            num_gpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=50,
            _temp_dir=folder,
            object_store_memory=200 * 2**20,
        )
        yield
        assert ray.is_initialized(), "a runner ended a session that is not its own"
        ray.shutdown()
        del os.environ["RAY_AUTH_TOKEN"]
    ours.read_variables_again()
    shutil.rmtree(folder, ignore_errors=True)


def ray_runner(settings: RunSettings) -> Runner:
    from autosearch.runners.ray_tune import RayRunner

    return RayRunner(settings)


def run(objective: Any, folder: Path | None, trials: int, *, resources: Resources, **options: Any) -> Study:
    study = Study(
        {"x": Float(0.0, 1.0)},
        {"loss": "minimize"},
        searcher="random",
        budget={"trials": trials},
        retries=options.pop("retries", None),
    )
    settings = RunSettings(output=folder, resources=resources, **options)
    study.run(objective, runner=ray_runner(settings))  # type: ignore[arg-type]
    return study


class TestRay(RunnerKit):
    parallel = 2
    isolates = True

    def runner(self, settings: RunSettings) -> Runner:
        return ray_runner(settings)

    def run(self, script: Script, objective: Any, folder: Path | None, **options: Any) -> Study:
        objective.reusable = True  # ten times faster, and the harder case
        return super().run(script, objective, folder, **options)


@pytest.mark.parametrize("reusable", [True, False])
def test_every_way_to_end_is_a_result_and_the_others_go_on(tmp_path: Path, reusable: bool) -> None:
    study = run(
        Faulty(reusable=reusable),
        tmp_path,
        11,
        resources=Resources(parallel=4),
        retries=Retries(crash=0),
        limits=Limits(minutes=0.07, memory_gb=1.2),
    )
    causes = {t.number: t.failure.cause for t in study.history if t.failure is not None}
    assert causes == {0: "crash", 1: "crash", 2: "crash", 3: "crash", 4: "timeout", 5: "oom", 8: "crash"}
    failures = [t.failure for t in study.history if t.failure]
    assert failures[0].message == "UnpicklableError: cannot be unpickled"
    assert failures[1].message == "SystemExit: 0"
    assert "killed by a signal, or it left by os._exit" in failures[2].message
    assert "in hang" in failures[4].traceback, "the stack of a hung trial is kept"
    assert "limits.memory_gb is 1.2" in failures[5].message
    assert all(study.history[n].state is State.COMPLETE for n in (6, 7, 9, 10))
    assert not [pid for pid in all_processes() if MARK in arguments(pid)], "a child outlived its trial"
    logs = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert logs == [f"trial_{number:05d}.log" for number in causes], (
        "logs of failed trials stay, and no others"
    )
    assert not (tmp_path / ".ray").exists()


def all_processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def test_a_full_disk_costs_the_checkpoint_and_not_the_trial(tmp_path: Path) -> None:
    notes: list[str] = []
    study = Study({"x": Float(0.0, 1.0)}, {"loss": "minimize"}, searcher="random", budget={"trials": 2})
    study.listeners.append(lambda event, trial, text: notes.append(text) if event == "note" else None)
    settings = RunSettings(output=tmp_path, resources=Resources(parallel=2))
    study.run(FullDisk(), runner=ray_runner(settings))  # type: ignore[arg-type]
    assert [t.state for t in study.history] == [State.COMPLETE] * 2
    assert any("No space left on device" in note for note in notes)
    assert not list(tmp_path.rglob(".partial*"))


def test_half_gpus_are_shared_by_two_and_whole_ones_by_none(tmp_path: Path) -> None:
    halves = run(Devices(), None, 4, resources=Resources(cpus=0.5, gpus=0.5))
    assert halves.problem.workers == 4
    devices = sorted(t.data["devices"] for t in halves.history)
    assert devices == ["0", "0", "1", "1"]
    wholes = run(Devices(), None, 2, resources=Resources(cpus=0.5, gpus=1))
    assert wholes.problem.workers == 2
    assert sorted(t.data["devices"] for t in wholes.history) == ["0", "1"]


def test_a_trial_on_several_cpus_has_processes_beside_it() -> None:
    two = run(SideBySide(), None, 3, resources=Resources(cpus=2, parallel=1))
    assert [(t.metrics["loss"], t.metrics["count"]) for t in two.history] == [(0.0, 2.0)] * 3
    one = run(SideBySide(), None, 1, resources=Resources(cpus=1))
    assert one.history[0].metrics["count"] == 0.0


def test_the_budget_of_minutes_interrupts_what_runs(tmp_path: Path) -> None:
    study = Study({"x": Float(0.0, 1.0)}, {"loss": "minimize"}, searcher="random", budget={"minutes": 0.05})
    settings = RunSettings(output=tmp_path, resources=Resources(parallel=2), keep=Keep(logs="all"))
    study.run(Devices(), runner=ray_runner(settings))  # type: ignore[arg-type]
    assert study.elapsed_s < 30
    assert all(t.state in (State.COMPLETE, State.RUNNING) for t in study.history)


def test_a_slow_searcher_keeps_no_result_waiting() -> None:
    class Slow:
        def suggest(self, history: Any, n: int) -> Any:
            if len(history) >= 4:
                time.sleep(1.5)
            from autosearch.searchers.random import RandomSearcher

            return RandomSearcher().suggest(history, n)

    delays: list[float] = []
    study = Study({"x": Float(0.0, 1.0)}, {"loss": "minimize"}, searcher=Slow(), budget={"trials": 8})
    study.listeners.append(
        lambda event, trial, text: (
            delays.append(time.time() - trial.metrics["ended"]) if event == "report" and trial else None
        )
    )
    settings = RunSettings(resources=Resources(parallel=4))
    objective = Devices()
    objective.reusable = True  # type: ignore[misc]
    study.run(objective, runner=ray_runner(settings))  # type: ignore[arg-type]
    assert len(delays) == 8
    assert sorted(delays)[-2] < 0.7, f"reports waited for a fit: {delays}"


def test_an_optuna_objective_runs_in_workers_that_find_its_file(tmp_path: Path) -> None:
    folder = Path(__file__).parent / "user_code"
    objective = plugins.load("adapters", "optuna")("./objective.py:objective", folder=folder)
    study = Study(
        objective.space,
        {"loss": "minimize"},
        searcher="random",
        budget={"trials": 3},
        scheduler={"method": "asha", "min": 1, "max": 6},
    )
    settings = RunSettings(output=tmp_path, resources=Resources(parallel=3))
    study.run(objective, runner=ray_runner(settings))  # type: ignore[arg-type]
    assert {t.state for t in study.history} <= {State.COMPLETE, State.STOPPED}
    assert any(t.state is State.COMPLETE for t in study.history)


def test_the_runner_works_in_a_thread_that_is_not_the_main_one() -> None:
    found: list[Study] = []
    thread = threading.Thread(
        target=lambda: found.append(run(FullDisk(), None, 2, resources=Resources(parallel=2)))
    )
    thread.start()
    thread.join()
    assert [t.state for t in found[0].history] == [State.COMPLETE] * 2


def test_a_trial_that_fits_nowhere_is_said_before_any_runs() -> None:
    from autosearch.core import StudyError

    with pytest.raises(StudyError, match="needs 1 CPUs and 5 GPUs on one machine"):
        run(Devices(), None, 1, resources=Resources(gpus=5))


def test_this_process_is_as_it_was() -> None:
    before, cwd = dict(os.environ), Path.cwd()
    run(FullDisk(), None, 1, resources=Resources(parallel=1))
    assert dict(os.environ) == before
    assert Path.cwd() == cwd
    assert descendants(os.getpid()), "the session of the others is up"


@pytest.mark.parametrize(("word", "cause"), [("OutOfMemoryError", "oom"), ("NodeDiedError", "preempted")])
def test_an_end_that_is_no_actor_s_to_ray_is_a_trial_s_to_tune(word: str, cause: str) -> None:
    from ray import exceptions
    from ray.air.execution._internal import RayActorManager

    from autosearch.runners.ray.deaths import from_error, known_to_tune

    told: list[Exception] = []

    class Task:
        _tracked_actor = None

        def _on_error(self, actor: object, error: Exception) -> None:
            told.append(error)

    class Manager:
        def __init__(self) -> None:
            self._failed_actor_ids: set[object] = set()

        def _cleanup_actor(self, tracked_actor: object) -> None: ...

    class Actor:
        actor_id = 1
        _on_error = None

    task = Task()
    task._tracked_actor = Actor()  # type: ignore[assignment]
    died = getattr(exceptions, word)("ended by Ray")
    with known_to_tune():
        RayActorManager._actor_task_failed(Manager(), tracked_actor_task=task, exception=died)  # type: ignore[arg-type]
    assert [from_error(error).cause for error in told] == [cause]
    with pytest.raises(RuntimeError, match="unexpected"):
        RayActorManager._actor_task_failed(Manager(), tracked_actor_task=task, exception=died)  # type: ignore[arg-type]


@pytest.mark.slow
def test_ray_s_memory_monitor_ends_one_trial_and_not_the_study(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.runners.memory_driver", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["complete", "oom", "complete", "complete"]
