import json
import pickle
import time

import numpy as np
import pytest

from autosearch.space import (
    Categorical,
    Derived,
    Fixed,
    Float,
    Int,
    Ordinal,
    Prior,
    SearchSpace,
    SpaceError,
    Subspace,
    nest,
)


@pytest.fixture
def space():
    return SearchSpace(
        {
            "lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
            "momentum": Float(0, 0.99, when="opt == 'sgd'"),  # refers to what comes later
            "opt": ["sgd", "adam"],
            "nesterov": Categorical([True, False], when="momentum > 0.5"),
            "width": Int(16, 256, log=True),
            "layers": Ordinal([1, 2, 4]),
            "scaled": {"expr": "lr * width / 256"},
            "energy": {"expr": "momentum / (1 - momentum)"},
            "batch": 32,
        },
        ["width * layers <= 512"],
    )


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_complete_drops_inactive_and_adds_fixed_and_derived_parameters(space):
    values = {"lr": 0.01, "opt": "adam", "momentum": 0.9, "nesterov": True, "width": 64, "layers": 2}
    config = space.complete(values)
    assert config == {"lr": 0.01, "opt": "adam", "width": 64, "layers": 2, "scaled": 0.0025, "batch": 32}
    assert list(config) == ["lr", "opt", "width", "layers", "scaled", "batch"]


def test_conditions_hold_at_any_depth(space):
    values = {"lr": 0.01, "opt": "sgd", "nesterov": True, "width": 64, "layers": 2}
    assert "nesterov" not in space.complete({**values, "momentum": 0.25})
    config = space.complete({**values, "momentum": 0.75})
    assert config["nesterov"] is True
    assert config["energy"] == 3.0


def test_complete_reports_every_problem_in_one_message(space):
    with pytest.raises(SpaceError) as caught:
        space.complete(
            {"lr": 5, "opt": "sgd", "widht": 64, "width": 64, "batch": 33, "layers": 1, "scaled": 9}
        )
    assert {problem.where for problem in caught.value.problems} >= {
        ("lr",),
        ("widht",),
        ("batch",),
        ("momentum",),
    }
    assert "Did you mean 'width'?" in str(caught.value)
    assert "lr: must be a number in" in str(caught.value)


def test_fixed_and_derived_values_may_be_given_if_they_agree(space, rng):
    config = space.sample(rng, 1)[0]
    assert space.complete(config) == config
    with pytest.raises(SpaceError, match="scaled"):
        space.complete({**config, "scaled": 1.0})


def test_validate_names_the_violated_constraint_and_its_values(space):
    values = {"lr": 0.01, "opt": "adam", "width": 256, "layers": 4}
    assert not space.satisfies(space.complete(values))
    with pytest.raises(SpaceError, match=r"width \* layers <= 512.*layers = 4, width = 256"):
        space.validate(values)


def test_a_constraint_on_an_inactive_parameter_holds_and_a_failing_one_does_not():
    space = SearchSpace({"a": Int(0, 1), "b": Int(0, 3, when="a == 1")}, ["b > 1", "1 / a > 0 or a == 0"])
    assert space.satisfies({"a": 1, "b": 2})
    assert not space.satisfies({"a": 1, "b": 1})
    assert not space.satisfies({"a": 0})


def test_samples_are_valid_and_repeat_with_the_seed(space, rng):
    configs = space.sample(rng, 200)
    assert len(configs) == 200
    assert all(space.validate(config) == config for config in configs)
    assert configs == space.sample(np.random.default_rng(0), 200)
    assert space.sample(rng, 0) == []


def test_sampling_finds_rare_configurations(rng):
    space = SearchSpace({"a": Int(1, 30), "b": Int(1, 30)}, ["a * b == 899 or a + b == 60"])
    assert space.sample(rng, 1) == [{"a": 30, "b": 30}]


def test_a_condition_that_cannot_be_evaluated_is_named_with_its_reason(rng):
    space = SearchSpace({"k": ["a", "b"], "x": Float(0, 1, when="k")})
    with pytest.raises(SpaceError, match=r"else x: '.' is text, not true or false") as caught:
        space.sample(rng, 1)
    assert caught.value.where == ("space",)


def test_an_unsatisfiable_constraint_is_named_with_its_share(rng):
    space = SearchSpace({"a": Float(0, 1)}, ["a > 2", "a < 0.5"])
    with pytest.raises(SpaceError) as caught:
        space.sample(rng, 1)
    assert "a > 2: met by 0.00%" in str(caught.value)
    assert "a < 0.5: met by 5" in str(caught.value) or "a < 0.5: met by 4" in str(caught.value)


def test_draws_whose_expressions_fail_are_never_handed_out(rng):
    space = SearchSpace({"a": Int(0, 3), "b": Derived("1 / a")})
    assert {config["a"] for config in space.sample(rng, 50)} == {1, 2, 3}
    with pytest.raises(SpaceError, match="division by zero"):
        space.complete({"a": 0})
    assert space.decode_feasible(np.array([[0.1], [0.9]])) == [None, {"a": 3, "b": 1 / 3}]


def test_decoding_what_was_encoded_gives_exactly_the_same(space, rng):
    configs = space.sample(rng, 300)
    X = space.encode(configs)
    active = space.active(configs)
    assert X.shape == active.shape == (300, space.dimensions) == (300, 6)
    assert X.min() >= 0
    assert X.max() <= 1
    assert (X[~active] == 0.5).all()
    assert not active.all()
    decoded = space.decode(X)
    assert decoded == configs
    assert [list(config) for config in decoded] == [list(config) for config in configs]


def test_decode_refuses_wrong_shapes_and_nan(space):
    with pytest.raises(SpaceError, match="shape"):
        space.decode(np.zeros((2, 3)))
    with pytest.raises(SpaceError, match="NaN"):
        space.decode(np.full((1, 6), np.nan))


def test_encode_refuses_values_outside_the_space(space, rng):
    with pytest.raises(SpaceError, match="lr"):
        space.encode([{**space.sample(rng, 1)[0], "lr": 3.0}])


@pytest.mark.slow
def test_ten_thousand_configurations_are_encoded_in_a_third_of_a_second(rng):
    kinds = [Float(0, 1), Float(1e-4, 1, log=True), Int(1, 9), Categorical(list("abc"))] * 2
    space = SearchSpace({f"x{i}": kind for i, kind in enumerate(kinds)})
    configs = space.sample(rng, 10_000)
    start = time.perf_counter()
    space.encode(configs)
    assert time.perf_counter() - start < 0.3


def test_neighbours_differ_in_one_searched_active_parameter(space, rng):
    config = space.sample(rng, 1)[0]
    found = space.neighbours(config, rng, 30)
    assert len(found) == 30
    assert len({space.key(child) for child in found} | {space.key(config)}) == 31
    for child in found:
        assert space.validate(child) == child
        changed = [
            name
            for name in space.searched
            if name in config and name in child and config[name] != child[name]
        ]
        assert len(changed) == 1


def test_small_neighbourhoods_are_found_completely(rng):
    space = SearchSpace({"a": Ordinal([1, 2, 3, 4, 5]), "b": Categorical(["x", "y", "z"]), "c": Int(1, 1)})
    found = space.neighbours({"a": 1, "b": "x", "c": 1}, rng, 50)
    assert {(child["a"], child["b"]) for child in found} == {(2, "x"), (3, "x"), (1, "y"), (1, "z")}
    assert SearchSpace({"c": Int(1, 1)}).neighbours({"c": 1}, rng, 5) == []


@pytest.mark.parametrize(
    "parameter", [Int(0, 1000), Int(1, 2), Float(0.1, 0.35, grid=0.1), Float(0, 1), Int(1, 2, log=True)]
)
def test_numeric_steps_always_leave_the_value(parameter, rng):
    space = SearchSpace({"x": parameter})
    for start in ({"x": parameter.low}, {"x": parameter.from_unit(1.0)}):
        for _ in range(50):
            (child,) = space.neighbours(start, rng, 1)
            assert child != start
            assert parameter.contains(child["x"])


def test_constraints_hold_for_neighbours(rng):
    space = SearchSpace({"a": Int(1, 10), "b": Int(1, 10)}, ["a + b <= 4"])
    found = space.neighbours({"a": 2, "b": 2}, rng, 20)
    assert {(child["a"], child["b"]) for child in found} == {(1, 2), (2, 1)}


def test_a_subspace_is_placed_under_its_name_and_may_be_overridden():
    inner = Subspace(
        {"n": Int(1, 4), "m": Int(1, 8, when="n > 2"), "t": {"expr": "n * k"}, "k": 2}, ("n * 2 <= m",)
    )
    space = SearchSpace({"layer.n": Int(3, 9), "layer": inner, "x": Float(0, 1)})
    assert list(space.parameters) == ["layer.n", "layer.m", "layer.t", "layer.k", "x"]
    assert space.parameters["layer.n"] == Int(3, 9)
    assert space.require[0].text == "layer.n * 2 <= layer.m"
    assert space.complete({"layer.n": 4, "layer.m": 8, "x": 0})["layer.t"] == 8
    assert list(SearchSpace({"": inner}).parameters) == ["n", "m", "t", "k"]


def test_first_configurations_are_completed_and_the_default_comes_first():
    inner = Subspace(
        {"n": Int(1, 4), "m": Int(1, 8, when="n > 2")}, first=({"n": 1}, {"n": 4, "m": 3}, {"n": 4, "m": 3})
    )
    space = SearchSpace({"lr": Float(0, 1, default=0.25), "net": inner})
    assert space.first == (
        {"lr": 0.25, "net.n": 3, "net.m": 5},
        {"lr": 0.25, "net.n": 1},
        {"lr": 0.25, "net.n": 4, "net.m": 3},
    )
    assert SearchSpace({"lr": Float(0, 1)}).first == ()


def test_a_wrong_first_configuration_is_located():
    with pytest.raises(SpaceError, match="first") as caught:
        SearchSpace({"net": Subspace({"n": Int(1, 4)}, first=({"n": 9},))})
    assert caught.value.problems[0].where == ("space", "net", "first", 0, "net.n")


def hooked(**overrides):
    inner = Subspace(
        {"a": Int(0, 9), "b": Int(0, 9)},
        neighbours=lambda config, rng, n: [{"a": (config["a"] + 1) % 10, "b": config["b"]}] * n,
        canonical=lambda config: config["a"] % 2,
        sample=lambda rng: {"a": 7, "b": 0},
    )
    return SearchSpace({"net": inner, "lr": Float(0, 1), **overrides})


def test_a_subspace_samples_moves_and_identifies_its_own_parameters(rng):
    space = hooked()
    config = {"net.a": 7, "net.b": 0, "lr": 0.5}
    assert {(c["net.a"], c["net.b"]) for c in space.sample(rng, 20)} == {(7, 0)}
    assert space.key(config) == space.key({**config, "net.a": 5, "net.b": 3})
    assert space.key(config) != space.key({**config, "net.a": 6})
    moved = [child for child in space.neighbours(config, rng, 10) if child["lr"] == 0.5]
    assert moved == [{"net.a": 8, "net.b": 0, "lr": 0.5}]


def test_hooks_leave_overridden_parameters_alone(rng):
    space = hooked(**{"net.a": Int(2, 3)})
    assert {c["net.a"] for c in space.sample(rng, 50)} == {2, 3}
    assert {c["net.b"] for c in space.sample(rng, 5)} == {0}


def test_a_hook_with_illegal_values_is_an_error(rng):
    space = SearchSpace({"net": Subspace({"a": Int(0, 9)}, sample=lambda rng: {"a": 70})})
    with pytest.raises(SpaceError, match=r"net\.a"):
        space.sample(rng, 1)


def test_the_grid_visits_every_distinct_feasible_configuration_once():
    space = SearchSpace(
        {"x": Float(0, 1), "o": ["a", "b"], "m": Int(1, 3, when="o == 'a'"), "big": Int(1, 1000, log=True)},
        ["x < 1 or big < 1000"],
    )
    grid = space.grid(3)
    assert len(grid) == 3 * 2 * 3 * 3
    cells = [config for config in grid if config is not None]
    keys = {space.key(config) for config in cells}
    assert len(keys) == len(cells) == 3 * (3 + 1) * 3 - 4
    assert {config["x"] for config in cells} == {0.0, 0.5, 1.0}
    assert {config["big"] for config in cells} >= {1, 1000}
    with pytest.raises(IndexError):
        grid[54]


def test_huge_grids_are_lazy():
    grid = SearchSpace({f"x{i}": Float(0, 1) for i in range(30)}).grid(10)
    assert grid.cells == 10**30
    assert grid[10**30 - 1]["x0"] == 1.0
    assert next(iter(grid))["x29"] == 0.0


def test_priors_are_normalised_densities():
    u = (np.arange(20_000) + 0.5)[:, None] / 20_000
    for parameter in (
        Float(0, 1, prior=Prior(0.9, "low")),
        Categorical(list("abc"), prior=Prior("b", "high")),
    ):
        density = np.exp(SearchSpace({"x": parameter}).log_prior(u))
        assert density.mean() == pytest.approx(1, abs=1e-3)
    space = SearchSpace({"x": Float(0, 1, prior=Prior(0.5)), "y": Float(0, 1)})
    X = np.array([[0.5, 0.1], [0.3, 0.9]])
    assert np.diff(space.log_prior(X))[0] == pytest.approx(-0.5)  # one standard deviation of 0.2
    assert (SearchSpace({"y": Float(0, 1)}).log_prior(X[:, :1]) == 0).all()


def test_the_preferred_choice_is_the_likeliest_even_of_two():
    space = SearchSpace({"x": Categorical(["a", "b"], prior=Prior("a", "low"))})
    low, high = space.log_prior(np.array([[0.75], [0.25]]))
    assert low < high


def test_priors_of_inactive_parameters_do_not_count():
    space = SearchSpace({"o": ["a", "b"], "x": Float(0, 1, when="o == 'a'", prior=Prior(0.5))})
    values = space.log_prior(np.array([[0.25, 0.5], [0.75, 0.5]]))
    assert values[0] > 0
    assert values[1] == 0


def test_spaces_travel_as_json_and_pickle(space):
    inner = Subspace({"n": Int(1, 4, default=2)}, ("n > 1",), ({"n": 4},))
    for one in (space, SearchSpace({"a b".replace(" ", "/"): Float(0, 1), "net": inner}, ["`a/b`   > 0"])):
        copy = SearchSpace.from_dict(json.loads(json.dumps(one.to_dict())))
        assert copy.to_dict() == one.to_dict()
        assert copy == one
        assert copy.first == one.first
        assert copy.fingerprint() == one.fingerprint()
        assert copy.diff(one) == []
        assert pickle.loads(pickle.dumps(one)) == one


def test_from_dict_refuses_what_is_no_description():
    with pytest.raises(SpaceError):
        SearchSpace.from_dict({"a": 1})


def test_differences_are_named_line_by_line():
    old = SearchSpace({"lr": Float(0, 0.1), "width": Int(1, 4), "k": 1}, ["lr > 0"])
    new = SearchSpace({"lr": Float(0, 0.2), "momentum": Float(0, 1), "k": True})
    assert old.diff(new) == [
        "lr: high 0.1 -> 0.2",
        "- width",
        "k: value 1 -> True",
        "+ momentum",
        "- require lr > 0",
    ]
    assert old.fingerprint() != new.fingerprint()


def test_all_problems_of_a_definition_are_collected_with_their_places():
    space, problems = SearchSpace.collect(
        {
            "a": {"type": "float", "low": 0, "hgih": 1},
            "b": Float(0, 1, when="c > 1"),
            "c": Float(0, 1, when="b > 1"),
            "d": Float(0, 1, when="bb > 1"),
            "e f": 3,
            "g": 1,
            "g.h": 2,
            "s": {"use": "thing"},
        },
        ["b +", "1 < 2", "a < b", "nope > 1"],
    )
    assert space is None
    assert [problem.where for problem in problems] == [
        ("space", "a", "hgih"),
        ("space", "e f"),
        ("space", "s", "use"),
        ("require", 0),
        ("space", "g.h"),
        ("space", "d", "when"),
        ("require", 1),
        ("require", 3),
        ("space", "b", "when"),
    ]
    assert "b -> c -> b" in str(problems[-1])


@pytest.mark.parametrize(
    ("definition", "require"),
    [(None, []), ([1], []), ("a", []), ({"a": 1}, "a > 1"), ({"a": 1}, None), ({"a": 1}, [3]), ({3: 1}, []),
     ({".a": 1}, []), ({"a..b": 1}, []), ({"a`": 1}, []), ({"": 1}, []), ({"x" * 201: 1}, []),
     ({"a": "x\ud800"}, ["b"])],
)  # fmt: skip
def test_malformed_definitions_are_collected_as_problems(definition, require):
    space, problems = SearchSpace.collect(definition, require)
    assert space is None
    assert problems


def test_a_single_problem_names_its_place_in_the_message():
    with pytest.raises(SpaceError, match=r"space\.a\.low"):
        SearchSpace({"a": {"type": "int", "low": 3, "high": 1}})


def test_size_and_structure_are_known(space):
    assert space.size is None
    assert SearchSpace({"a": Int(1, 4), "b": ["x", "y"], "c": 3}).size == 8
    assert space.parents("nesterov") == {"momentum"}
    assert space.parents("lr") == frozenset()
    assert set(space.conditions) == {"momentum", "nesterov"}
    assert isinstance(space.parameters["batch"], Fixed)


def test_an_empty_space_has_one_configuration(rng):
    space = SearchSpace({})
    assert space.sample(rng, 2) == [{}, {}]
    assert space.decode(space.encode([{}])) == [{}]
    assert space.neighbours({}, rng, 3) == []
    assert list(space.grid(3)) == [{}]


def test_dotted_names_nest():
    assert nest({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    for config in ({"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}):
        with pytest.raises(SpaceError):
            nest(config)
