"""The real command in processes of its own: signals, a second driver, broken files, the wheel, user folders."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.spec.mutations import mutate

ROOT = Path(__file__).parents[2]
SLOW_STUDY = """\
study: slow
run: {task: synthetic_curves, steps: 100, sleep: 0.05}
objectives: {loss: minimize}
space: {x: {type: float, low: 0.0, high: 1.0}}
searcher: random
budget: {trials: 2}
resources: {runner: inline}
"""


def autosearch(*words: object, cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autosearch.cli.main", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


def start(*words: object, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "autosearch.cli.main", *map(str, words)]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_report(folder: Path, study: Path, steps: int = 3) -> None:
    """Wait until the record shows `steps` reports of the first trial."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        shown = autosearch("trials", study, "--json", cwd=folder)
        if shown.returncode == 0 and any(t["step"] >= steps for t in json.loads(shown.stdout)):
            return
        time.sleep(0.1)
    raise AssertionError("the study did not report in time")


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    path = tmp_path / "slow.yaml"
    path.write_text(SLOW_STUDY)
    return path


def test_ctrl_c_leaves_with_130_and_the_same_command_goes_on(slow: Path) -> None:
    process = start("run", slow, cwd=slow.parent)
    wait_for_report(slow.parent, slow)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=15)
    assert process.returncode == 130
    assert "interrupted: the same command goes on, with " in err
    done = autosearch("run", slow, cwd=slow.parent)
    assert done.returncode == 0
    trials = json.loads(autosearch("trials", slow, "--json", cwd=slow.parent).stdout)
    assert [t["state"] for t in trials] == ["complete"] * 2
    assert trials[0]["attempts"] == ["interrupted"]


def test_a_second_driver_is_refused_by_name(slow: Path) -> None:
    process = start("run", slow, cwd=slow.parent)
    try:
        wait_for_report(slow.parent, slow, 1)
        second = autosearch("run", slow, cwd=slow.parent)
        assert second.returncode == 2
        assert str(process.pid) in second.stderr
        assert "Traceback" not in second.stderr
        status = autosearch("status", slow, cwd=slow.parent)
        assert status.returncode == 0
        assert "driver:" not in status.stdout
    finally:
        process.kill()
        process.communicate()


def test_a_killed_driver_loses_nothing_and_its_lock_costs_no_time(slow: Path) -> None:
    process = start("run", slow, cwd=slow.parent)
    wait_for_report(slow.parent, slow, 20)
    process.kill()
    process.communicate()
    assert (
        "driver: none is left; what counts as running goes on"
        in autosearch("status", slow, cwd=slow.parent).stdout
    )
    began = time.monotonic()
    done = autosearch("run", slow, "--set", "budget.trials=1", cwd=slow.parent)
    assert done.returncode == 0
    assert time.monotonic() - began < 20
    trial = json.loads(autosearch("trials", slow, "--json", cwd=slow.parent).stdout)[0]
    assert (trial["state"], trial["attempts"], trial["step"]) == ("complete", ["interrupted"], 100)


def test_a_folder_with_hostile_names_does_not_shadow_the_library(tmp_path: Path) -> None:
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "__init__.py").write_text("raise RuntimeError('shadowed')")
    for name in ("tasks.py", "random.py", "typing.py"):
        (tmp_path / name).write_text("raise RuntimeError('shadowed')")
    (tmp_path / "slow.yaml").write_text(SLOW_STUDY.replace("sleep: 0.05", "sleep: 0.0"))
    script = Path(sys.executable).with_name("autosearch")
    done = subprocess.run(
        [script, "run", "slow.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_broken_study_files_end_with_exit_2_and_located_lines(tmp_path: Path) -> None:
    text = (ROOT / "studies" / "digits.yaml").read_text(encoding="utf-8")
    refused = 0
    for seed in range(20):
        path = tmp_path / f"m{seed}.yaml"
        path.write_bytes(mutate(text, seed))
        done = autosearch("check", path, cwd=tmp_path, timeout=60)
        assert done.returncode in (0, 2), (seed, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr
        if done.returncode == 2:
            assert all(line.startswith(str(path)) for line in done.stderr.splitlines()), done.stderr
            refused += 1
    assert refused >= 5


@pytest.mark.slow
def test_the_wheel_builds_and_works_from_an_empty_folder(tmp_path: Path) -> None:
    wheels, target, empty = tmp_path / "wheels", tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", wheels, ROOT], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", target, *wheels.glob("*.whl")], check=True)
    (empty / "slow.yaml").write_text(SLOW_STUDY.replace("sleep: 0.05", "sleep: 0.0"))
    code = "import autosearch, search_spaces; print(autosearch.__file__, search_spaces.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(target)}
    where = subprocess.run(
        [sys.executable, "-c", code], cwd=empty, env=environment, capture_output=True, text=True, check=True
    )
    assert where.stdout.count(str(target)) == 2
    assert (target / "autosearch" / "py.typed").is_file()
    command = [sys.executable, "-m", "autosearch.cli.main", "run", "slow.yaml"]
    subprocess.run(command, cwd=empty, env=environment, check=True, capture_output=True)
