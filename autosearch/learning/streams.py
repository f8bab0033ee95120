"""Endless shuffled batches from tensors in memory, with a position that can be saved and set."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from autosearch.core.errors import OptionError
from autosearch.core.seeds import derive_seed

Batch = tuple[torch.Tensor, ...]
Fetch = Callable[[torch.Tensor, torch.Generator], Batch]


class BatchStream:
    """Batches of examples, epoch after epoch.

    The order of an epoch follows from the seed and the epoch's number, and all randomness inside a batch from the
    seed and the batch's place: two whole numbers are the complete state, and a stream that is set back repeats the
    same batches, augmentation included. An epoch is cut into batches of equal size but for one example, none larger
    than asked for: no example is left out, and there is no small rest with wild batch statistics.

    Args:
        size: number of examples, at least 1.
        batch_size: examples in a batch, at most.
        fetch: makes a batch from example indices (batch,) and a generator for augmentation.
        seed: of order and augmentation.
        device: where the indices live: that of the data.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        fetch: Fetch,
        *,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        if size < 1 or batch_size < 1:
            raise OptionError(
                f"batch_size: needs at least one example and batches of at least 1, got {size} examples in batches "
                f"of {batch_size}.",
                "batch_size",
            )
        self.size = size
        self.batch_size = batch_size
        self.batches_per_epoch = -(-size // batch_size)
        self.epoch = 0
        self.batch = 0
        self._fetch = fetch
        self._seed = seed
        self._device = device
        self._generator = torch.Generator()
        self._order: torch.Tensor | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._order is None:
            self._generator.manual_seed(derive_seed(self._seed, "order", self.epoch))
            self._order = torch.randperm(self.size, generator=self._generator).to(self._device)
        start, end = (self.size * i // self.batches_per_epoch for i in (self.batch, self.batch + 1))
        self._generator.manual_seed(derive_seed(self._seed, "batch", self.epoch, self.batch))
        batch = self._fetch(self._order[start:end], self._generator)
        self.batch += 1
        if self.batch == self.batches_per_epoch:
            self.seek(self.epoch + 1)
        return batch

    def seek(self, epoch: int, batch: int = 0) -> None:
        """Go to a place: the next batch is the `batch`-th of `epoch`, both from 0."""
        if epoch != self.epoch:
            self._order = None
        self.epoch, self.batch = epoch, batch

    def state_dict(self) -> dict[str, int]:
        """Position, with what the position depends on."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "size": self.size,
            "batch_size": self.batch_size,
            "seed": self._seed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the position of `state`.

        Raises:
            OptionError: if the state belongs to other data, another batch size or another seed.
        """
        own = self.state_dict()
        for name in ("size", "batch_size", "seed"):
            if state[name] != own[name]:
                raise OptionError(
                    f"{name}: the saved position belongs to a stream with {state[name]}, this one has {own[name]}.",
                    name,
                )
        self.seek(state["epoch"], state["batch"])
