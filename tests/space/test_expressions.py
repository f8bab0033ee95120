import pickle
import time

import pytest

from autosearch.space import Expression, ExpressionError, InactiveError


def value_of(text, **values):
    return Expression.parse(text).evaluate(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("7 // 2 + 7 % 4 - -1", 7),
        ("2 ** 10 / 4", 256.0),
        ("1 < 2 <= 2 != 3", True),
        ("1 < 2 > 3", False),
        ("'a' in ('a', 'b') and 3 not in [1, -3]", True),
        ("not None or False", True),
        ("True == 1", True),
        ("'b' > 'a'", True),
    ],
)
def test_constant_expressions_have_the_value_python_gives(text, expected):
    assert value_of(text) == expected


def test_names_may_be_dotted_or_stand_in_backticks():
    expression = Expression.parse("a.b + `val/acc` + `lambda` - `a` >= 0")
    assert expression.names == {"a.b", "val/acc", "lambda", "a"}
    assert expression.evaluate({"a.b": 1, "val/acc": 2, "lambda": 3, "a": 7}) is False


def test_unicode_names_are_kept_as_written():
    assert Expression.parse("µ > 1").names == {"µ"}  # Python itself would turn U+00B5 into U+03BC


def test_strings_keep_backticks_and_markers():
    assert value_of("x == '`a` _q0_'", x="`a` _q0_") is True


@pytest.mark.parametrize(
    "text",
    [
        "f(x)", "a[0]", "lambda: 1", "lambda", "[x for x in y]", "f'{a}'", "(a := 1)", "a if b else c", "x in y",
        "(a).b.c()", "1j", "b'x'", "...", "a is b", "~a", "a @ b", "a << 1", "{1: 2}", "*a", "'''a'''", "a # b", "`a",
        "`` + 1", "'a", "", "  ", "a\0b", "\ud800", "1e999", "2**63", "9**9**9", "1/0", "-'a'", "1 + 'a'", "True + 1",
        "(1, 2)", "3 in (1, x)", "1 in (1, 2) == True", "(-8) ** 0.5", "1 < 'a'", "`a`.b", "__import__('os')",
        "a.__class__()", "a; b", "a = 1", "yield", "await a",
    ],
)  # fmt: skip
def test_everything_outside_the_language_is_refused_at_parsing(text):
    with pytest.raises(ExpressionError):
        Expression.parse(text, ("require", 0))


@pytest.mark.parametrize(
    "text", ["x" * 1001, "+".join(["x"] * 120), "-" * 60 + "x", "(" * 400, "not " * 200 + "x"]
)
def test_long_large_and_deep_expressions_are_refused_quickly(text):
    start = time.perf_counter()
    with pytest.raises(ExpressionError):
        Expression.parse(text)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("x / y", {"x": 1, "y": 0}),
        ("x % y", {"x": 1, "y": 0.0}),
        ("x ** x ** x", {"x": 9}),
        ("x * x", {"x": 2**62}),
        ("x * x", {"x": 1e300}),
        ("x + 1", {"x": float("nan")}),
        ("x > 1", {"x": float("inf")}),
        ("x < 1", {"x": "a"}),
        ("x + 1", {"x": True}),
        ("x and True", {"x": "false"}),
    ],
)
def test_evaluation_refuses_wrong_types_and_numbers_out_of_range(text, values):
    with pytest.raises(ExpressionError):
        Expression.parse(text).evaluate(values)


def test_inactive_names_matter_only_where_they_are_touched():
    assert value_of("a == 1 or b > 2", a=1) is True
    assert value_of("a == 2 and b > 2", a=1) is False
    assert value_of("3 < a < b", a=1) is False
    with pytest.raises(InactiveError) as caught:
        value_of("b > 2 or a == 1", a=1)
    assert caught.value.name == "b"


def test_unknown_names_come_with_the_nearest_known_one():
    (error,) = Expression.parse("widht > 3").check_names(["width", "lr"], ("require", 0))
    assert "widht" in str(error)
    assert "'width'" in str(error)
    assert error.where == ("require", 0)


@pytest.mark.parametrize("text", ["val/acc > 1", "2 * val / acc > 1 and x", "x<val/acc", "val/acc and x"])
def test_a_bare_name_with_a_slash_is_told_to_stand_in_backticks(text):
    (error,) = Expression.parse(text).check_names(["val/acc", "val", "acc", "x"])
    assert "`val/acc`" in str(error)


@pytest.mark.parametrize(
    "text", ["`val/acc` > 1", "x == 'val/acc'", "(val) / acc > 1", "myval/acc > 1", "x in (1, 2)"]
)
def test_other_uses_of_the_same_letters_are_no_error(text):
    known = ["val/acc", "val", "acc", "myval", "x", "in", "1", "and"]
    assert Expression.parse(text).check_names(known) == []


def test_margins_are_smaller_minus_larger_for_each_link():
    expression = Expression.parse("1 <= x < y >= 2")
    assert expression.is_inequality
    assert expression.margins({"x": 3, "y": 5}) == [-2, -2, -3]
    assert Expression.parse("x > 2").margins({"x": 1}) == [1]


@pytest.mark.parametrize(
    ("text", "met"), [("x < 3", False), ("3 > x", False), ("x <= 3", True), ("3 >= x", True)]
)
def test_equal_sides_meet_an_inequality_unless_it_is_strict(text, met):
    expression = Expression.parse(text)
    assert (expression.margins({"x": 3})[0] <= 0) is met
    assert expression.evaluate({"x": 3}) is met


@pytest.mark.parametrize("text", ["x == 1", "x + 1", "x < 1 and x > 0", "1 < x != 2"])
def test_margins_of_anything_else_are_refused(text):
    expression = Expression.parse(text)
    assert not expression.is_inequality
    with pytest.raises(ExpressionError):
        expression.margins({"x": 1})


def test_expressions_are_equal_by_text_and_survive_pickling():
    expression = Expression.parse(" a + `b c` ")
    copy = pickle.loads(pickle.dumps(expression))
    assert copy == expression
    assert hash(copy) == hash(expression)
    assert copy.evaluate({"a": 1, "b c": 2}) == 3
    with pytest.raises(AttributeError):
        expression.text = "b"


def test_inactive_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(InactiveError("a", ("require", 1))))
    assert (error.name, error.where) == ("a", ("require", 1))


def test_renaming_replaces_names_and_nothing_else():
    expression = Expression.parse("a.b + `x/y` > 1 or c == 'a.b'")
    renamed = expression.renamed({"a.b": "l.a.b", "x/y": "l.x/y"})
    assert renamed.text == "l.a.b + `l.x/y` > 1 or c == 'a.b'"
