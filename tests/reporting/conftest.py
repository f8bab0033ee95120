from collections.abc import Callable

import pytest

from autosearch.core import Goal, History, State

from .histories import make_history

TWO = (Goal("accuracy", maximize=True), Goal("latency"))
HISTORIES: dict[str, Callable[[], History]] = {
    "no trial": lambda: make_history(0),
    "one running trial": lambda: make_history(1, states=[State.RUNNING]),
    "one complete trial": lambda: make_history(1, states=[State.COMPLETE]),
    "only failures": lambda: make_history(6, states=[State.FAILED]),
    "only stopped trials": lambda: make_history(6, states=[State.STOPPED]),
    "no reports": lambda: make_history(12, reports=0, states=[State.FAILED, State.RUNNING]),
    "one parameter": lambda: make_history(30, 1),
    "sixty parameters": lambda: make_history(40, 60),
    "two objectives and a constraint": lambda: make_history(60, objectives=TWO, constraint=True),
    "every state": lambda: make_history(24, states=list(State)),
    "a plain study": lambda: make_history(60),
}


@pytest.fixture(params=list(HISTORIES))
def any_history(request: pytest.FixtureRequest) -> History:
    """Every kind of study that figures, notes and lines must cope with."""
    return HISTORIES[request.param]()


@pytest.fixture
def history() -> History:
    """A study of 60 trials, one objective."""
    return make_history(60)
