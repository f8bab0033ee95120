"""Running statistics of layers that nobody here knows: passes beside training leave no trace in them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


class Untouched:
    """Buffers that a pass may write on, and that are as they were behind it.

    Which ones are written on shows in the first pass; the others are no longer looked at.

    Args:
        buffers: that a pass may write on.
    """

    def __init__(self, buffers: Sequence[torch.Tensor]) -> None:
        self._watched = list(buffers)
        self._first = True

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Passes inside leave the buffers as they were."""
        before = [(buffer, buffer._version, buffer.detach().clone()) for buffer in self._watched]
        try:
            yield
        finally:
            written = [(buffer, values) for buffer, version, values in before if buffer._version != version]
            with torch.no_grad():
                for buffer, values in written:
                    buffer.copy_(values)
            if self._first:
                self._watched, self._first = [buffer for buffer, _ in written], False
