import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autosearch.core import Budget, Goal, SpecError
from autosearch.core.settings import Keep, Limits, Resources, Retries
from autosearch.spec import StudySpec, load_spec, placeholders
from autosearch.spec.keys import TOP

from .conftest import HEAD, RUN, SPACE

DATA = Path(__file__).parent / "data"
Load = Callable[..., StudySpec]
Problems = Callable[..., list[str]]


def test_every_key_of_a_study_file_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSEARCH_DATA", "/elsewhere")
    spec = load_spec(DATA / "full.yaml")
    assert spec.study == "full"
    assert spec.seed == 7
    assert (spec.run.form, spec.run.target) == ("task", "synthetic_curves")
    assert spec.run.arguments == {"steps": 9, "noise": 1e-3}
    assert spec.objectives == (Goal("loss"), Goal("val/acc", maximize=True))
    assert [c.text for c in spec.constraints] == ["size <= 200000", "`val/acc` >= 0.5"]
    assert spec.space is not None
    assert list(spec.space.parameters)[-4:] == ["epochs", "head.width", "head.act", "head.slope"]
    assert [r.text for r in spec.space.require] == ["head.slope * head.width <= 100", "batch * layers <= 400"]
    assert spec.space.parameters["head.width"].high == 64  # type: ignore[attr-defined]
    assert [config["head.act"] for config in spec.space.first] == [
        "relu",
        "gelu",
    ]  # the third equals the first
    assert spec.searcher.definition == {"method": "random"}
    assert spec.scheduler is not None
    assert spec.scheduler.method == "none"
    assert spec.budget == Budget(40, 30.5, 2.0)
    assert spec.resources == Resources(2.0, 0.5, 3.5, 2)
    assert spec.runner == "inline"
    assert spec.limits == Limits(5.0, 2.5)
    assert spec.retries == Retries(2, 1, 0)
    assert spec.keep == Keep(3, "all")
    assert spec.data_dir == DATA.parent / "data"
    assert spec.storage == str(DATA / "store/all.journal")
    assert spec.output == DATA / "out"


def test_what_is_left_out_has_the_defaults(load: Load) -> None:
    spec = load(HEAD + RUN + SPACE)
    assert spec.seed == 0
    assert (spec.constraints, spec.training, spec.loggers, spec.require) == ((), (), (), ())
    assert spec.scheduler is None
    assert (spec.resources, spec.limits, spec.retries, spec.keep) == (
        Resources(),
        Limits(),
        Retries(),
        Keep(),
    )
    assert spec.runner == "ray"
    assert spec.output == Path.cwd() / "results/s"
    assert spec.storage == str(Path.cwd() / "results/s/study.journal")
    assert spec.data_dir is None


def test_a_key_with_nothing_behind_it_has_its_default(load: Load) -> None:
    text = HEAD + RUN + SPACE + "".join(f"{key}:\n" for key in TOP if f"{key}:" not in HEAD + RUN + SPACE)
    assert load(text) == load(HEAD + RUN + SPACE)


def test_the_default_searcher_is_auto(load: Load) -> None:
    assert load((HEAD + RUN + SPACE).replace("searcher: random\n", "")).searcher.method == "auto"


def test_paths_are_relative_to_the_study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()
    Path("studies/train.py").touch()
    Path("studies/a.yaml").write_text(
        HEAD
        + SPACE
        + "run: {function: '../studies/train.py:f'}\ndata_dir: d\nstorage: s.journal\noutput: ../o\n"
    )
    spec = load_spec("studies/a.yaml")
    assert spec.path == tmp_path / "studies/a.yaml"
    assert spec.run.target == f"{tmp_path}/studies/train.py:f"
    assert (spec.data_dir, spec.output) == (tmp_path / "studies/d", tmp_path / "o")
    assert spec.storage == str(tmp_path / "studies/s.journal")


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("sqlite:///a.db", "sqlite:///{here}/a.db"),
        ("sqlite:////abs/a.db", "sqlite:////abs/a.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("/abs/x.journal", "/abs/x.journal"),
    ],
)
def test_storage_is_an_absolute_file_or_an_url(load: Load, storage: str, expected: str) -> None:
    assert load(HEAD + RUN + SPACE + f"storage: '{storage}'").storage == expected.format(here=Path.cwd())


def test_data_dir_comes_from_the_environment_where_the_file_names_none(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOSEARCH_DATA", "sets")
    assert load(HEAD + RUN + SPACE).data_dir == Path.cwd() / "sets"
    assert load(HEAD + RUN + SPACE + "data_dir: /d").data_dir == Path("/d")


def test_the_example_of_the_contract_is_reported_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()
    text = "\n" * 7 + HEAD + "space:\n  lr: {type: float, low: 0,\n    hgih: 1}\n" + RUN
    Path("studies/a.yaml").write_text(text.replace("\n    hgih", "\n    hgih"))
    with pytest.raises(SpecError) as caught:
        load_spec("studies/a.yaml")
    assert caught.value.problems == ["studies/a.yaml:14:5 space.lr.hgih: unknown key. Did you mean 'high'?"]


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    lines = problems(
        """study: a/b
seed: -1
run: {task: syntetic_curves, steps: 3}
objectives: {loss: minimise}
constraints: [size < 3 + , 4 <= 5]
space: {lr: {type: float, low: 2, high: 1}, n: {type: int, low: 1.5, high: 4}, w: 3}
require: [lr * q <= 1]
searcher: {method: random, tires: 3}
scheduler: asa
budget: {trials: 0, minuts: 3}
resources: {cpus: 0, gpus: 1.5, parallel: all, runner: rya}
limits: {minutes: -1}
retries: {crash: 1.5}
keep: {logs: error}
loggers: [tensorbord]
otput: x
"""
    )
    text = "\n".join(lines)
    for part in [
        "1:1 study: must be printable text without / and \\",
        "2:1 seed: must be a whole number of at least 0, not -1",
        "3:7 run.task: unknown task 'syntetic_curves'. Did you mean 'synthetic_curves'?",
        "4:14 objectives.loss: must be minimize or maximize, not 'minimise'. Did you mean 'minimize'?",
        "5:15 constraints[0]: cannot be read",
        "5:28 constraints[1]: names no metric: 4 <= 5",
        "6:27 space.lr.low: ",
        "6:60 space.n.low: ",
        "8:28 searcher.tires: unknown option.",
        "9:1 scheduler: unknown scheduler 'asa'. Did you mean 'asha'?",
        "10:10 budget.trials: must be a whole number of at least 1, not 0",
        "10:21 budget.minuts: unknown key. Did you mean 'minutes'?",
        "11:13 resources.cpus: must be a number above 0, not 0",
        "11:22 resources.gpus: more than one GPU must be a whole number, not 1.5",
        "11:33 resources.parallel: must be a whole number, not 'all'; 'auto' is allowed too",
        "11:48 resources.runner: unknown runner 'rya'. Did you mean 'ray'?",
        "12:10 limits.minutes: must be a number above 0, not -1",
        "13:11 retries.crash: must be a whole number, not 1.5",
        "14:8 keep.logs: must be errors or all, not 'error'. Did you mean 'errors'?",
        "15:11 loggers[0]: unknown logger 'tensorbord'.",
        "16:1 otput: unknown key. Did you mean 'output'?",
    ]:
        assert f"a.yaml:{part}" in text
    assert lines == sorted(lines, key=lambda line: tuple(map(int, line.split(" ")[0].split(":")[1:3])))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "a.yaml:1:1: the file is empty"),
        ("# only this\n", "a.yaml:1:1: the file is empty"),
        ("- a\n", "a.yaml:1:1: must be a mapping with the keys of a study, not ['a']"),
        ("just text", "a.yaml:1:1: must be a mapping with the keys of a study, not 'just text'"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(problems: Problems, text: str, line: str) -> None:
    assert problems(text) == [line]


def test_what_is_required_and_missing_is_named(problems: Problems) -> None:
    lines = problems("searcher: random\n")
    assert [line.split("'")[1] for line in lines] == ["study", "run", "objectives", "space", "budget"]
    assert all(line.startswith("a.yaml:1:1: ") for line in lines)
    assert problems(HEAD + RUN + "space:\n") == ["a.yaml:6:1 space: is empty"]


def test_a_mistyped_required_key_is_reported_once(problems: Problems) -> None:
    assert problems((HEAD + RUN + SPACE).replace("study:", "stuyd:")) == [
        "a.yaml:1:1 stuyd: unknown key. Did you mean 'study'?"
    ]


def test_a_study_has_exactly_one_form_of_run(problems: Problems) -> None:
    lines = problems(HEAD + SPACE + "run: {task: table, command: x}")
    assert lines == [
        "a.yaml:6:20 run.command: holds task and command; exactly one of task, function, optuna, command "
        "says what a trial executes"
    ]
    assert (
        "run: needs one of task, function, optuna, command, which says what a trial executes; there is only steps"
        in problems(HEAD + SPACE + "run: {steps: 3}")[0]
    )
    assert problems(HEAD + SPACE + "run: {tsk: table}") == [
        "a.yaml:6:7 run.tsk: unknown key. Did you mean 'task'?"
    ]
    assert "run: must be a mapping" in problems(HEAD + SPACE + "run: [task]")[0]


def test_arguments_of_a_task_are_checked_against_its_constructor(problems: Problems) -> None:
    lines = problems(HEAD + SPACE + "run:\n  task: synthetic_curves\n  stps: 3\n  noise: high\n")
    assert lines == [
        "a.yaml:8:3 run.stps: unknown option. Did you mean 'steps'?",
        "a.yaml:9:3 run.noise: Input should be a valid number, got 'high'",
    ]


def test_the_datasets_folder_of_a_task_is_given_at_the_top(load: Load, problems: Problems) -> None:
    run = "run: {task: 'spec.stand_ins:NeedsData', dataset: digits}\n"
    assert load(HEAD + SPACE + run).run.defaults == {"epochs": 3}
    assert "run.data_dir: stands at the top" in problems(HEAD + SPACE + run.replace("dataset", "data_dir"))[0]
    assert problems(HEAD + SPACE + "run: {task: 'spec.stand_ins:NeedsData'}") == [
        "a.yaml:6:7 run.task: option 'dataset' is required."
    ]


@pytest.mark.parametrize("form", ["function", "optuna"])
def test_training_code_is_a_reference_that_is_not_imported(load: Load, problems: Problems, form: str) -> None:
    text = HEAD + SPACE + "run: {FORM: 'TARGET'}\n".replace("FORM", form)
    Path("train.py").write_text("raise RuntimeError\n")
    assert load(text.replace("TARGET", "./train.py:main")).run.target == f"{Path.cwd()}/train.py:main"
    assert (
        load(text.replace("TARGET", "package.module:Class.method")).run.target
        == "package.module:Class.method"
    )
    assert problems(text.replace("TARGET", "./tran.py:main")) == [
        f"a.yaml:6:7 run.{form}: there is no file {Path.cwd()}/tran.py"
    ]
    for wrong in ("train.py", "train:", ":main", "a b:c", "train:x()", "../train:main"):
        assert (
            f"run.{form}: must be package.module:name or ./file.py:name"
            in problems(text.replace("TARGET", wrong))[0]
        )
    assert "run.steps: unknown key" in problems(text.replace("TARGET", "a:b', steps: '3"))[0]


def test_a_command_may_name_parameters_only(load: Load, problems: Problems) -> None:
    text = HEAD + SPACE + "run: {command: 'COMMAND'}\n"
    spec = load(text.replace("COMMAND", 'train --lr {lr} --json "{\\"a\\": {}}" {} {1}'))
    assert placeholders(spec.run.target) == ("lr",)
    assert problems(text.replace("COMMAND", "train {lt} {lr}")) == [
        "a.yaml:6:7 run.command: {lt} is no parameter of the space. Did you mean 'lr'?"
    ]
    assert (
        "cannot be split into words (No closing quotation)"
        in problems(text.replace("COMMAND", 'train "x'))[0]
    )


def test_only_an_optuna_objective_may_go_without_a_space(load: Load, problems: Problems) -> None:
    spec = load(HEAD + "run: {optuna: 'm:f'}\n")
    assert spec.space is None
    assert "space" not in spec.resolved()
    assert "'space' is missing" in problems(HEAD + "run: {function: 'm:f'}\n")[0]
    assert "require: needs `space`" in problems(HEAD + "run: {optuna: 'm:f'}\nrequire: [a <= 1]\n")[0]


def test_a_metric_with_a_slash_stands_in_backticks(load: Load, problems: Problems) -> None:
    text = HEAD.replace("loss", "val/acc") + RUN + SPACE
    assert load(text + "constraints: ['`val/acc` >= 0.5']").constraints[0].names == {"val/acc"}
    assert (
        "constraints[0]: 'val/acc' is a name: write `val/acc`"
        in problems(text + "constraints: [val/acc >= 1]")[0]
    )


@pytest.mark.parametrize(
    "text", ["size", "size == 3", "1", "size <= 'a' and x", "__import__('os').system('x') <= 1"]
)
def test_an_outcome_constraint_is_an_inequality_in_the_language(problems: Problems, text: str) -> None:
    (line,) = problems(HEAD + RUN + SPACE + f'constraints: ["{text}"]')
    assert line.startswith("a.yaml:7:15 constraints[0]: ")


@pytest.mark.parametrize("key", ["constraints", "require", "training", "loggers"])
@pytest.mark.parametrize("value", ["x <= 1", "{a: 1}", "3"])
def test_lists_must_be_lists(problems: Problems, key: str, value: str) -> None:
    assert problems(HEAD + RUN + SPACE + f"{key}: {value}")[0].startswith(f"a.yaml:7:1 {key}: must be a list")


@pytest.mark.parametrize("key", ["budget", "resources", "limits", "retries", "keep"])
@pytest.mark.parametrize("value", ["3", "[a]", "text"])
def test_sections_must_be_mappings(problems: Problems, key: str, value: str) -> None:
    text = "\n".join(line for line in (HEAD + RUN + SPACE).splitlines() if not line.startswith(key))
    assert any(f"{key}: must be a mapping" in line for line in problems(f"{text}\n{key}: {value}"))


@pytest.mark.parametrize("value", ["true", "'3'", "[1]", "x"])
def test_a_number_is_never_guessed_from_something_else(problems: Problems, value: str) -> None:
    assert (
        "budget.trials: must be a whole number, not"
        in problems(HEAD.replace("1}", f"{value}}}") + RUN + SPACE)[0]
    )


def test_whole_numbers_may_be_written_as_floats(load: Load) -> None:
    trials = load(HEAD.replace("1}", "1e2}") + RUN + SPACE).budget.trials
    assert trials == 100
    assert isinstance(trials, int)


def test_a_budget_needs_a_limit_and_a_cost_needs_a_price(load: Load, problems: Problems) -> None:
    for budget in ("{}", "{trials: }"):
        assert (
            "budget: needs at least one of trials, minutes, cost"
            in problems(HEAD.replace("{trials: 1}", budget) + RUN + SPACE)[0]
        )
    text = HEAD.replace("{trials: 1}", "{cost: 3}") + RUN + SPACE
    assert "budget.cost: needs resources.price_per_hour" in problems(text)[0]
    assert load(text + "resources: {price_per_hour: 2}").budget == Budget(cost=3.0)


@pytest.mark.parametrize(
    "name", ["'../x'", "a/b", "'.hidden'", "' a'", "''", "3", "[a]", "'a\\b'", "x" * 101]
)
def test_a_study_name_is_fit_for_a_folder(problems: Problems, name: str) -> None:
    assert problems((HEAD + RUN + SPACE).replace("study: s", f"study: {name}"))[0].startswith(
        "a.yaml:1:1 study: "
    )


def test_problems_found_after_loading_can_be_located(load: Load) -> None:
    spec = load(HEAD + RUN + SPACE)
    assert str(spec.error(("run", "task"), "no data")) == "a.yaml:5:7 run.task: no data"


def test_a_hundred_lines_load_in_time(load: Load) -> None:
    text = HEAD + RUN + "space:\n" + "".join(f"  p{i}: {{type: float, low: 0, high: 1}}\n" for i in range(95))
    load(text)
    best = min(_seconds(lambda: load(text)) for _ in range(5))
    assert best < 0.15


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def test_reading_a_study_loads_no_heavy_library() -> None:
    heavy = ("torch", "ray", "optuna", "pandas", "botorch", "plotly", "scipy")
    code = (
        "import sys; from autosearch.spec import load_spec\n"
        f"load_spec({str(DATA / 'command.yaml')!r}); print([m for m in {heavy!r} if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert answer.stdout.strip() == "[]"
