import pickle

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
    SpaceError,
    parse_parameter,
)


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: Float(1, 0), ("low",)),
        (lambda: Float(float("nan"), 1), ("low",)),
        (lambda: Float(0, float("inf")), ("high",)),
        (lambda: Float(True, 2), ("low",)),
        (lambda: Float("0", 2), ("low",)),
        (lambda: Float(0, 1, log=True), ("low",)),
        (lambda: Float(1, 2, log=True, grid=0.1), ("grid",)),
        (lambda: Float(1, 2, log=1), ("log",)),
        (lambda: Float(1, 2, grid=0), ("grid",)),
        (lambda: Float(0, 1, grid=1e-15), ("grid",)),
        (lambda: Float(0, 1, default=2), ("default",)),
        (lambda: Float(0, 1, prior=Prior(2)), ("prior", "center")),
        (lambda: Float(0, 1, prior=0.5), ("prior",)),
        (lambda: Float(0, 1, when="f(x)"), ("when",)),
        (lambda: Int(1.5, 3), ("low",)),
        (lambda: Int(True, 3), ("low",)),
        (lambda: Int(0, 2**40), ("high",)),
        (lambda: Int(0, 10, log=True), ("low",)),
        (lambda: Int(0, 10, grid=1.5), ("grid",)),
        (lambda: Int(0, 10, grid=5, default=3), ("default",)),
        (lambda: Categorical([]), ("choices",)),
        (lambda: Categorical("abc"), ("choices",)),
        (lambda: Categorical([1, float("nan")]), ("choices",)),
        (lambda: Categorical([[1], 2]), ("choices",)),
        (lambda: Ordinal([1, 2, 1.0]), ("choices",)),
        (lambda: Ordinal([1, 2], default=3), ("default",)),
        (lambda: Fixed([1]), ("value",)),
        (lambda: Derived("a +"), ("expr",)),
        (lambda: Prior(1, "huge"), ("confidence",)),
    ],
)
def test_impossible_parameters_are_refused_and_the_field_is_named(make, where):
    with pytest.raises(SpaceError) as caught:
        make()
    assert [problem.where for problem in caught.value.problems] == [where]


def test_equal_choices_are_both_named():
    with pytest.raises(SpaceError, match="1 and True"):
        Categorical([1, True])


def test_whole_floats_are_accepted_as_integers():
    assert Int(3.0, 5.0) == Int(3, 5)
    assert type(Int(3.0, 5.0).low) is int
    assert Int(1, 9).canonical(np.int64(3)) == 3


KINDS = [
    Float(0, 1), Float(-3, 1e6), Float(1e-4, 1e-1, log=True), Float(0.1234567890123456, 0.9876543210987654),
    Float(0.1234567890123456, 0.9876543210987654, log=True), Float(0.1, 0.55, grid=0.1), Float(2, 2),
    Float(1e-300, 1e300, log=True), Float(-1e300, 1e300), Float(1e-30, 1e-28), Float(1e6, 1e6 + 1e-9),
    Int(1, 4), Int(-(2**40) + 1, 2**40 - 1), Int(1, 2**40 - 1, log=True), Int(1, 2, log=True), Int(3, 10, grid=3),
    Int(5, 5), Int(5, 5, log=True), Categorical(["a", None, 1, 2.5, False]), Ordinal([8, 4, 2]), Categorical([None]),
]  # fmt: skip


@pytest.mark.parametrize("parameter", KINDS, ids=repr)
def test_decoding_an_encoded_value_gives_exactly_that_value(parameter):
    rng = np.random.default_rng(0)
    values = parameter.from_unit_array(np.concatenate([[0.0, 1.0, 0.5], rng.random(500)]))
    u = parameter.to_unit_array(values)
    assert ((u >= 0) & (u <= 1)).all()
    again = parameter.from_unit_array(u)
    assert again == values
    assert list(map(type, again)) == list(map(type, values))
    assert [parameter.canonical(value) for value in values[:50]] == values[:50]
    assert parameter.from_unit(parameter.to_unit(values[3])) == values[3]


@pytest.mark.parametrize("parameter", KINDS[:-2], ids=repr)
def test_the_bounds_are_allowed_exactly_as_written(parameter):
    if isinstance(parameter, Float | Int):
        assert parameter.canonical(parameter.low) == parameter.low
        if parameter.grid is None:
            assert parameter.from_unit(1.0) == parameter.high
            assert parameter.from_unit(parameter.to_unit(parameter.high)) == parameter.high


def test_values_stay_readable():
    assert Float(0, 1).canonical(0.1 + 0.2) == 0.3
    assert Float(0.1, 0.5, grid=0.1).from_unit_array((np.arange(5) + 0.5) / 5) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert Float(1e-5, 1, log=True).from_unit(0.2) == 1e-4


def test_bins_are_equal_and_encoded_at_their_centre():
    assert Int(1, 4).to_unit_array([1, 2, 3, 4]).tolist() == [0.125, 0.375, 0.625, 0.875]
    assert Ordinal(["s", "m"]).to_unit("m") == 0.75
    assert Float(2, 2).to_unit(2) == 0.5
    u = np.random.default_rng(0).random(8_000)
    counts = np.bincount(Int(0, 3).from_unit_array(u))
    assert counts.min() > 1_800


def test_log_integers_have_bins_in_the_logarithm():
    values = Int(1, 1000, log=True).from_unit_array(np.linspace(0, 1, 2001))
    assert np.median(values) == pytest.approx(np.sqrt(0.5 * 1000.5), abs=1)
    assert set(values) >= set(range(1, 100))


def test_positions_outside_are_clipped_and_nan_is_an_error():
    assert Float(0, 1).from_unit(-3) == 0.0
    assert Int(1, 4).from_unit(7) == 4
    with pytest.raises(SpaceError, match="NaN"):
        Float(0, 1).from_unit(float("nan"))


@pytest.mark.parametrize(
    ("parameter", "bad"),
    [
        (Float(0, 1), 1.5), (Float(0, 1), "a"), (Float(0, 1), True), (Float(0, 1), None), (Float(0, 1), float("nan")),
        (Float(0, 1, grid=0.25), 0.3), (Int(1, 4), 2.5), (Int(1, 4), 5), (Int(1, 9, grid=2), 2), (Int(1, 4), 10**400),
        (Categorical(["a"]), "b"), (Categorical(["a"]), ["a"]), (Ordinal([1, 2]), float("nan")), (Float(0, 1), 10**400),
    ],
)  # fmt: skip
def test_values_that_are_not_allowed_are_refused(parameter, bad):
    assert not parameter.contains(bad)
    with pytest.raises(SpaceError):
        parameter.canonical(bad)
    with pytest.raises(SpaceError):
        parameter.to_unit(bad)


def test_arrays_with_values_that_are_not_allowed_are_refused():
    with pytest.raises(SpaceError):
        Float(0, 1).to_unit_array([0.5, 2.0])
    with pytest.raises(SpaceError):
        Categorical(["a"]).to_unit_array(["a", "b"])


def test_numbers_of_values():
    assert [p.n_values for p in (Float(0, 1), Float(0, 1, grid=0.3), Float(1, 1), Int(2, 5), Ordinal([1, 2]))] == [
        None, 4, 1, 4, 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "parameter",
    [*KINDS, Float(0, 1, when="a > 1", prior=Prior(0.5, "low"), default=0.25), Fixed(None), Fixed(3, when="b"),
     Derived("a + 1", when="a > 2")],
    ids=repr,
)  # fmt: skip
def test_definitions_travel_as_mappings_and_pickles(parameter):
    assert parse_parameter(parameter.to_dict()) == parameter
    assert pickle.loads(pickle.dumps(parameter)) == parameter


def problems_of(definition):
    with pytest.raises(SpaceError) as caught:
        parse_parameter(definition, ("space", "lr"))
    return {(problem.where[2:], problem.message) for problem in caught.value.problems}


def test_an_unknown_key_is_located_with_the_nearest_legal_one():
    assert problems_of({"type": "float", "low": 0, "hgih": 1}) == {
        (("hgih",), "unknown key. Did you mean 'high'?")
    }
    assert problems_of({"tpye": "float"}) == {(("tpye",), "unknown key. Did you mean 'type'?")}


def test_all_problems_of_a_parameter_come_at_once():
    found = problems_of({"type": "float", "low": "a", "high": None, "log": 3, "when": "f(x)", "extra": 1})
    assert {where for where, _ in found} == {("low",), ("high",), ("log",), ("when",), ("extra",)}


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (["a", "b"], Categorical(["a", "b"])),
        ("adam", Fixed("adam")),
        (None, Fixed(None)),
        ({"expr": "a * 2"}, Derived("a * 2")),
        ({"value": 3, "when": "a > 1"}, Fixed(3, when="a > 1")),
        ({"type": "int", "low": 1, "high": 3, "prior": {"center": 2}}, Int(1, 3, prior=Prior(2))),
    ],
)
def test_every_form_of_a_study_file_is_read(definition, expected):
    assert parse_parameter(definition) == expected


@pytest.mark.parametrize(
    "definition",
    [{"use": "x"}, {"type": "flaot", "low": 0}, {"type": ["int"]}, {}, {1: 2}, b"x", float("inf"), {"value": [1]},
     {"type": "float", "low": 0, "high": 1, "prior": {"centre": 0}}, {"type": "int", "low": 1}, object(), 2**70],
)  # fmt: skip
def test_malformed_definitions_are_space_errors(definition):
    assert problems_of(definition)
