import random

import numpy as np
import pytest
import torch

from autosearch.learning import RandomState


def draw():
    return random.random(), float(np.random.rand()), random.gauss(0, 1), float(torch.rand(1))  # noqa: NPY002


def test_equal_seeds_draw_alike_and_others_do_not():
    one, same, other = RandomState(7), RandomState(7), RandomState(8)
    draws = []
    for state in (one, same, other):
        with state.active():
            draws.append(draw())
    assert draws[0] == draws[1]
    assert all(a != b for a, b in zip(draws[0], draws[2], strict=True))


def test_the_callers_state_is_untouched_also_where_something_is_raised():
    random.seed(5)
    expected = random.Random(5).random()
    state = RandomState(1)
    with pytest.raises(ZeroDivisionError), state.active():
        draw()[0] / 0
    assert random.random() == expected


def test_a_saved_state_goes_on_exactly():
    state = RandomState(3)
    with state.active():
        draw()
    saved = state.state_dict()
    with state.active():
        expected = [draw() for _ in range(3)]
    other = RandomState(99)
    other.load_state_dict(saved)
    with other.active():
        assert [draw() for _ in range(3)] == expected


def test_what_is_drawn_while_preserved_leaves_no_trace():
    state, same = RandomState(3), RandomState(3)
    with state.preserved():
        draw()
    with state.active():
        found = draw()
    with same.active():
        assert draw() == found


def test_seeds_of_any_size_are_taken():
    with RandomState(2**63 - 1).active():
        assert 0 <= draw()[1] < 1
