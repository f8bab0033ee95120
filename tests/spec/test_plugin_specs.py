import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autosearch.core import plugins
from autosearch.spec import StudySpec, TrainingMethod

from . import stand_ins
from .conftest import HEAD, RUN, SPACE

TEXT = HEAD.replace("searcher: random\n", "") + RUN + SPACE
Load = Callable[..., StudySpec]
Problems = Callable[..., list[str]]


def test_options_are_kept_as_written_and_defaults_are_told(load: Load) -> None:
    spec = load(TEXT + "searcher: {method: 'spec.stand_ins:Patient', patience: 7}\n")
    assert spec.searcher.options == {"patience": 7}
    assert spec.searcher.defaults == {"shares": [0.5, 0.5]}
    assert plugins.build("searchers", spec.searcher.resolved) is not None


@pytest.mark.parametrize(
    ("searcher", "line"),
    [
        ("{patience: 3}", "6:1 searcher: 'method' is missing; it names the plug-in"),
        ("{name: random}", "6:1 searcher: 'method' is missing"),
        ("{mehtod: random}", "6:12 searcher.mehtod: unknown key. Did you mean 'method'?"),
        ("{method: [random]}", "6:12 searcher.method: must be a name, not ['random']"),
        ("[random]", "6:1 searcher: must be NAME or {method: NAME, …options}, not ['random']"),
        ("3", "6:1 searcher: must be NAME or"),
        (
            "{method: 'spec.stand_ins:Patient', patienc: 3}",
            "6:46 searcher.patienc: unknown option. Did you mean 'patience'?",
        ),
        (
            "{method: 'spec.stand_ins:Patient', patience: x}",
            "6:46 searcher.patience: Input should be a valid integer",
        ),
        (
            "{method: 'spec.stand_ins:Patient', patience: -1}",
            "6:46 searcher.patience: spec.stand_ins:Patient: must be at least 0, got -1.",
        ),
        ("spec.stand_ins:Nobody", "6:1 searcher: searcher 'spec.stand_ins:Nobody' cannot be loaded"),
        ("spec.nowhere:Patient", "6:1 searcher: searcher 'spec.nowhere:Patient' cannot be loaded"),
        ("'a b:c'", "6:1 searcher: must be a registered name or package.module:object, not 'a b:c'."),
        ("':c'", "6:1 searcher: must be a registered name or package.module:object"),
        ("'.spec:c'", "6:1 searcher: must be a registered name or package.module:object"),
        ("'./x.py:c'", "6:1 searcher: must be a registered name or package.module:object"),
    ],
)
def test_what_is_wrong_with_a_plug_in_is_located(problems: Problems, searcher: str, line: str) -> None:
    (found,) = problems(TEXT + f"searcher: {searcher}\n")
    assert found.startswith(f"a.yaml:{line}")


def test_values_that_a_scheduler_refuses_are_located(load: Load, problems: Problems) -> None:
    scheduler = "scheduler: {method: 'spec.stand_ins:Halving', min: 9, max: 3}\n"
    assert problems(HEAD + RUN + SPACE + scheduler) == [
        "a.yaml:7:55 scheduler.max: spec.stand_ins:Halving: must be at least min = 9, got 3."
    ]
    assert load(HEAD + RUN + SPACE + scheduler.replace("3}", "27}")).scheduler is not None


@pytest.mark.parametrize(
    "name", ["os:system", "subprocess:Popen", "builtins:exec", "builtins:print", "os:environ"]
)
def test_an_object_of_another_kind_is_refused_before_it_is_called(problems: Problems, name: str) -> None:
    for key in ("searcher", "scheduler"):
        (line,) = problems(
            HEAD.replace("searcher: random\n", "searcher: random\n" * (key != "searcher"))
            + RUN
            + SPACE
            + f"{key}: {{method: '{name}', args: [touch, made]}}\n"
        )
        assert f"'{name}' must be a class with" in line
    assert not Path("made").exists()


def test_a_plug_in_module_that_raises_is_a_problem_of_the_file(
    problems: Problems, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for i, text in enumerate(["1 / 0", "raise SystemExit(3)", "def f(:"]):
        (tmp_path / f"raising_plugin_{i}.py").write_text(f"{text}\n")
        (line,) = problems(TEXT + f"searcher: raising_plugin_{i}:Mine\n")
        assert f"raising_plugin_{i}:Mine cannot be imported: " in line
        assert f"raising_plugin_{i}.py:1" in line or f"raising_plugin_{i}.py, line 1" in line
        assert f"raising_plugin_{i}" not in sys.modules


def test_a_training_method_says_what_it_takes(load: Load) -> None:
    assert isinstance(stand_ins.TunesLr, TrainingMethod)
    text = TEXT.replace("lr:", "width:") + "searcher: random\ntraining: ['spec.stand_ins:TunesLr']\n"
    assert [method.method for method in load(text).training] == ["spec.stand_ins:TunesLr"]


def test_a_parameter_that_training_takes_must_not_be_searched(problems: Problems) -> None:
    assert problems(HEAD + RUN + SPACE + "training:\n  - method: spec.stand_ins:TunesLr\n") == [
        "a.yaml:8:5 training[0]: spec.stand_ins:TunesLr sets 'lr', which is searched too; take it out of `space`"
    ]


def test_a_parameter_must_not_be_taken_twice(problems: Problems) -> None:
    text = TEXT.replace("lr:", "width:") + "searcher: random\n"
    training = (
        "training: ['spec.stand_ins:TunesLr', {method: 'spec.stand_ins:TunesNamed', tune: {lr: {low: 0}}}]\n"
    )
    assert problems(text + training) == [
        "a.yaml:7:38 training[1]: spec.stand_ins:TunesNamed sets 'lr', and so does spec.stand_ins:TunesLr; "
        "keep one of them"
    ]


def test_a_parameter_that_is_fixed_may_be_taken(load: Load) -> None:
    text = HEAD + RUN + "space: {lr: 0.1, width: [1, 2]}\ntraining: ['spec.stand_ins:TunesLr']\n"
    assert len(load(text).training) == 1


@pytest.mark.parametrize("form", ["function", "optuna", "command"])
def test_training_beside_own_code_names_the_class_for_ones_own_loop(problems: Problems, form: str) -> None:
    text = HEAD + SPACE + f"run: {{{form}: 'm:f'}}\ntraining: ['spec.stand_ins:TunesLr', "
    lines = problems(text + "{method: 'spec.stand_ins:TunesNamed', tune: {}}]\n")
    assert lines == [
        f"a.yaml:7:12 training[0]: acts inside built-in tasks only; beside `{form}:` use autosearch.TunesLr "
        "in your own loop",
        f"a.yaml:7:38 training[1]: acts inside built-in tasks only; beside `{form}:` use "
        "spec.stand_ins.TunesNamed in your own loop",
    ]


def test_options_of_a_training_method_are_located(problems: Problems) -> None:
    assert problems(
        TEXT + "searcher: random\ntraining:\n  - method: spec.stand_ins:TunesNamed\n    tun: {a: {}}\n"
    ) == [
        "a.yaml:8:5 training[0].method: option 'tune' is required.",
        "a.yaml:9:5 training[0].tun: unknown option. Did you mean 'tune'?",
    ]


def test_code_in_an_option_is_found_from_the_study_files_folder(load: Load, tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text("def rough(layout): ...\n")
    spec = load(TEXT + "searcher: {method: bayesian, kernel: ./kernels.py:rough}\n")
    assert spec.searcher.options == {"kernel": f"{tmp_path}/kernels.py:rough"}


def test_code_in_an_option_that_is_not_there_is_located(problems: Problems, tmp_path: Path) -> None:
    (line,) = problems(TEXT + "searcher: {method: bayesian, kernel: ./absent.py:rough}\n")
    assert line.endswith(f"6:30 searcher.kernel: there is no file {tmp_path}/absent.py")
    (line,) = problems(TEXT + "searcher: {method: bayesian, kernel: aditive, draws: -1}\n")
    assert "6:30 searcher.kernel: bayesian: unknown kernel 'aditive'. Did you mean 'additive'?" in line
