import json
import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autosearch.space import (
    Categorical,
    Expression,
    ExpressionError,
    Float,
    Int,
    Ordinal,
    Prior,
    SearchSpace,
    SpaceError,
)

finite = st.floats(-1e12, 1e12, allow_nan=False)
choices = st.lists(
    st.none() | st.text(max_size=5) | st.integers(-99, 99) | st.floats(-1e6, 1e6),
    min_size=1,
    max_size=5,
    unique=True,
)


@st.composite
def numeric(draw, when):
    confidence = draw(st.sampled_from(["low", "medium", "high"]))
    if draw(st.booleans()):
        low, high = sorted([draw(st.integers(-(2**39), 2**39)), draw(st.integers(-(2**39), 2**39))])
        if draw(st.booleans()):
            return Int(max(low, 1), max(high, 1), log=True, when=when)
        grid = draw(st.none() | st.integers(1, 1000))
        return Int(low, high, grid=grid, when=when, prior=Prior(low, confidence), default=low)
    low, high = sorted([draw(finite), draw(finite)])
    if draw(st.booleans()):
        return Float(max(low, 1e-9), max(high, 1e-9), log=True, when=when, default=max(low, 1e-9))
    parts = draw(st.none() | st.integers(1, 1000))
    grid = (high - low) / parts if parts and high - low > 1e-6 * max(abs(low), abs(high), 1) else None
    return Float(low, high, grid=grid, when=when, prior=Prior(low, confidence))


@st.composite
def spaces(draw):
    parameters, conditionable = {}, []
    for i in range(draw(st.integers(1, 6))):
        name = f"p.{i}" if draw(st.booleans()) else f"p{i}"
        when = None
        if conditionable and draw(st.booleans()):
            parent, value = draw(st.sampled_from(conditionable))
            when = f"`{parent}` {draw(st.sampled_from(['==', '!=']))} {value!r}"
        kind = draw(st.sampled_from(["numeric", "categorical", "ordinal", "switch", "derived", "fixed"]))
        if kind == "numeric":
            parameters[name] = draw(numeric(when))
        elif kind in ("categorical", "ordinal"):
            parameters[name] = (Categorical if kind == "categorical" else Ordinal)(draw(choices), when=when)
        elif kind == "switch":
            parameters[name] = Categorical(["on", "off"], when=when)
            conditionable.append((name, "on"))
        elif kind == "derived" and conditionable:
            parameters[name] = {"expr": f"`{conditionable[0][0]}` == 'on'"}
        else:
            parameters[name] = 3
    return SearchSpace(parameters)


@given(spaces(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_samples_survive_validation_encoding_and_decoding_unchanged(space, seed):
    rng = np.random.default_rng(seed)
    configs = space.sample(rng, 8)
    assert [space.validate(config) for config in configs] == configs
    X = space.encode(configs)
    assert ((X >= 0) & (X <= 1)).all()
    decoded = space.decode(X)
    assert [list(config.items()) for config in decoded] == [list(config.items()) for config in configs]
    edges = space.decode(rng.integers(0, 2, (8, space.dimensions)).astype(float))
    assert space.decode(space.encode(edges)) == edges


@given(spaces(), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_neighbours_are_legal_and_different(space, seed):
    rng = np.random.default_rng(seed)
    config = space.sample(rng, 1)[0]
    found = space.neighbours(config, rng, 5)
    assert all(space.validate(child) == child for child in found)
    assert len({space.key(child) for child in [config, *found]}) == len(found) + 1
    changed = [
        {n for n in space.searched if n in child and n in config and child[n] != config[n]} for child in found
    ]
    assert all(len(names) == 1 for names in changed)


@given(spaces())
@settings(max_examples=60, deadline=None)
def test_definitions_survive_json(space):
    copy = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert copy == space
    assert copy.fingerprint() == space.fingerprint()
    assert copy.parameters == space.parameters
    assert copy.diff(space) == []


tokens = st.sampled_from(
    [
        "a",
        "b.c",
        "`x/y`",
        "`",
        "'a'",
        '"',
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "<",
        "<=",
        "==",
        "!=",
        ">=",
        ">",
        "in",
        "not",
        "and",
        "or",
        "is",
        "if",
        "else",
        "lambda",
        "x:",
        "1",
        "9",
        "1e9",
        "1e400",
        "0x",
        "1_0",
        "1j",
        "None",
        "True",
        ",",
        ".",
        ":",
        ":=",
        ";",
        "#",
        "\\",
        "\n",
        "\x00",
        "é",
        "�",
        "f'{a}'",
        "'''",
        "~",
        "^",
        "&",
        "|",
        "<<",
        "@",
        "yield",
        "await",
        "99999999999999999999",
    ]
)


@given(
    st.text(max_size=60)
    | st.lists(tokens, max_size=40).map(" ".join)
    | st.lists(tokens, max_size=40).map("".join)
)
@settings(max_examples=500, deadline=None)
def test_any_text_is_an_expression_or_an_expression_error_at_once(text):
    start = time.perf_counter()
    try:
        expression = Expression.parse(text)
        assert Expression.parse(expression.text) == expression
        expression.check_names(["x/y", "a", "1e9"])
        expression.evaluate(dict.fromkeys(expression.names, 3))
    except ExpressionError:
        pass
    assert time.perf_counter() - start < 1


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
junk = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "low",
                    "high",
                    "log",
                    "grid",
                    "when",
                    "prior",
                    "choices",
                    "expr",
                    "value",
                    "use",
                    "x",
                ]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), junk, max_size=4), st.lists(st.text(max_size=8), max_size=2))
@settings(max_examples=200, deadline=None)
def test_any_definition_is_a_space_or_located_problems(definition, require):
    space, problems = SearchSpace.collect(definition, require)
    assert (space is None) == bool(problems)
    assert all(
        problem.where[0] in ("space", "require") and isinstance(problem, SpaceError) for problem in problems
    )
