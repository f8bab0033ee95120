"""Validation batches without end, with a place that can be saved."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from autosearch.core.errors import OptionError

# Fewer examples for a hyperparameter and it is fitted to chance.
ENOUGH = 10


class Validation:
    """Goes through batches again and again.

    Args:
        source: iterable that starts anew each time, such as a loader, or an endless stream with `state_dict`.
        size: number of examples in a batch.
        hyperparameters: that are tuned on them.
    """

    def __init__(self, source: Iterable[Any], size: Callable[[Any], int], hyperparameters: int) -> None:
        self._source: Any = source
        self._size, self._hyperparameters = size, hyperparameters
        self._stream = hasattr(source, "state_dict") and isinstance(source, Iterator)
        self._iterator: Iterator[Any] = iter(source)
        self._passes = 0
        self._taken = 0
        self._examples = 0

    def next(self) -> Any:
        """The next batch.

        Raises:
            OptionError: if there is none at all.
        """
        for batch in self._iterator:
            self._taken += 1
            if self._passes == 0:
                self._examples += self._size(batch)
            return batch
        if not self._taken:
            raise OptionError(
                "validation: it holds no batch, or it is an iterator, which ends. Give a list or a loader.",
                "validation",
            )
        if self._passes == 0:
            warn_if_few(self._examples, self._hyperparameters)
        self._passes, self._taken = self._passes + 1, 0
        self._iterator = iter(self._source)
        return self.next()

    def state_dict(self) -> dict[str, Any]:
        """The place."""
        return {
            "stream": dict(self._source.state_dict()) if self._stream else None,
            "passes": self._passes,
            "taken": self._taken,
            "examples": self._examples,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a saved place: batches of the pass that were taken are passed over."""
        self._passes, self._taken, self._examples = state["passes"], state["taken"], state["examples"]
        if state["stream"] is not None:
            self._source.load_state_dict(state["stream"])
            return
        self._iterator = iter(self._source)
        for _ in range(self._taken):
            next(self._iterator, None)


def warn_if_few(examples: int, hyperparameters: int) -> None:
    """Warns where hyperparameters would be fitted to chance."""
    if examples < ENOUGH * hyperparameters:
        warnings.warn(
            f"validation: {examples} examples for {hyperparameters} hyperparameters, which will be fitted to chance. "
            f"Give {ENOUGH * hyperparameters} or more, or tune fewer.",
            stacklevel=3,
        )
