from collections.abc import Callable

import pytest

from autosearch.spec import StudySpec

from .conftest import HEAD, RUN, SPACE

TEXT = HEAD + RUN + SPACE + "require: [lr <= 0.5]\n"
Load = Callable[..., StudySpec]
Problems = Callable[..., list[str]]


def test_an_override_stands_over_the_file(load: Load) -> None:
    spec = load(TEXT, "budget.trials=1e2", "seed=3", "output=elsewhere")
    assert (spec.budget.trials, spec.seed, spec.output.name) == (100, 3, "elsewhere")


def test_the_last_override_of_a_key_holds(load: Load) -> None:
    assert load(TEXT, "seed=3", "seed=4").seed == 4


def test_an_override_may_add_what_the_file_leaves_out(load: Load) -> None:
    spec = load(TEXT, "limits.minutes=3", "space.width={type: int, low: 1, high: 4}", "resources.gpus=.5")
    assert spec.limits.minutes == 3
    assert spec.resources.gpus == 0.5
    assert spec.space is not None
    assert list(spec.space.parameters) == ["lr", "width"]


def test_a_bare_name_becomes_a_mapping_where_an_option_is_set(load: Load) -> None:
    spec = load(TEXT, "searcher=spec.stand_ins:Patient", "searcher.patience=5")
    assert spec.searcher.definition == {"method": "spec.stand_ins:Patient", "patience": 5}


def test_a_number_leads_into_a_list(load: Load) -> None:
    assert load(TEXT, "require.0=lr <= 0.25").require == ("lr <= 0.25",)


def test_names_with_dots_are_found_as_they_are_or_in_backticks(load: Load) -> None:
    text = TEXT + "constraints: []\n"
    dotted = "space={m.lr: {type: float, low: 0, high: 1}, lr: 0.1}"
    spec = load(text, dotted, "space.m.lr.high=2", "space.`m.x`=3")
    assert spec.space is not None
    assert spec.space.parameters["m.lr"].high == 2  # type: ignore[attr-defined]
    assert "m.x" in spec.space.parameters


def test_nothing_stands_for_null(load: Load) -> None:
    assert load(TEXT + "scheduler: none\n", "scheduler=").scheduler is None


def test_an_override_mends_what_is_wrong_in_the_file(load: Load) -> None:
    assert load(TEXT.replace("trials: 1", "trials: .inf"), "budget.trials=2").budget.trials == 2


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("budget.trials=x", "--set budget.trials: must be a whole number, not 'x'"),
        ("budget.trails=3", "--set budget.trails: unknown key. Did you mean 'trials'?"),
        ("space.lr.high=x", "--set space.lr.high: must be a finite number"),
        ("budget={trials: 0}", "--set budget: budget.trials: must be a whole number of at least 1, not 0"),
        ("searcher=radnom", "--set searcher: unknown searcher 'radnom'. Did you mean 'random'?"),
        ("seed", "--set seed: must be KEY=VALUE such as budget.trials=50, not 'seed'"),
        ("=3", "--set =3: must be KEY=VALUE"),
        ("a..b=3", "--set a..b: must be KEY=VALUE"),
        ("seed.x=3", "--set seed.x: leads into an entry that is neither a mapping nor a list"),
        ("require.7=lr <= 1", "--set require.7: require[7]: the list has the items 0 to 0"),
        ("require.x=lr <= 1", "--set require.x: the list has the items 0 to 0"),
        ("seed=[1", "--set seed: the value is not YAML: "),
        ("seed=.inf", "--set seed: must be a finite number, not .inf"),
        ("run=!!python/object:os.system x", "--set run: tags such as"),
    ],
)
def test_a_problem_in_an_override_is_located_there(problems: Problems, override: str, line: str) -> None:
    lines = problems(TEXT.replace("seed", "sed") + "seed: 1\n", override)
    assert any(found.startswith(line) for found in lines), lines
    assert all("--set" in found for found in lines)
