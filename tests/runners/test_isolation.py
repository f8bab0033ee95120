"""What trials leave behind in a process, and the limits that end one."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from autosearch.core import Failure
from autosearch.runners import isolation
from autosearch.runners.processes import descendants, end_marked, end_processes, memory_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_directory_environment_and_threads_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    cwd, before = Path.cwd(), dict(os.environ)
    with isolation.separated(2.0, {"GIVEN": "yes"}):
        assert os.environ["GIVEN"] == "yes"
        assert os.environ["OMP_NUM_THREADS"] == "2"
        os.chdir(tmp_path)
        del os.environ["KEPT"]
        os.environ["LEFT"] = "behind"
    assert Path.cwd() == cwd
    assert dict(os.environ) == before


def test_torch_comes_back() -> None:
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    try:
        with isolation.separated(1.0, {}):
            torch.set_default_dtype(torch.float64)
            torch.use_deterministic_algorithms(mode=True)
            torch.set_num_threads(3)
        assert torch.get_default_dtype() is torch.float32
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


@linux
def test_children_left_behind_end_even_when_their_parent_has() -> None:
    script = """
import os, subprocess, sys, time
from autosearch.runners import isolation
from autosearch.runners.processes import descendants
with isolation.separated(1.0, {}):
    subprocess.run(["sh", "-c", "sleep 77 & sleep 78 &"])
    subprocess.Popen(["sleep", "79"], start_new_session=True)
    assert len(descendants(os.getpid())) == 3
print(descendants(os.getpid()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_equal_seeds_give_equal_random_states() -> None:
    drawn = []
    for _ in range(2):
        isolation.seed_everything(2**40 + 3)
        drawn.append((random.random(), float(np.random.rand())))  # noqa: NPY002
    assert drawn[0] == drawn[1]


def test_output_of_c_code_and_children_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "trial.log"
    script = f"""
import os, sys
from pathlib import Path
from autosearch.runners import isolation
with isolation.redirected(Path({str(log)!r})):
    print("python")
    os.system("echo child; echo error >&2")
print("after")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "after\n"
    assert sorted(log.read_text().split()) == ["child", "error", "python"]


def test_a_long_log_keeps_its_start_and_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"start" + b"x" * 10_000 + b"end")
    isolation.trim_log(log, 1000)
    text = log.read_bytes()
    assert text.startswith(b"startx")
    assert text.endswith(b"xend")
    assert b"9008 bytes left out" in text
    assert len(text) < 1100


@linux
def test_too_much_memory_ends_the_process_and_leaves_the_reason(tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = f"""
import time
from pathlib import Path
from autosearch.runners import isolation
with isolation.MemoryLimit(0.3, Path({str(note)!r})):
    kept = []
    while True:
        kept.append(bytearray(20_000_000)); time.sleep(0.01)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "limits.memory_gb is 0.3" in note.read_text()


def test_a_hang_is_ended_with_its_stack(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    script = f"""
import time
from pathlib import Path
from autosearch.runners import isolation
def stuck():
    while True:
        try: time.sleep(100)
        except BaseException: pass
with isolation.time_limit(0.3, Path({str(trace)!r})):
    stuck()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "in stuck" in trace.read_text()


def test_a_trial_within_its_time_leaves_no_trace(tmp_path: Path) -> None:
    with isolation.time_limit(60, tmp_path / "trace"):
        assert (tmp_path / "trace").exists()
    assert not (tmp_path / "trace").exists()


@linux
def test_marked_processes_end_and_others_do_not() -> None:
    ours = subprocess.Popen(["sleep", "60"], env={**os.environ, "MARK_OF_THIS_TEST": "abc"})
    other = subprocess.Popen(["sleep", "60"], env={**os.environ, "MARK_OF_THIS_TEST": "abcd"})
    try:
        deadline = time.monotonic() + 10
        while not (found := end_marked("MARK_OF_THIS_TEST", "abc")):
            assert time.monotonic() < deadline
        assert found == [ours.pid]
        assert other.poll() is None
        assert other.pid in descendants(os.getpid())
        assert memory_of(os.getpid()) > memory_of(other.pid) > 0
    finally:
        end_processes([other.pid])
        ours.wait()
        other.wait()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("The actor died because its node has died.", "preempted"),
        ("Task was killed due to the node running low on memory.", "oom"),
        (
            "Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file.",
            "crash",
        ),
    ],
)
def test_ray_s_words_become_causes(text: str, cause: str) -> None:
    pytest.importorskip("ray")
    from autosearch.runners.ray.deaths import from_error

    failure = from_error(RuntimeError(text))
    assert failure.cause == cause
    assert failure.traceback == text


def test_a_death_without_a_word_is_a_crash() -> None:
    pytest.importorskip("ray")
    from autosearch.runners.ray.deaths import from_error

    assert from_error(None) == Failure("crash", "the worker process died.")


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "fits"),
    [
        ({"CPU": 4.0}, 1, 0, 4),
        ({"CPU": 4.0}, 1.5, 0, 2),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 0.5, 4),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 0.4, 4),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 2, 1),
        ({"CPU": 1.0, "GPU": 2.0}, 1, 0.5, 1),
        ({"CPU": 4.0}, 1, 0.5, 0),
    ],
)
def test_a_node_holds_as_many_trials_as_fit(
    node: dict[str, float], cpus: float, gpus: float, fits: int
) -> None:
    pytest.importorskip("ray")
    from autosearch.core import Resources
    from autosearch.runners.ray.session import _fitting

    assert _fitting(node, Resources(cpus=cpus, gpus=gpus)) == fits


@linux
def test_a_process_started_while_others_are_ended_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from autosearch.runners import processes

    def sleeper() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["sleep", "60"], env={**os.environ, "MARK_OF_THIS_TEST": "late"})

    first = sleeper()
    started: list[subprocess.Popen[bytes]] = []
    original = processes.end_processes

    def slow(pids: list[int]) -> None:
        if not started:
            started.append(sleeper())
        original(pids)

    monkeypatch.setattr(processes, "end_processes", slow)
    deadline = time.monotonic() + 10
    while not processes._marked(b"MARK_OF_THIS_TEST=late"):  # until it has its environment
        assert time.monotonic() < deadline
    ended = end_marked("MARK_OF_THIS_TEST", "late")
    assert set(ended) == {first.pid, started[0].pid}
    for process in (first, *started):
        process.wait()


@linux
def test_a_titled_process_ends_that_holds_a_file_of_the_folder_and_no_other(tmp_path: Path) -> None:
    from autosearch.runners.processes import end_titled

    def titled(title: str, log: Path) -> "subprocess.Popen[bytes]":
        log.parent.mkdir(exist_ok=True)
        with log.open("wb") as file:
            return subprocess.Popen([title, "60"], executable="sleep", stdout=file)

    ours = titled("ray::Agent", tmp_path / "session" / "log")
    others = [titled("ray::Agent", tmp_path / "other" / "log"), titled("tail", tmp_path / "session" / "more")]
    try:
        assert end_titled("ray::", tmp_path / "session") == [ours.pid]
        assert [other.poll() for other in others] == [None, None]
    finally:
        end_processes([other.pid for other in others])
        for process in (ours, *others):
            process.wait()
