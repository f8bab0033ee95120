"""Programs as trials, in process."""

import json
import os
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import autosearch as asr
from autosearch.core import OptionError, Retries, RunSettings, State, Study
from autosearch.tasks.command import CommandObjective, MetricLines, flatten, metrics_of

SPACE = {"lr": asr.Float(0.0, 1.0), "net.width": asr.Int(1, 4)}


def program(folder: Path, text: str) -> str:
    path = folder / "program.py"
    path.write_text("import json, os, pathlib, sys, time\n" + textwrap.dedent(text))
    return f"{sys.executable} {path}"


def run(command: str, folder: Path, space: Any = None, **options: Any) -> Study:
    study = Study(space or SPACE, {"loss": "minimize"}, searcher="random", budget={"trials": 1}, **options)
    return study.run(CommandObjective(command), runner="inline", settings=RunSettings(output=folder / "out"))


def test_only_placeholders_of_declared_parameters_are_replaced() -> None:
    space = asr.SearchSpace(SPACE)
    objective = CommandObjective(
        "train --lr {lr} --w={net.width} --json '{\"a\": {b}}' '$HOME; ls'", space=space
    )
    words = objective.arguments({"lr": 0.5, "net.width": 3})
    assert words == ["train", "--lr", "0.5", "--w=3", "--json", '{"a": {b}}', "$HOME; ls"]


def test_json_lines_with_a_step_are_reports_and_the_last_line_is_the_result(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        """
        print("hello {")
        for step in (1, 2):
            print(json.dumps({"step": step, "loss": 1 / step}), flush=True)
        print(json.dumps({"loss": 0.25, "params": 7}))
        """,
    )
    trial = run(command, tmp_path).history[0]
    assert [(r.step, r.metrics["loss"]) for r in trial.reports] == [(1, 1.0), (2, 0.5)]
    assert trial.metrics == {"loss": 0.25, "params": 7.0}


def test_the_program_finds_its_config_and_may_write_metrics_to_a_file(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        """
        config = json.load(open(os.environ["AUTOSEARCH_CONFIG"]))
        with open(os.environ["AUTOSEARCH_METRICS"], "a") as file:
            file.write(json.dumps({"step": 3, "loss": config["net"]["width"]}) + "\\n")
        """,
    )
    trial = run(command, tmp_path).history[0]
    assert trial.step == 3
    assert trial.values == (trial.config["net.width"],)


def test_the_trial_s_folder_is_kept_between_attempts(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        """
        state = pathlib.Path(os.environ["AUTOSEARCH_TRIAL_DIR"], "state")
        start = int(state.read_text()) + 1 if state.exists() else 1
        for step in range(start, 5):
            state.write_text(str(step))
            print(json.dumps({"step": step, "loss": start}), flush=True)
            if step == 2 and start == 1:
                sys.exit("died")
        """,
    )
    trial = run(command, tmp_path).history[0]
    assert trial.state is State.COMPLETE
    assert trial.attempts == ("crash",)
    assert [r.step for r in trial.curve] == [1, 2, 3, 4]


def test_a_program_that_was_lost_at_its_end_and_has_nothing_left_to_say_keeps_its_last_report(
    tmp_path: Path,
) -> None:
    command = program(
        tmp_path,
        """
        done = pathlib.Path(os.environ["AUTOSEARCH_TRIAL_DIR"], "done")
        if not done.exists():
            print(json.dumps({"step": 1, "loss": 0.25}), flush=True)
            done.touch()
            time.sleep(0.5)  # the report is read
            os._exit(1)
        """,
    )
    trial = run(command, tmp_path).history[0]
    assert trial.state is State.COMPLETE
    assert trial.attempts == ("crash",)
    assert trial.values == (0.25,)


def test_a_failing_program_s_last_words_are_the_cause(tmp_path: Path) -> None:
    command = program(
        tmp_path, "sys.stderr.write('torch.OutOfMemoryError: CUDA out of memory\\n'); sys.exit(3)"
    )
    failure = run(command, tmp_path).history[0].failure
    assert failure is not None
    assert failure.cause == "oom"
    assert "exit code 3: torch.OutOfMemoryError" in failure.message


def test_a_program_that_says_nothing_fails_with_the_way_out(tmp_path: Path) -> None:
    failure = run(program(tmp_path, "print('done')"), tmp_path).history[0].failure
    assert failure is not None
    assert "without a metric" in failure.message


def test_a_failing_program_is_named_with_its_path(tmp_path: Path) -> None:
    failure = run("false", tmp_path).history[0].failure
    assert failure is not None
    assert f"{shutil.which('false')} ended with exit code 1" in failure.message


def test_a_program_that_is_not_there_is_refused_before_the_study_begins() -> None:
    problem = Study({"lr": {"type": "float", "low": 0.0, "high": 1.0}}, {"loss": "minimize"}).problem
    with pytest.raises(OptionError, match="there is no program 'pyhton'"):
        CommandObjective("pyhton train.py --lr {lr}").check(problem)


def test_a_program_that_is_not_there_fails_the_trial(tmp_path: Path) -> None:
    failure = run("/no/such/program-{lr}", tmp_path).history[0].failure
    assert failure is not None
    assert "cannot be started" in failure.message


def test_a_stopped_program_is_asked_to_end_with_all_its_children(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        f"""
        import signal, subprocess
        child = subprocess.Popen(["sleep", "60"])
        def leave(*_):
            pathlib.Path({str(tmp_path)!r}, "saved").write_text(str(child.pid))
            sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        print(json.dumps({{"step": 1, "loss": 9.0}}), flush=True)
        time.sleep(60)
        """,
    )
    began = time.monotonic()
    study = run(command, tmp_path, scheduler={"method": "threshold", "metric": "loss", "above": 1.0})
    assert study.history[0].state is State.STOPPED
    assert time.monotonic() - began < 20
    child = int((tmp_path / "saved").read_text())
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_placeholder_of_a_conditional_parameter_is_refused(tmp_path: Path) -> None:
    space = {"opt": asr.Categorical(["sgd", "adam"]), "momentum": asr.Float(0, 1, when="opt == 'sgd'")}
    with pytest.raises(OptionError, match="no value where the parameter is inactive"):
        run("train {momentum}", tmp_path, space)


def test_an_empty_command_is_refused() -> None:
    with pytest.raises(OptionError, match="is empty"):
        CommandObjective("  ")


def test_only_json_mappings_are_metrics() -> None:
    assert metrics_of('{"loss": 1}\n') == {"loss": 1}
    assert [metrics_of(text) for text in ("loss: 1", "[1]", '{"loss": 1', "{loss}", "")] == [None] * 5


def test_nested_configurations_flatten_to_dotted_names() -> None:
    assert flatten({"a": 1, "b": {"c": {"d": 2}}}) == {"a": 1, "b.c.d": 2}


def test_the_environment_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_USER", "3")
    command = program(tmp_path, "print(json.dumps({'step': 1, 'loss': float(os.environ['OF_THE_USER'])}))")
    assert run(command, tmp_path).history[0].values == (3.0,)
    assert "AUTOSEARCH_CONFIG" not in os.environ
    assert json.loads((tmp_path / "out/trials/study/trial_00000/config.json").read_text())


def test_a_metrics_file_without_a_line_break_at_its_end_is_read(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        """
        json.dump({"loss": 0.5}, open(os.environ["AUTOSEARCH_METRICS"], "w"))
        """,
    )
    assert run(command, tmp_path).best.metrics == {"loss": 0.5}


def test_a_metrics_file_that_is_written_afresh_at_every_report_loses_none(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        """
        for step in (1, 2, 3):
            with open(os.environ["AUTOSEARCH_METRICS"], "w") as file:
                file.write(json.dumps({"step": step, "loss": 1 - step / 10}) + "\\n")
            time.sleep(0.3)
        """,
    )
    trial = run(command, tmp_path).history[0]
    assert [(r.step, r.metrics["loss"]) for r in trial.reports] == [(1, 0.9), (2, 0.8), (3, 0.7)]


def test_an_output_line_does_not_run_into_an_open_one_of_the_file(tmp_path: Path) -> None:
    lines = MetricLines(tmp_path / "metrics.jsonl")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss"')
    assert list(lines.take()) == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 3}')
    lines.add('{"step": 2, "loss": 2}')
    assert [found["step"] for found in lines.take()] == [1, 2]
    assert list(lines.take()) == []


@pytest.mark.parametrize("step", ['"warm-up"', "1.5", "-1", "NaN", "[1]"])
def test_a_step_that_is_no_whole_number_says_so(tmp_path: Path, step: str) -> None:
    command = program(tmp_path, f"""print('{{"step": {step}, "loss": 1}}')""")
    failure = run(command, tmp_path, retries=Retries(crash=0)).history[0].failure
    assert failure is not None
    assert "step is a whole number of at least 0, got" in failure.message


def test_a_line_nested_beyond_reason_is_no_metric_and_ends_nothing() -> None:
    assert metrics_of('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}") is None


def test_a_signal_without_a_name_is_told_by_its_number(tmp_path: Path) -> None:
    command = program(tmp_path, "os.kill(os.getpid(), 40)")
    failure = run(command, tmp_path, retries=Retries(crash=0)).history[0].failure
    assert failure is not None
    assert "was killed by signal 40" in failure.message
