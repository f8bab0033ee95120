import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import autosearch

Command = Callable[..., tuple[int, str, str]]


def test_run_starts_says_where_the_record_is_and_finds_the_best(command: Command, study: Path) -> None:
    code, out, _ = command("run", study)
    record = study.parent / "results" / "curves" / "study.journal"
    assert code == 0
    assert out.splitlines()[0] == f"record: {record} (new)"
    assert sum(line.startswith("trial ") for line in out.splitlines()) == 3
    assert "best of 3 trials: trial" in out
    assert record.is_file()


def test_run_again_says_that_the_budget_is_spent(command: Command, study: Path) -> None:
    command("run", study)
    code, out, _ = command("run", study)
    assert code == 0
    assert "(continuing: 3 trials)" in out
    assert "the budget is spent" in out


def test_a_larger_budget_extends_the_study(command: Command, study: Path) -> None:
    command("run", study)
    code, out, _ = command("run", study, "--set", "budget.trials=5")
    assert code == 0
    assert "best of 5 trials" in out


def test_extended_and_undisturbed_studies_choose_the_same(
    command: Command, study: Path, tmp_path: Path
) -> None:
    command("run", study)
    command("run", study, "--set", "budget.trials=6")
    command("run", study, "--set", "budget.trials=6", "--set", f"output={tmp_path / 'whole'}")
    one = json.loads(command("trials", study, "--json")[1])
    other = json.loads(command("trials", study, "--json", "--set", f"output={tmp_path / 'whole'}")[1])
    assert [t["config"] for t in one] == [t["config"] for t in other]
    assert [t["metrics"] for t in one] == [t["metrics"] for t in other]


@pytest.mark.parametrize(
    "words",
    [
        ("run", "STUDY", "--set", "output=FILE"),
        ("enqueue", "STUDY", "x=0.5", "--set", "output=FILE/inside"),
        ("init", "FILE/study.yaml"),
        ("report", "STUDY", "--out", "FILE/report.html"),
        ("export", "STUDY", "FILE/inside"),
    ],
)
def test_a_place_that_cannot_be_written_is_said_in_a_line(
    command: Command, study: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    command("run", study)
    (tmp_path / "taken").write_text("a file")
    places = {"STUDY": str(study), "FILE": str(tmp_path / "taken")}
    for short, place in places.items():
        words = tuple(word.replace(short, place) for word in words)
    code, _, err = command(*words)
    assert code == 2
    assert "taken" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("words", ["run", "check"])
def test_a_space_without_a_configuration_is_refused_before_there_is_a_record(
    command: Command, study: Path, words: str
) -> None:
    code, _, err = command(words, study, "--set", "require=[x > 2]")
    assert code == 2
    assert "--set require: the constraints seem unsatisfiable" in err
    assert not (study.parent / "results").exists()


def test_a_changed_space_is_refused_with_the_difference_and_the_way_out(
    command: Command, study: Path
) -> None:
    command("run", study)
    study.write_text(study.read_text().replace("high: 1.0", "high: 0.5"))
    code, _, err = command("run", study)
    assert code == 2
    assert "x: high 1.0 -> 0.5" in err
    assert "--fork NAME" in err
    assert "Traceback" not in err
    code, _, err = command("check", study)
    assert code == 2
    assert "x: high 1.0 -> 0.5" in err


def test_fork_takes_over_what_still_fits(command: Command, study: Path) -> None:
    command("run", study, "--set", "budget.trials=8")
    study.write_text(study.read_text().replace("high: 1.0", "high: 0.5").replace("trials: 3", "trials: 10"))
    code, out, _ = command("run", study, "--fork", "narrow")
    assert code == 0
    trials = json.loads(command("trials", study, "--json", "--set", "study=narrow")[1])
    taken = [t for t in trials if "forked_from" in t["info"]]
    assert f"narrow took over {len(taken)} trials" in out
    assert 0 < len(taken) < 8
    assert len(trials) == 10
    assert all(t["config"]["x"] <= 0.5 for t in trials)


def test_status_best_trials_read_the_record(command: Command, study: Path) -> None:
    command("run", study)
    code, out, _ = command("status", study)
    assert code == 0
    assert "3 complete" in out
    facts = json.loads(command("status", study, "--json")[1])
    assert facts["trials"] == {"complete": 3}
    assert facts["spent"]["trials"] == 3
    assert facts["budget"] == {"trials": 3, "minutes": None, "cost": None}
    best = json.loads(command("best", study, "--json")[1])["best"][0]
    trials = json.loads(command("trials", study, "--json")[1])
    assert best["metrics"]["loss"] == min(t["metrics"]["loss"] for t in trials)
    table = command("trials", study)[1].splitlines()
    assert table[0].split("\t") == ["trial", "state", "loss", "x", "k", "step", "time"]
    csv = command("trials", study, "--csv")[1].splitlines()
    assert len(csv) == 4
    assert "metrics.loss" in csv[0]


@pytest.mark.parametrize("name", ["status", "best", "trials"])
def test_reading_before_the_first_run_is_a_clear_error(command: Command, study: Path, name: str) -> None:
    code, out, err = command(name, study)
    assert (code, out) == (2, "")
    assert "study.journal: there is no such record. `autosearch run`" in err
    assert "Traceback" not in err
    assert not (study.parent / "results").exists()


def test_a_mistyped_key_is_located_with_the_nearest(command: Command, study: Path) -> None:
    text = study.read_text().replace("high: 1.0", "hgih: 1.0")
    study.write_text(text.replace("searcher:", "seracher:") + "searcher: random\n")
    code, _, err = command("run", study)
    assert code == 2
    assert f"{study}:5:30 space.x.hgih: unknown key. Did you mean 'high'?" in err.splitlines()
    assert any("seracher" in line and "Did you mean 'searcher'?" in line for line in err.splitlines())


def test_every_failure_is_exit_3_and_grouped_by_cause(command: Command, study: Path) -> None:
    study.write_text(study.read_text().replace("steps: 4", "steps: 4, fail_rate: 1.0"))
    code, _, err = command("run", study, "--set", "budget.trials=2")
    assert code == 3
    assert "every one of 2 trials failed" in err
    assert "2 x crash: RuntimeError" in err


def test_a_bug_in_the_first_trials_stops_the_study_with_its_traceback(command: Command, study: Path) -> None:
    study.write_text(study.read_text().replace("steps: 4", "steps: 1, fail_rate: 1.0"))
    code, _, err = command("run", study, "--set", "budget.trials=50")
    assert code == 3
    assert "the first 3 trials all failed alike" in err
    assert "Traceback (most recent call last)" in err
    assert len(json.loads(command("trials", study, "--json")[1])) == 3


def test_no_feasible_trial_is_exit_4(command: Command, study: Path) -> None:
    study.write_text(study.read_text() + "constraints: [size <= -1]\n")
    code, _, err = command("run", study)
    assert code == 4
    assert "no trial is feasible" in err
    assert command("best", study)[0] == 4


def test_several_objectives_show_the_front(command: Command, study: Path) -> None:
    study.write_text(study.read_text().replace("{loss: minimize}", "{loss: minimize, size: minimize}"))
    code, out, _ = command("run", study, "--set", "budget.trials=8")
    assert code == 0
    assert "front of" in out
    assert command("export", study, study.parent / "out")[0] == 2


@pytest.mark.parametrize(
    "words", [("run", "--json"), ("check", "--json"), ("plan", "--json"), ("run", "--quiet")]
)
def test_what_training_code_prints_does_not_mix_with_what_was_asked_for(
    command: Command, tmp_path: Path, words: tuple[str, str]
) -> None:
    (tmp_path / "chatty.py").write_text(
        "print('at import')\ndef train(config):\n    print('in training')\n    return config['x']\n"
    )
    study = tmp_path / "chatty.yaml"
    study.write_text(
        "study: chatty\nrun: {function: ./chatty.py:train}\nobjectives: {loss: minimize}\n"
        "space: {x: {type: float, low: 0, high: 1}}\nsearcher: random\nbudget: {trials: 1}\n"
        "resources: {runner: inline}\n"
    )
    code, out, err = command(words[0], study, words[1])
    assert code == 0
    assert "at import" in err
    assert not {"at import", "in training"} & set(out.splitlines())
    if words == ("run", "--json"):
        assert all(json.loads(line) for line in out.splitlines())
    elif words[1] == "--json":
        assert json.loads(out)


def test_quiet_prints_the_result_alone_and_json_lines_are_json(command: Command, study: Path) -> None:
    out = command("run", study, "--quiet")[1]
    assert out.splitlines()[0].startswith("best of 3 trials")
    lines = command("run", study, "--json", "--set", "budget.trials=5")[1].splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events.count("finish") == 2
    assert events[-1] == "result"


def test_enqueue_is_taken_next_and_refuses_what_does_not_fit(command: Command, study: Path) -> None:
    command("run", study)
    assert command("enqueue", study, "x=0.125", "k=b")[0] == 0
    assert "queued: x=0.25, k=a\n" in command("enqueue", study, "x=0.25")[1]
    code, _, err = command("enqueue", study, "x=7")
    assert code == 2
    assert "x" in err
    code, _, err = command("enqueue", study, "lr=7")
    assert (code, "lr" in err) == (2, True)
    command("run", study, "--set", "budget.trials=4")
    trials = json.loads(command("trials", study, "--json")[1])
    assert trials[3]["config"] == {"x": 0.125, "k": "b"}
    assert trials[3]["info"]["reason"] == "queued"


def test_export_reproduces_the_trial(command: Command, study: Path) -> None:
    study.write_text(study.read_text().replace("steps: 4", "steps: 4, noise: 0.1"))
    command("run", study, "--set", "budget.trials=5")
    folder = study.parent / "exported"
    assert command("export", study, folder, "--trial", "3")[0] == 0
    assert command("run", folder / "study.yaml")[0] == 0
    original = json.loads(command("trials", study, "--json")[1])[3]
    again = json.loads(command("trials", folder / "study.yaml", "--json")[1])[0]
    assert (again["config"], again["metrics"]) == (original["config"], original["metrics"])
    code, _, err = command("export", study, folder)
    assert (code, "not an empty folder" in err) == (2, True)
    code, _, err = command("export", study, study.parent / "other", "--trial", "99")
    assert (code, "no trial 99" in err) == (2, True)


def test_check_writes_nothing_and_says_what_would_happen(command: Command, study: Path) -> None:
    code, out, _ = command("check", study)
    assert code == 0
    assert "record: new, at" in out
    assert list(study.parent.iterdir()) == [study]
    command("run", study)
    assert "continues 3 trials" in command("check", study)[1]


def test_check_has_no_empty_line_where_the_steps_are_not_known(command: Command, study: Path) -> None:
    (study.parent / "code.py").write_text("def train(config):\n    return config['x']\n")
    study.write_text(
        study.read_text().replace("{task: synthetic_curves, steps: 4}", "{function: code.py:train}")
    )
    code, out, _ = command("check", study)
    assert code == 0
    assert "fidelity: none" in out.splitlines()


def test_one_trial_is_counted_as_one(command: Command, study: Path) -> None:
    assert "best of 1 trial: trial 0" in command("run", study, "--set", "budget.trials=1")[1]
    out = command("run", study, "--set", "budget.trials=1")[1]
    assert "(continuing: 1 trial)" in out
    assert "the budget is spent (1 trial)" in out


def test_the_program_says_its_version(command: Command) -> None:
    assert command("--version") == (0, f"autosearch {autosearch.__version__}\n", "")


def test_help_has_a_short_name_in_every_command(command: Command) -> None:
    assert command("-h")[1] == command("--help")[1]
    assert command("run", "-h") == command("run", "--help")


def test_init_writes_a_file_that_checks_and_keeps_an_existing_one(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert command("init", path)[0] == 0
    assert command("check", path)[0] == 0
    code, _, err = command("init", path)
    assert (code, "--force" in err) == (2, True)


def test_list_names_everything_and_nothing_registered_is_broken(command: Command) -> None:
    found = json.loads(command("list", "--json")[1])
    assert {"random", "sobol", "grid", "evolution", "bayesian", "auto", "optuna"} <= set(found["searchers"])
    broken = [
        (kind, name) for kind, names in found.items() for name, text in names.items() if "cannot be" in text
    ]
    assert broken == []
    assert all(text for names in found.values() for text in names.values())


def test_list_narrows_to_a_kind_and_tells_all_about_one(command: Command) -> None:
    rows = [line.split("\t") for line in command("list", "schedulers")[1].splitlines()]
    assert {row[0] for row in rows[1:]} == {"scheduler"}
    assert command("list", "scheduler") == command("list", "schedulers")
    _, out, _ = command("list", "scheduler", "asha")
    assert "reduction: the factor eta between rungs" in out
    assert "    reduction: 3\n" in out
    task = json.loads(command("list", "tasks", "image_classification", "--json")[1])
    assert task["options"]["epochs"] == "20"
    assert any("epochs: passes over the training data" in text for text in task["about"]), (
        "inherited ones too"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list", "serchers"), "list: unknown kind 'serchers'. Did you mean 'searchers'?"),
        (("list", "searchers", "baysian"), "unknown searcher 'baysian'. Did you mean 'bayesian'?"),
    ],
)
def test_list_answers_a_mistyped_name_with_the_nearest(
    command: Command, words: tuple[str, ...], message: str
) -> None:
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert message in err


def test_image_classification_names_its_datasets_and_models(command: Command) -> None:
    from autosearch.tasks.datasets import IMAGE_DATASETS
    from autosearch.tasks.models import IMAGE_MODELS

    about = command("list", "task", "image_classification")[1]
    assert [name for name in (*IMAGE_DATASETS, *IMAGE_MODELS) if name not in about] == []


def test_schema_is_json_schema(command: Command) -> None:
    schema = json.loads(command("schema")[1])
    assert {"study", "run", "objectives", "space", "budget"} <= set(schema["properties"])


def test_debug_runs_one_trial_and_shows_its_traceback(command: Command, study: Path) -> None:
    code, out, _ = command("run", study, "--debug")
    assert code == 0
    assert "trial 0 step 4" in out
    assert len(json.loads(command("trials", study, "--json")[1])) == 1
    study.write_text(study.read_text().replace("steps: 4", "steps: 4, fail_rate: 1.0"))
    code, _, err = command("run", study, "--debug")
    assert code == 3
    assert "Traceback (most recent call last)" in err
    assert "synthetic" in err


@pytest.mark.parametrize(
    "words", [["frobnicate"], ["run"], ["run", "x.yaml", "--nope"], ["dashboard", "x", "--port", "a"]]
)
def test_usage_errors_are_exit_2(command: Command, words: list[str]) -> None:
    code, _, err = command(*words)
    assert code == 2
    assert "Usage:" in err


def test_help_answers_in_half_a_second() -> None:
    def once() -> float:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "autosearch.cli.main", "--help"], check=True, capture_output=True
        )
        return time.perf_counter() - began

    # The fastest of a few: other work on the machine only ever makes it slower.
    assert min(once() for _ in range(5)) < 0.5


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from autosearch.cli.main import run; run(['--help']);"
        "print([m for m in ('torch', 'ray', 'optuna', 'pydantic', 'numpy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_study_that_searches_nothing_gets_its_report(command: Command, study: Path) -> None:
    fixed = ["--set", "space={x: 0.25, k: a}", "--set", "study=fixed"]
    assert command("run", study, *fixed)[0] == 0
    code, _, err = command("report", study, *fixed)
    assert (code, err) == (0, "")
    page = (study.parent / "results" / "fixed" / "report.html").read_text(encoding="utf-8")
    assert "Nothing is searched." in page
