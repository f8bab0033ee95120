"""Batches that can be had again: candidates of one stage must see the same ones."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autosearch.core.errors import OptionError


class Replay:
    """Hands out the batches of a loader and keeps those that a rollback may ask for again.

    Attributes:
        place: number of the next batch, from 0; may be set back to any place that is kept.
    """

    def __init__(self) -> None:
        self.place = 0
        self._first = 0  # place of the first batch that is kept
        self._used = 0  # batches of the next loader that an earlier process has used up
        self._kept: deque[Any] = deque()
        self._loader: Iterable[Any] | None = None
        self._iterator: Iterator[Any] = iter(())

    def attach(self, loader: Iterable[Any]) -> None:
        """Take batches from `loader` from here on; after a resume those already used are passed over."""
        self._loader, self._iterator = loader, iter(loader)
        while self._used:
            self._fresh()
            self._used -= 1

    def next(self) -> Any:
        """The batch at `place`, which moves on."""
        while self.place >= self._first + len(self._kept):
            self._kept.append(self._fresh())
        batch = self._kept[self.place - self._first]
        self.place += 1
        return batch

    def ahead(self, count: int) -> list[Any]:
        """The next `count` batches; the place stays."""
        place = self.place
        found = [self.next() for _ in range(count)]
        self.place = place
        return found

    def keep_from(self, place: int) -> None:
        """Let go of what lies before `place`."""
        while self._kept and self._first < min(place, self.place):
            self._kept.popleft()
            self._first += 1

    def _fresh(self) -> Any:
        for _ in range(2):
            for batch in self._iterator:
                return batch
            self._iterator = iter(self._loader or ())
        raise OptionError(
            "batches: the loader is empty, or it is an iterator, which ends. Give a list or a loader.",
            "loader",
        )

    def state_dict(self) -> dict[str, int]:
        """Places; batches themselves are fetched again."""
        return {"place": self.place, "first": self._first}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a saved place; `attach` comes after."""
        self.place, self._first = state["place"], state["first"]
        self._used = self._first
        self._kept.clear()
