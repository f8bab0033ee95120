"""One thread at a time: what keeps callers in several threads from each other's way."""

import functools
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

S = TypeVar("S", bound="Serial")
P = ParamSpec("P")
R = TypeVar("R")


class Serial:
    """Its `alone` methods run in one thread at a time; a copy in another process has a lock of its own."""

    def __init__(self) -> None:
        self._alone = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_alone"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._alone = threading.RLock()


def alone(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that waits for the others of its object; it may call them."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._alone:
            return method(self, *args, **kwargs)

    return call
