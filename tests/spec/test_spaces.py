from collections.abc import Callable
from pathlib import Path

import pytest

from autosearch.spec import StudySpec

from . import stand_ins
from .conftest import HEAD, RUN

Load = Callable[..., StudySpec]
Problems = Callable[..., list[str]]
FILE = "parameters:\n  width: {type: int, low: 1, high: 8}\n  act: [relu, gelu]\n"


def test_a_shipped_space_is_found_by_name_with_options(load: Load) -> None:
    spec = load(HEAD + RUN + "space: {net: {use: 'spec.stand_ins:layers', count: 3}, net.drop1: 0.5}\n")
    assert spec.space is not None
    assert list(spec.space.parameters) == ["net.drop0", "net.drop1", "net.drop2"]
    assert spec.space.searched == ("net.drop0", "net.drop2")
    assert spec.space_definition == {
        "net": {"use": "spec.stand_ins:layers", "count": 3},
        "net.drop1": {"type": "fixed", "value": 0.5},
    }


def test_a_whole_space_may_be_a_name_or_a_path(load: Load) -> None:
    named = load(HEAD + RUN + "space: spec.stand_ins:SPACE\n").space
    assert named is not None
    assert named.searched == ("x",)
    Path("s.yaml").write_text(FILE)
    filed = load(HEAD + RUN + "space: s.yaml\nrequire: [width < 8]\n")
    assert filed.space is not None
    assert filed.space.searched == ("width", "act")
    assert filed.space_definition == str(Path.cwd() / "s.yaml")


def test_a_space_file_may_hold_constraints_and_first_configurations(load: Load) -> None:
    Path("s.yaml").write_text(FILE + "require: [width <= 4]\nfirst:\n  - {width: 3}\n")
    space = load(HEAD + RUN + "space: {net: {use: s.yaml}}\n").space
    assert space is not None
    assert [e.text for e in space.require] == ["net.width <= 4"]
    assert space.first[0]["net.width"] == 3


def test_problems_in_a_space_file_are_located_there(problems: Problems) -> None:
    Path("sub").mkdir()
    Path("sub/s.yaml").write_text(
        "parameters:\n  width: {type: int, low: 9, high: 8}\n  act: {type: float, low: 0, hgih: 1, high: 1}\n"
        "require: [width <= 4]\n"
    )
    assert problems(HEAD + RUN + "space: {net: {use: sub/s.yaml}}\n") == [
        "sub/s.yaml:2:22 parameters.width.low: must not be above high: 9 > 8",
        "sub/s.yaml:3:30 parameters.act.hgih: unknown key. Did you mean 'high'?",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[1]", "s.yaml:1:1: a space file is a mapping with parameters, require, first"),
        ("params: {}", "s.yaml:1:1: a space file is a mapping with parameters"),
        ("parameters: {}", "s.yaml:1:1 parameters: must be a mapping of parameters, not {}"),
        (FILE + "firts: []", "s.yaml:4:1 firts: unknown key. Did you mean 'first'?"),
        (FILE + "require: width <= 3", "s.yaml:4:1 require: must be a list of expressions"),
        (FILE + "require: [wdth <= 3]", "s.yaml:4:11 require[0]: unknown name 'wdth'"),
        (FILE + "first: {width: 3}", "s.yaml:4:1 first: must be a list of configurations"),
        (FILE + "first: [{width: 99}]", "s.yaml:4:10 first[0].width: "),
        (FILE + "first: [{with: 3}]", "s.yaml:4:10 first[0].with: unknown key. Did you mean 'width'?"),
        ("a: [", "a.yaml:6:15 space.net.use: s.yaml:1:5: this is not YAML"),
    ],
)
def test_a_space_file_that_breaks_a_rule_is_refused(problems: Problems, text: str, line: str) -> None:
    Path("s.yaml").write_text(text)
    (found,) = problems(HEAD + RUN + "space: {net: {use: s.yaml}}\n")
    assert found.startswith(line)


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("{use: nowhere.yaml}", "6:15 space.net.use: nowhere.yaml: there is no such file"),
        ("{use: nobody}", "6:15 space.net.use: unknown space 'nobody'."),
        ("{use: 3}", "6:15 space.net.use: must be the name or path of a shipped space, not 3"),
        (
            "{use: 'spec.stand_ins:layers', cuont: 1}",
            "6:45 space.net.cuont: unknown option. Did you mean 'count'?",
        ),
        ("{use: 'spec.stand_ins:layers', count: x}", "6:45 space.net.count: Input should be a valid integer"),
        ("{use: 'spec.stand_ins:SPACE', count: 1}", "6:44 space.net.count: "),
        ("{use: a.yaml, count: 1}", "6:28 space.net.count: a space file takes no options"),
    ],
)
def test_a_wrong_use_is_located(problems: Problems, entry: str, line: str) -> None:
    assert problems(HEAD + RUN + f"space: {{net: {entry}}}\n")[0].startswith(f"a.yaml:{line}")


@pytest.mark.parametrize(
    "name", ["spec.stand_ins:not_a_space", "os:system", "subprocess:getoutput", "builtins:eval"]
)
def test_a_function_that_does_not_say_it_makes_a_space_is_never_called(problems: Problems, name: str) -> None:
    (line,) = problems(
        HEAD + RUN + f"space: {{net: {{use: '{name}', text: called, command: touch x, cmd: touch x}}}}\n"
    )
    assert f"'{name}' must be a Subspace or a function annotated to return one" in line
    assert stand_ins.CALLED == []
    assert not Path("x").exists()


def test_all_parameters_are_checked_where_a_shipped_space_is_broken(problems: Problems) -> None:
    lines = problems(
        HEAD + RUN + "space:\n  net: {use: nobody}\n  lr: {type: float, low: 3, high: 1, when: net.x > 1}\n"
    )
    assert [line.split(" ")[0] for line in lines] == ["a.yaml:7:9", "a.yaml:8:21"]


@pytest.mark.parametrize("space", ["{}", "[]", "3", "[lr]"])
def test_a_space_is_a_mapping_that_is_not_empty(problems: Problems, space: str) -> None:
    assert problems(HEAD + RUN + f"space: {space}\n")[0].startswith("a.yaml:6:1 space: must")


def test_input_constraints_must_name_parameters(problems: Problems) -> None:
    lines = problems(HEAD + RUN + "space: {a: [1, 2], b: [1, 2]}\nrequire: [a < c, 3, 1 < 2]\n")
    assert [line.split(": ")[0] for line in lines] == [
        "a.yaml:7:11 require[0]",
        "a.yaml:7:18 require[1]",
        "a.yaml:7:21 require[2]",
    ]
